"""One table of tensor names: ours, DeepSeek's and transformers', each row one rule that holds in every direction."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from polyjanus.core.errors import CheckpointError, UsageError

SHOWN = 5
"""Unknown names told in a message, at most."""
OURS, DEEPSEEK, TRANSFORMERS = range(3)

_GROUPS = {
    "n": r"(?P<n>\d+)",
    "m": r"(?P<m>\d+)",
    "ab": r"(?P<ab>[12])",
    "qkv": r"(?P<qkv>[qkv])",
    "side": r"(?P<side>encoder|decoder)",
    "edge": r"(?P<edge>conv_in|norm_out|conv_out)",
    "quant": r"(?P<quant>quant_conv|post_quant_conv)",
    "leaf": r"(?P<leaf>weight|bias)",
    "rest": r"(?P<rest>[a-z_0-9.]+)",
}

_TOWER = ("image.understand.encoder.tower", "vision_model.vision_tower", "model.vision_model")
_LAYER = ("encoder.layers.{n}", "blocks.{n}", "encoder.layers.{n}")
_READ = ("image.understand.adaptor", "aligner", "model.aligner")
_WRITE = ("image.generate.adaptor", "gen_aligner", "model.generation_aligner")
_HEAD = ("image.generate.head", "gen_head", "model.generation_head")
_CODEC = ("image.generate.codec", "gen_vision_model", "model.vqmodel")
_WORDS = ("backbone.transformer", "language_model.model", "model.language_model")


def _rows(prefix: Iterable[str], *rows: tuple[str, str, str]) -> list[tuple[str, str, str]]:
    first, second, third = prefix
    return [(f"{first}.{a}", f"{second}.{b}", f"{third}.{c}") for a, b, c in rows]


def _same(*names: str) -> list[tuple[str, str, str]]:
    return [(name, name, name) for name in names]


def _pairs(*names: tuple[str, str]) -> list[tuple[str, str, str]]:
    """Return rows whose names are the same here and in transformers."""
    return [(ours, theirs, ours) for ours, theirs in names]


def _layer(*rows: tuple[str, str, str]) -> list[tuple[str, str, str]]:
    return _rows(_TOWER, *_rows(_LAYER, *rows))


TABLE: tuple[tuple[str, str, str], ...] = (
    *_rows(
        _TOWER,
        ("embeddings.position_embedding.weight", "pos_embed", "embeddings.position_embedding.weight"),
        ("embeddings.patch_embedding.{leaf}", "patch_embed.proj.{leaf}", "embeddings.patch_embedding.{leaf}"),
        ("post_layernorm.{leaf}", "norm.{leaf}", "post_layernorm.{leaf}"),
    ),
    *_layer(
        ("layer_norm{ab}.{leaf}", "norm{ab}.{leaf}", "layer_norm{ab}.{leaf}"),
        ("self_attn.{qkv}_proj.{leaf}", "attn.qkv.{leaf}", "self_attn.{qkv}_proj.{leaf}"),
        ("self_attn.out_proj.{leaf}", "attn.proj.{leaf}", "self_attn.projection_layer.{leaf}"),
        ("mlp.fc{ab}.{leaf}", "mlp.fc{ab}.{leaf}", "mlp.fc{ab}.{leaf}"),
    ),
    *_rows(_READ, ("layers.0.{leaf}", "layers.0.{leaf}", "fc1.{leaf}")),
    *_rows(_READ, ("layers.2.{leaf}", "layers.2.{leaf}", "hidden_layers.0.{leaf}")),
    ("image.generate.embedding.tables.0.weight", "gen_embed.weight", "model.generation_embeddings.weight"),
    *_rows(_WRITE, ("layers.0.{leaf}", "layers.0.{leaf}", "fc1.{leaf}")),
    *_rows(_WRITE, ("layers.2.{leaf}", "layers.2.{leaf}", "hidden_layers.0.{leaf}")),
    *_rows(
        _HEAD,
        ("hidden.{leaf}", "output_mlp_projector.{leaf}", "proj_out.{leaf}"),
        ("output.{leaf}", "vision_head.{leaf}", "vision_head.{leaf}"),
    ),
    *_rows(
        _CODEC,
        *_pairs(
            ("{side}.mid.block_1.{rest}", "{side}.mid.0.{rest}"),
            ("{side}.mid.attn_1.{rest}", "{side}.mid.1.{rest}"),
            ("{side}.mid.block_2.{rest}", "{side}.mid.2.{rest}"),
            ("encoder.down.{n}.block.{m}.{rest}", "encoder.conv_blocks.{n}.res.{m}.{rest}"),
            ("encoder.down.{n}.attn.{m}.{rest}", "encoder.conv_blocks.{n}.attn.{m}.{rest}"),
            ("encoder.down.{n}.downsample.{rest}", "encoder.conv_blocks.{n}.downsample.{rest}"),
            ("decoder.up.{n}.block.{m}.{rest}", "decoder.conv_blocks.{n}.res.{m}.{rest}"),
            ("decoder.up.{n}.attn.{m}.{rest}", "decoder.conv_blocks.{n}.attn.{m}.{rest}"),
            ("decoder.up.{n}.upsample.{rest}", "decoder.conv_blocks.{n}.upsample.{rest}"),
        ),
        *_same("{side}.{edge}.{leaf}", "quantize.embedding.weight", "{quant}.{leaf}"),
    ),
    ("text.embedding.weight", "language_model.model.embed_tokens.weight", "model.language_model.embed_tokens.weight"),
    *_rows(_WORDS, *_same("layers.{n}.{rest}", "norm.weight")),
    ("text.head.weight", "language_model.lm_head.weight", "lm_head.weight"),
)
"""Ours, DeepSeek's, transformers'. Inner names of blocks and layers are the same everywhere."""

UNUSED = {
    OURS: (f"{_TOWER[OURS]}.embeddings.position_ids",),
    DEEPSEEK: (
        "vision_model.vision_tower.attn_pool.{rest}",
        "gen_vision_model.quantize.codebook_used",
        "language_model.model.layers.{n}.self_attn.rotary_emb.inv_freq",
    ),
    TRANSFORMERS: ("model.vision_model.embeddings.position_ids",),
}
"""Names that may be there and that nothing computes with: a pooling head that is never run, counts, derived buffers."""


def _pattern(template: str) -> re.Pattern[str]:
    """Return the anchored pattern of a template."""
    parts = re.split(r"(\{\w+\})", template)
    return re.compile(
        "".join(_GROUPS[part[1:-1]] if part.startswith("{") else re.escape(part) for part in parts) + r"\Z"
    )


@dataclass(frozen=True)
class Source:
    """Where one of our tensors comes from: a foreign name, and which third of a fused tensor, if it is fused."""

    name: str
    third: int | None = None
    is_batched: bool = False
    """Whether the foreign tensor has a first axis of one more."""

    def take(self, tensor: Tensor) -> Tensor:
        """Return our tensor from the foreign one."""
        if self.third is not None:
            return tensor.chunk(3)[self.third]
        return tensor.squeeze(0) if self.is_batched else tensor


class Names:
    """The names of one foreign side of the table."""

    def __init__(self, side: int) -> None:
        self.side = side

    def rows(self, name: str) -> list[tuple[int, dict[str, str]]]:
        """Return every row that a foreign name matches, with what its placeholders stand for; one, if it is known."""
        found = ((index, pattern.match(name)) for index, pattern in enumerate(self._theirs))
        return [(index, match.groupdict()) for index, match in found if match]

    def is_unused(self, name: str) -> bool:
        """Tell whether a foreign name may be left aside."""
        return any(pattern.match(name) for pattern in self._unused)

    def sources(self, names: Iterable[str], where: str) -> dict[str, Source]:
        """Return the source of each of our tensors; foreign names that are not known are a CheckpointError."""
        sources: dict[str, Source] = {}
        unknown: list[str] = []
        for name in names:
            rows = self.rows(name)
            if len(rows) == 1:
                sources |= self._ours(name, *rows[0])
            elif not self.is_unused(name):
                unknown.append(name)
        if unknown:
            more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
            raise CheckpointError(
                f"holds tensors that Janus has not: {', '.join(sorted(unknown)[:SHOWN])}{more}", where=where
            )
        return sources

    def _ours(self, name: str, row: int, values: dict[str, str]) -> dict[str, Source]:
        template = TABLE[row][OURS]
        if "{qkv}" in template and "qkv" not in values:
            return {template.format(**values, qkv=part): Source(name, third) for third, part in enumerate("qkv")}
        return {template.format(**values): Source(name, None, name.endswith(".pos_embed"))}

    def export(self, names: Iterable[str], tensor: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """Return foreign tensors made of ours; a name of ours that has no place there is a UsageError."""
        gathered: dict[str, list[tuple[str, str]]] = {}
        for name in names:
            found = [
                (row, match) for row, pattern in zip(TABLE, self._mine, strict=True) if (match := pattern.match(name))
            ]
            if len(found) == 1:
                row, match = found[0]
                values = match.groupdict()
                part = "" if "{qkv}" in row[self.side] else values.get("qkv", "")
                gathered.setdefault(row[self.side].format(**values), []).append((part, name))
            elif name not in UNUSED[OURS]:
                raise UsageError(f"{name} has no place in a Janus checkpoint", hint="keep it as --to polyjanus")
        return {theirs: self._merged(theirs, parts, tensor) for theirs, parts in gathered.items()}

    @staticmethod
    def _merged(theirs: str, parts: list[tuple[str, str]], tensor: Callable[[str], Tensor]) -> Tensor:
        if len(parts) == 3:
            by_part = dict(parts)
            return torch.cat([tensor(by_part[part]) for part in "qkv"])
        value = tensor(parts[0][1])
        return value.unsqueeze(0) if theirs.endswith(".pos_embed") else value

    @cached_property
    def _theirs(self) -> list[re.Pattern[str]]:
        return [_pattern(row[self.side]) for row in TABLE]

    @cached_property
    def _mine(self) -> list[re.Pattern[str]]:
        return [_pattern(row[OURS]) for row in TABLE]

    @cached_property
    def _unused(self) -> list[re.Pattern[str]]:
        return [_pattern(template) for template in UNUSED[self.side]]
