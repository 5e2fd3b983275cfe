"""The torch side of `fsq2d`: convolutions around finite scalar quantisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polyjanus.core.modules import Prepared, in_groups
from polyjanus.encoders.shared.cells import GridPreparation
from polyjanus.encoders.shared.fsq import FiniteScalars
from polyjanus.encoders.shared.grid_codec import GridCodec
from polyjanus.encoders.shared.networks import shape_of

GROUPS = 8


class Residual(nn.Module):
    """Two convolutions added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, values: Tensor) -> Tensor:
        """Return values (B, width, h, w)."""
        return values + self.layers(values)


def convolutional_encoder(channels: int, width: int, halvings: int, width_out: int) -> nn.Sequential:
    """Return (B, C, H, W) to (B, width_out, H / 2^halvings, W / 2^halvings); the full resolution costs one layer."""
    layers: list[nn.Module] = []
    before = channels
    for level in range(halvings):
        after = width * min(2**level, 2)
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.SiLU()]
        before = after
    return nn.Sequential(*layers, Residual(before), Residual(before), nn.Conv2d(before, width_out, 1))


def convolutional_decoder(width_in: int, width: int, doublings: int, channels: int) -> nn.Sequential:
    """Return the way back of `convolutional_encoder`."""
    before = width * min(2 ** (doublings - 1), 2)
    layers: list[nn.Module] = [nn.Conv2d(width_in, before, 3, padding=1), Residual(before), Residual(before)]
    for level in reversed(range(doublings - 1)):
        after = width * min(2**level, 2)
        layers += [nn.SiLU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
        before = after
    return nn.Sequential(*layers, nn.SiLU(), nn.ConvTranspose2d(before, channels, 4, stride=2, padding=1))


class FsqGridCodec(GridCodec):
    """Grids of cells to finite scalars and back, by any two networks.

    `encoder` takes values (B, C, H, W), about -1 to 1, to latents (B, d, h, w), one for each of `levels` of each of
    `codebooks`; `decoder`
    takes vectors (B, d, h, w), each value between -1 and 1, back to values (B, C, H, W). The latents are normalised
    over the batch before they are rounded: without it training can collapse to a handful of codes. `encode` always
    uses the statistics that training has gathered, and never changes them.
    """

    def __init__(
        self,
        preparation: GridPreparation,
        levels: Sequence[int],
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        codebooks: int = 1,
    ) -> None:
        super().__init__(preparation, 1)
        self.scalars = FiniteScalars(levels)
        self.cardinality, self.num_codebooks = self.scalars.cardinality, codebooks
        self.latent_width = codebooks * len(self.scalars.levels)
        self.encoder = encoder
        self.norm = nn.BatchNorm2d(self.latent_width, affine=False)
        self.decoder = decoder
        found = shape_of(encoder, preparation.shape)
        if len(found) != 4 or found[1] != self.latent_width:
            wanted = f"(1, {self.latent_width}, rows, columns)"
            raise ValueError(
                f"the encoder gives {found}, not {wanted}: a channel for each of {self.latent_width} levels"
            )
        back = shape_of(decoder, found[1:])
        if back[1:] != tuple(preparation.shape):
            raise ValueError(f"the decoder gives {back[1:]} of {found[1:]}, not the shape {preparation.shape}")
        self.grid = (found[2], found[3])
        self.max_codes = self.min_codes = found[2] * found[3]

    def to_latents(self, values: Tensor) -> Tensor:
        """Return latents (B, d, h, w), normalised by the gathered statistics."""
        norm = self.norm
        return nn.functional.batch_norm(
            self.encoder(values), norm.running_mean, norm.running_var, training=False, eps=norm.eps
        )

    def quantise(self, latents: Tensor) -> Tensor:
        """Return codes (B, h, w), of several books (B, h, w, K)."""
        codes = self.scalars.codes(self._rounded(latents.movedim(1, -1)))
        return codes[..., 0] if self.num_codebooks == 1 else codes

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors (…, d), each value between -1 and 1."""
        codes = codes[..., None] if self.num_codebooks == 1 else codes
        return self.scalars.vectors(codes).flatten(-2).to(next(self.parameters()).dtype)

    def to_values(self, vectors: Tensor) -> Tensor:
        """Return normalised values (B, C, H, W) of vectors (B, d, h, w)."""
        return self.decoder(vectors)

    def reconstruct(self, items: Sequence[Prepared]) -> tuple[Tensor, int]:
        """Return the sum over items of what the medium says is the difference, and their number."""
        return torch.stack(in_groups(items, self._loss_stacked, self)).sum(), len(items)

    def _loss_stacked(self, cells: Tensor) -> Tensor:
        latents = self.norm(self.encoder(self.normalise(cells))).movedim(1, -1)
        rebuilt = self.decoder(self._rounded(latents).flatten(-2).movedim(-1, 1))
        return self.preparation.difference(rebuilt, cells)

    def _rounded(self, latents: Tensor) -> Tensor:
        """Return the nearest vectors (…, K, levels) of latents (…, d)."""
        return self.scalars.quantise(latents.unflatten(-1, (self.num_codebooks, -1)))


class Fsq2dCodec(FsqGridCodec):
    """Convolutions around finite scalar quantisation; `downsample` is a power of two."""

    def __init__(
        self, preparation: GridPreparation, levels: Sequence[int], *, downsample: int, width: int, codebooks: int = 1
    ) -> None:
        channels, halvings, latents = preparation.shape[0], downsample.bit_length() - 1, codebooks * len(levels)
        encoder = convolutional_encoder(channels, width, halvings, latents)
        decoder = convolutional_decoder(latents, width, halvings, channels)
        super().__init__(preparation, levels, encoder, decoder, codebooks=codebooks)
