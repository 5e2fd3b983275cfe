"""The torch side of `vq16`: transformers' Janus encoder and decoder around DeepSeek's quantiser."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polyjanus.core.errors import CheckpointError, WiringError
from polyjanus.core.hf import config_of, library
from polyjanus.core.modules import Prepared, in_groups
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.image.pixels import Preparation
from polyjanus.encoders.shared.checkpoints import config_from, describe, fill, read_json, read_tensors
from polyjanus.encoders.shared.grid_codec import GridCodec

JANUS = {"model_type": "janus_vqgan", "num_patches": 24}
"""Janus' 24 x 24 codes of 384 pixels; everything else is transformers' default."""
COMMITMENT = 0.25
"""Weight of the commitment loss (DeepSeek's `commit_loss_beta`)."""
PREFIXES = ("gen_vision_model.", "model.vqmodel.", "vqmodel.", "")
"""Where a checkpoint keeps the tokenizer: DeepSeek's Janus, transformers' Janus, or nothing else in it."""
RENAMES = (
    (r"^(encoder|decoder)\.mid\.0\.", r"\1.mid.block_1."),
    (r"^(encoder|decoder)\.mid\.1\.", r"\1.mid.attn_1."),
    (r"^(encoder|decoder)\.mid\.2\.", r"\1.mid.block_2."),
    (r"^encoder\.conv_blocks\.(\d+)\.res\.", r"encoder.down.\1.block."),
    (r"^encoder\.conv_blocks\.(\d+)\.", r"encoder.down.\1."),
    (r"^decoder\.conv_blocks\.(\d+)\.res\.", r"decoder.up.\1.block."),
    (r"^decoder\.conv_blocks\.(\d+)\.", r"decoder.up.\1."),
)
"""From DeepSeek's names to transformers'; at most one rule matches a key."""


class NormalisedQuantiser(nn.Module):
    """The nearest code by angle: latents and code book rows are both brought to unit length.

    transformers compares raw distances when it encodes, and gives other codes than DeepSeek wherever rows differ in
    length; its decoding normalises, as DeepSeek's does.
    """

    def __init__(self, cardinality: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(cardinality, width)

    def rows(self) -> Tensor:
        """Return the code book (V, d), rows of unit length."""
        return nn.functional.normalize(self.embedding.weight, dim=-1)

    def codes(self, latents: Tensor) -> Tensor:
        """Return the codes (…) of latents (…, d)."""
        return (nn.functional.normalize(latents.float(), dim=-1) @ self.rows().float().T).argmax(-1)

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the rows (…, d) of codes (…), of unit length."""
        return nn.functional.normalize(self.embedding(codes), dim=-1)


class Vq16Codec(GridCodec):
    """Convolutions, one code book, convolutions; the parts are named as in transformers' JanusVQVAE."""

    truncates = True
    """As DeepSeek's scripts write their pictures, so that they are equal byte by byte."""

    def __init__(
        self, architecture: dict[str, Any], preparation: Callable[[int], Preparation], context: BuildContext
    ) -> None:
        config = config_from({**JANUS, **architecture}, context)
        downsample = 2 ** (len(config.channel_multiplier) - 1)
        super().__init__(preparation(config.num_patches * downsample), downsample)
        self.cardinality = config.num_embeddings
        self.latent_width = config.embed_dim
        parts = library().models.janus.modeling_janus
        self.encoder = parts.JanusVQVAEEncoder(config)
        self.quant_conv = nn.Conv2d(config.latent_channels, config.embed_dim, 1)
        self.quantize = NormalisedQuantiser(config.num_embeddings, config.embed_dim)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.latent_channels, 1)
        self.decoder = parts.JanusVQVAEDecoder(config)

    def to_latents(self, values: Tensor) -> Tensor:
        """Return latents (B, d, h, w) of values (B, 3, H, W) from -1 to 1."""
        return self.quant_conv(self.encoder(values))

    def quantise(self, latents: Tensor) -> Tensor:
        """Return codes (B, h, w)."""
        return self.quantize.codes(latents.movedim(1, -1))

    def vectors(self, codes: Tensor) -> Tensor:
        """Return code book rows (…, d) of unit length."""
        return self.quantize.vectors(codes)

    def to_values(self, vectors: Tensor) -> Tensor:
        """Return values (B, 3, H, W), about -1 to 1, of vectors (B, d, h, w)."""
        return self.decoder(self.post_quant_conv(vectors))

    def reconstruct(self, items: Sequence[Prepared]) -> tuple[Tensor, int]:
        """Return the sum over pictures of absolute error, code book loss and commitment, and their number.

        The perceptual and adversarial losses of arXiv 2406.06525 are left out: they need networks of their own.
        """
        return torch.stack(in_groups(items, self._loss_stacked, self)).sum(), len(items)

    def _loss_stacked(self, cells: Tensor) -> Tensor:
        values = self.normalise(cells)
        latents = nn.functional.normalize(self.to_latents(values).movedim(1, -1), dim=-1)
        nearest = self.vectors(self.quantize.codes(latents))
        losses = (nearest - latents.detach()) ** 2 + COMMITMENT * (nearest.detach() - latents) ** 2
        passed = latents + (nearest - latents).detach()
        rebuilt = self.to_values(passed.movedim(-1, 1))
        return (rebuilt - values).abs().float().flatten(1).mean(1) + losses.float().flatten(1).mean(1)


def read_architecture(pretrained: str, context: BuildContext) -> dict[str, Any]:
    """Return the tokenizer's architecture in a checkpoint of DeepSeek's Janus, of transformers', or of its own."""
    config = read_json(pretrained, "config.json", context)
    model_type = config.get("model_type")
    if model_type == "multi_modality":  # DeepSeek's; its tokenizer has no settings
        known = {}
    elif model_type == "janus":
        known = config["vq_config"]
    elif model_type == JANUS["model_type"]:
        known = config
    else:
        raise WiringError(f"{pretrained!r} is {model_type!r} and holds no Janus tokenizer", paths=[context.path])
    return describe(config_of({**JANUS, **known}, None))


def load_codec(codec: Vq16Codec, pretrained: str, context: BuildContext) -> None:
    """Fill a codec with the tokenizer of a checkpoint."""
    tensors = read_tensors(pretrained, context)
    for prefix in PREFIXES:
        if f"{prefix}quant_conv.weight" in tensors:
            found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            fill(codec, {rename(key): value for key, value in found.items()}, pretrained)
            return
    raise CheckpointError("it holds no Janus tokenizer", where=repr(pretrained))


def rename(key: str) -> str:
    """Return transformers' name of one of DeepSeek's tensors, without the prefixes."""
    for pattern, replacement in RENAMES:
        renamed = re.sub(pattern, replacement, key)
        if renamed != key:
            return renamed
    return key
