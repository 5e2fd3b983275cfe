"""What both Janus layouts share: the pipeline that the shapes of the tensors and a few settings describe."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polyjanus.core.checkpoints.formats import CheckpointFormat, Finding, Keeps
from polyjanus.core.checkpoints.stored import StoredWeights
from polyjanus.core.errors import CheckpointError
from polyjanus.plugins.formats import read_config
from polyjanus.plugins.formats.keys import Names, Source

if TYPE_CHECKING:
    from polyjanus.core.pipeline import Pipeline

SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user"
    " provides, and assist the user with a variety of tasks using natural language."
)
"""DeepSeek's system prompt for questions about pictures; drawing has none."""
PRO_ROLES = {"user": "<|User|>", "assistant": "<|Assistant|>"}
FIRST_ROLES = {"user": "User", "assistant": "Assistant"}
"""Janus-1.3B's; they are no special tokens."""
HALF = (0.5, 0.5, 0.5)
LANGUAGE_KEYS = (
    *("attention_bias", "attention_dropout", "head_dim", "hidden_act", "initializer_range", "max_position_embeddings"),
    *("mlp_bias", "num_attention_heads", "num_key_value_heads", "rms_norm_eps", "rope_parameters", "rope_scaling"),
    *("rope_theta",),
)
"""Settings of the language model that shapes do not tell; what a config leaves out is transformers' default."""
TOWER = "image.understand.encoder.tower"
CODEC = "image.generate.codec"
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """What a config says and shapes do not."""

    language: Mapping[str, Any]
    heads: int
    mean: Shape | tuple[float, ...] = HALF
    std: Shape | tuple[float, ...] = HALF
    system: str = SYSTEM
    roles: Mapping[str, str] | None = None
    hidden_act: str = "gelu"
    eps: float = 1e-6


class JanusFormat(CheckpointFormat):
    """Reading of either layout; each says its names, its settings, and how it is written."""

    names: Names

    @abstractmethod
    def settings(self, folder: Path) -> Settings:
        """Return what the folder's configs say."""

    def describe(self, folder: Path) -> dict[str, Any]:
        """Return the pipeline of a folder."""
        weights = StoredWeights(folder)
        sources = self.names.sources(weights, str(folder))
        shapes = {name: _shape(weights.shape(source.name), source) for name, source in sources.items()}
        settings = self.settings(folder)
        try:
            return _pipeline(shapes, settings, settings.roles or _roles(folder))
        except KeyError as error:
            raise CheckpointError(f"there is no tensor for {error.args[0]}", where=str(folder)) from error

    def tensors(self, folder: Path, keeps: Keeps) -> Iterator[tuple[str, Tensor]]:
        """Yield our tensors, each read when its turn comes; the positions of the patches are computed."""
        weights = StoredWeights(folder)
        for name, source in self.names.sources(weights, str(folder)).items():
            if keeps(name):
                yield name, source.take(weights[source.name])
            if name == f"{TOWER}.embeddings.position_embedding.weight" and keeps(name):
                count = _shape(weights.shape(source.name), source)[0]
                yield f"{TOWER}.embeddings.position_ids", torch.arange(count).unsqueeze(0)

    def checks(self, pipeline: Pipeline, file: Path | None) -> Iterator[Finding]:
        """Yield the published results for Janus-Pro-1B."""
        from polyjanus.plugins.formats.published import published

        yield from published(pipeline, file)


def _shape(shape: Shape, source: Source) -> Shape:
    """Return the shape of our tensor from that of the foreign one."""
    if source.third is not None:
        return (shape[0] // 3, *shape[1:])
    return shape[1:] if source.is_batched else shape


def _roles(folder: Path) -> Mapping[str, str]:
    """Return the names of the roles: Janus-Pro's where its tokenizer has them as tokens, else Janus-1.3B's."""
    tokenizer = read_config(folder, "tokenizer.json")
    added = {token["content"] for token in tokenizer.get("added_tokens", [])}
    return PRO_ROLES if PRO_ROLES["user"] in added else FIRST_ROLES


def _pipeline(shapes: Mapping[str, Shape], settings: Settings, roles: Mapping[str, str]) -> dict[str, Any]:
    """Return the pipeline as plain data."""
    size, tower = _tower(shapes, settings)
    normal = {"mean": list(settings.mean), "std": list(settings.std)}
    hidden, width = shapes["image.generate.head.hidden.weight"]
    template = {"type": "janus", **roles, "system": settings.system}
    return {
        "polyjanus": 1,
        "backbone": {"type": "causal_lm", "architecture": _language(shapes, settings.language)},
        "template": template,
        "text": {"tokenizer": {"type": "janus", "pretrained": "./"}, "sampler": {"type": "greedy"}},
        "modalities": {
            "image": {
                "understand": {
                    "encoder": {"type": "siglip", "architecture": tower, "resize": "pad", **normal},
                    "adaptor": {"type": "mlp", "depth": 2},
                },
                "generate": {
                    "codec": {"type": "vq16", "architecture": _codec(shapes, size // tower["patch_size"])},
                    "layout": {"type": "grid"},
                    "embedding": {"width": shapes["image.generate.embedding.tables.0.weight"][1]},
                    "adaptor": {"type": "mlp", "depth": 2},
                    "head": {"type": "mlp", **({} if hidden == width else {"hidden": hidden})},
                    "sampler": {"type": "guided", "scale": 5.0, "temperature": 1.0},
                },
            }
        },
    }


def _tower(shapes: Mapping[str, Shape], settings: Settings) -> tuple[int, dict[str, Any]]:
    """Return the pixels a side and the architecture of SigLIP."""
    width, _, _, patch = shapes[f"{TOWER}.embeddings.patch_embedding.weight"]
    patches = shapes[f"{TOWER}.embeddings.position_embedding.weight"][0]
    size = isqrt(patches) * patch
    return size, {
        "model_type": "siglip_vision_model",
        "image_size": size,
        "patch_size": patch,
        "hidden_size": width,
        "intermediate_size": shapes[f"{TOWER}.encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": _count(shapes, rf"{TOWER}\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": settings.heads,
        "hidden_act": settings.hidden_act,
        "layer_norm_eps": settings.eps,
    }


def _codec(shapes: Mapping[str, Shape], side: int) -> dict[str, Any]:
    """Return the architecture of the VQ tokenizer, of `side` codes a side."""
    base = shapes[f"{CODEC}.encoder.conv_in.weight"][0]
    levels = _count(shapes, rf"{CODEC}\.encoder\.down\.(\d+)\.")
    outputs = [shapes[f"{CODEC}.encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels)]
    cardinality, width = shapes[f"{CODEC}.quantize.embedding.weight"]
    return {
        "base_channels": base,
        "channel_multiplier": [channels // base for channels in outputs],
        "num_res_blocks": _count(shapes, rf"{CODEC}\.encoder\.down\.0\.block\.(\d+)\."),
        "latent_channels": shapes[f"{CODEC}.post_quant_conv.weight"][0],
        "embed_dim": width,
        "num_embeddings": cardinality,
        "num_patches": side,
    }


def _language(shapes: Mapping[str, Shape], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture of the language model; it is tied if, and only if, there is no head of its own."""
    model_type = known.get("model_type", "llama")
    if model_type != "llama":
        raise CheckpointError(f"its language model is {model_type!r}; Janus has 'llama'", where="config.json")
    vocabulary, width = shapes["text.embedding.weight"]
    layers = "backbone.transformer.layers"
    said = {key: known[key] for key in LANGUAGE_KEYS if known.get(key) is not None}
    return {
        "model_type": model_type,
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes[f"{layers}.0.mlp.gate_proj.weight"][0],
        "num_hidden_layers": _count(shapes, rf"{re.escape(layers)}\.(\d+)\."),
        "tie_word_embeddings": "text.head.weight" not in shapes,
        **said,
    }


def _count(shapes: Mapping[str, Shape], pattern: str) -> int:
    """Return how many numbered parts there are."""
    return 1 + max((int(match[1]) for name in shapes if (match := re.match(pattern, name))), default=-1)
