"""The torch side of `semantic_fsq`: finite scalars of what a trained encoder sees.

The paper's baseline B has a VQ over the features of SigLIP, a decoder back to these features and one to pixels
(arXiv 2410.13848, appendix A). Here the encoder is one that arm E trained on labels. Shape letters: B items,
N tokens, d width of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from polyjanus.core.checkpoints.assigning import attach
from polyjanus.core.checkpoints.components import load_components
from polyjanus.core.checkpoints.finding import find_checkpoint
from polyjanus.core.codecs import StackedCodec
from polyjanus.core.errors import CheckpointError, WiringError
from polyjanus.core.modules import Encoder, Prepared
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.eeg.networks import EegPatchEncoder
from polyjanus.encoders.shared.feature_codec import FeatureCodec, FeatureKind
from polyjanus.encoders.shared.fsq import FiniteScalars
from polyjanus.encoders.shared.fsq2d import convolutional_decoder
from polyjanus.encoders.shared.patch2d import Patch2dEncoder
from polyjanus.encoders.shared.transformer import TokenTransformer

DEPTH, HEADS = 2, 4
"""Of the transformer that draws EEG."""


class Drawing(nn.Module):
    """The way back from what an encoder sees of one kind of medium; `target` is what is drawn."""

    max_codes: int

    def fixed(self, media: Any) -> Any:
        """Return the medium in the one length that the codec has."""
        return media

    def target(self, **prepared: Tensor) -> Tensor:
        """Return the normalised values (B, …) of prepared items."""
        raise NotImplementedError

    def media(self, values: Tensor) -> Sequence[Any]:
        """Return the media of normalised values (B, …)."""
        raise NotImplementedError


class GridDrawing(Drawing):
    """Convolutions from tokens in raster order to cells, as those of `fsq2d`."""

    def __init__(self, encoder: Patch2dEncoder, width: int) -> None:
        super().__init__()
        self.preparation, self.grid = encoder.preparation, encoder.grid
        self.max_codes = self.grid[0] * self.grid[1]
        doublings, channels = encoder.patch.bit_length() - 1, self.preparation.shape[0]
        self.layers = convolutional_decoder(encoder.width, width, doublings, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return values (B, C, H, W) of tokens (B, N, d)."""
        return self.layers(tokens.transpose(1, 2).unflatten(2, self.grid))

    def target(self, cells: Tensor) -> Tensor:
        """Return the values (B, C, H, W) of cells."""
        return self.preparation.normalise(cells)

    def media(self, values: Tensor) -> Sequence[Any]:
        """Return the media."""
        return self.preparation.media(values)


class EegDrawing(Drawing):
    """A transformer from tokens, one per stretch and electrode, to samples."""

    def __init__(self, encoder: EegPatchEncoder, seconds: float) -> None:
        super().__init__()
        self.modality, self.rate, self.seconds = encoder.modality, encoder.sample_rate, seconds
        self.electrodes, self.patch = len(self.modality.channels), encoder.patch
        self.max_codes = self.electrodes * -(-round(self.seconds * self.rate) // self.patch)
        self.places = nn.Parameter(0.02 * torch.randn(self.max_codes, encoder.width))
        self.transformer = TokenTransformer(encoder.width, DEPTH, HEADS)
        self.samples = nn.Linear(encoder.width, self.patch)

    def fixed(self, media: Any) -> Any:
        """Return the recording cut or filled up to the length of the codec."""
        wanted = round(self.seconds * media.sample_rate)
        volts = media.volts[:, :wanted]
        return replace(media, volts=np.pad(volts, ((0, 0), (0, wanted - volts.shape[1]))))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return values (B, A, C, P): stretches, electrodes, samples."""
        return self.samples(self.transformer(tokens + self.places)).unflatten(1, (-1, self.electrodes))

    def target(self, patches: Tensor, places: Tensor) -> Tensor:
        """Return the samples (B, A, C, P) without their spectra."""
        return patches[..., : self.patch]

    def media(self, values: Tensor) -> Sequence[Any]:
        """Return the recordings."""
        samples = values.transpose(1, 2).flatten(2).float().cpu().numpy() * self.modality.scale
        return [self.modality.make(each, self.rate) for each in samples]


class SemanticCodec(StackedCodec, FeatureCodec):
    """A frozen encoder's features as one code per token; a code's vector is what it says of the features."""

    def __init__(self, encoder: Any, drawing: Drawing, levels: Sequence[int]) -> None:
        super().__init__()
        self.encoder, self.drawing, self.scalars = encoder, drawing, FiniteScalars(levels)
        self.cardinality, self.latent_width = self.scalars.cardinality, encoder.width
        self.grid = getattr(drawing, "grid", None)
        self.max_codes = self.min_codes = drawing.max_codes
        wide, narrow = encoder.width, len(levels)
        self.down = nn.Sequential(nn.Linear(wide, wide), nn.GELU(), nn.Linear(wide, narrow))
        self.norm = nn.BatchNorm1d(narrow, affine=False)
        self.up = nn.Sequential(nn.Linear(narrow, wide), nn.GELU(), nn.Linear(wide, wide))

    def train(self, mode: bool = True) -> SemanticCodec:
        """Set the mode; the encoder, which is not trained here, stays in evaluation."""
        super().train(mode)
        self.encoder.eval()
        return self

    def prepare(self, media: Any) -> Prepared:
        """Return what the encoder prepares."""
        return self.encoder.prepare(self.drawing.fixed(media))

    def num_codes(self, prepared: Prepared) -> int:
        """Return the number of tokens, the same for every item."""
        return self.max_codes

    def encode_stacked(self, **prepared: Tensor) -> Tensor:
        """Return the codes (B, N, 1)."""
        return self.scalars.codes(self._rounded(self._seen(prepared))).unsqueeze(-1)

    def features(self, output: FeatureKind, **prepared: Tensor) -> Tensor:
        """Return what the codes say of the encoder's features (B, N, d), or these themselves."""
        seen = self._seen(prepared)
        return seen if output == "latents" else self.up(self._rounded(seen))

    def decode_stacked(self, codes: Tensor) -> Sequence[Any]:
        """Return the media of codes (B, N, 1)."""
        vectors = self.scalars.vectors(codes[..., 0]).to(next(self.parameters()).dtype)
        return self.drawing.media(self.drawing(self.up(vectors)))

    def loss_stacked(self, **prepared: Tensor) -> Tensor:
        """Return how far features (mean square) and signal (mean absolute error) are from what they were (B,)."""
        seen = self._seen(prepared)
        vectors = self.up(self.scalars.quantise(self.norm(self.down(seen).transpose(1, 2)).transpose(1, 2)))
        signal = self.drawing(vectors) - self.drawing.target(**prepared)
        return (vectors - seen).square().float().flatten(1).mean(1) + signal.abs().float().flatten(1).mean(1)

    @torch.no_grad()
    def _seen(self, prepared: Prepared) -> Tensor:
        return self.encoder.forward_stacked(**prepared)

    def _rounded(self, seen: Tensor) -> Tensor:
        """Return quantised latents (B, N, L) by the statistics that training gathered."""
        norm, latents = self.norm, self.down(seen).transpose(1, 2)
        known = nn.functional.batch_norm(latents, norm.running_mean, norm.running_var, training=False, eps=norm.eps)
        return self.scalars.quantise(known.transpose(1, 2))


def build_codec(
    encoder: Encoder, context: BuildContext, *, levels: Sequence[int], width: int, seconds: float
) -> SemanticCodec:
    """Return the codec around an encoder; one that there is no way back from is a WiringError."""
    if isinstance(encoder, Patch2dEncoder):
        return SemanticCodec(encoder, GridDrawing(encoder, width), levels)
    if isinstance(encoder, EegPatchEncoder):
        return SemanticCodec(encoder, EegDrawing(encoder, seconds), levels)
    raise WiringError(
        f"there is no way back from what a {type(encoder).__name__} sees",
        paths=[context.path],
        hint="its encoder is a 'patch2d' or an 'eeg_patch'",
    )


def take_encoder(encoder: nn.Module, teacher: str, context: BuildContext) -> None:
    """Fill an encoder with what a component of another run learned; `teacher` is RUN:component.path."""
    name, _, path = teacher.rpartition(":")
    home = nn.Module()
    attach(home, {"encoder": encoder})
    folder = find_checkpoint(Path(context.locate(name)))
    report = load_components(home, folder, {"encoder": path})
    if report.fresh:
        raise CheckpointError(f"does not fill the encoder of {context.path}: {report}", where=teacher)
