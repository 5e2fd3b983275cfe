"""The torch side of `labram`: the Large Brain Model (arXiv 2405.18765), tensors named as in its published checkpoints.

Shape letters: B items, C electrodes, A patches of one second, T samples of a patch, N tokens, d width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polyjanus.core.errors import MediaError, suggest
from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.encoders.eeg.media import EegModality, Recording
from polyjanus.encoders.shared.blocks import ScaledBlock
from polyjanus.encoders.shared.patch1d import to_patches

SAMPLE_RATE, PATCH, MOST_PATCHES = 200.0, 200, 16
"""Hz, samples of a patch, and patches that have a place in time."""
VOLTS = 1e-4
"""What 1 is in the network: the authors feed microvolts divided by 100."""
STRIDE_OUT = 25
"""Values that the first convolution leaves of a patch, per channel."""
GROUPS, EPSILON, SPREAD, LAYER_SCALE = 4, 1e-6, 0.02, 0.1
TABLE = """
FP1 FPZ FP2 AF9 AF7 AF5 AF3 AF1 AFZ AF2 AF4 AF6 AF8 AF10 F9 F7 F5 F3 F1 FZ F2 F4 F6 F8 F10 FT9 FT7 FC5 FC3 FC1 FCZ FC2
FC4 FC6 FT8 FT10 T9 T7 C5 C3 C1 CZ C2 C4 C6 T8 T10 TP9 TP7 CP5 CP3 CP1 CPZ CP2 CP4 CP6 TP8 TP10 P9 P7 P5 P3 P1 PZ P2 P4
P6 P8 P10 PO9 PO7 PO5 PO3 PO1 POZ PO2 PO4 PO6 PO8 PO10 O1 OZ O2 O9 CB1 CB2 IZ O10 T3 T5 T4 T6 M1 M2 A1 A2 CFC1 CFC2 CFC3
CFC4 CFC5 CFC6 CFC7 CFC8 CCP1 CCP2 CCP3 CCP4 CCP5 CCP6 CCP7 CCP8 T1 T2 FTT9H TTP7H TPP9H FTT10H TPP8H TPP10H
"""
ROWS = {name: row for row, name in enumerate(TABLE.split(), 1)}
"""The row of the position table that each electrode has; row 0 is the class token's. Its bipolar pairs are left out."""
NUM_ROWS = 129
OLDER_ROWS = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}


class TemporalConv(nn.Module):
    """Patches to vectors by three convolutions over time; their norms are over all patches of an item."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, (1, 15), stride=(1, 8), padding=(0, 7))
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.conv2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.norm2 = nn.GroupNorm(GROUPS, channels)
        self.conv3 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.norm3 = nn.GroupNorm(GROUPS, channels)

    def forward(self, patches: Tensor) -> Tensor:
        """Return vectors (B, N, d) of patches (B, N, T)."""
        values = patches.unsqueeze(1)
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3)):
            values = nn.functional.gelu(norm(conv(values)))
        return values.permute(0, 2, 3, 1).flatten(2)


class LabramEncoder(Encoder):
    """One feature per electrode and second, electrode after electrode; the class token is computed and left out.

    Source: 935963004/LaBraM `modeling_finetune.py` (its patch tokens, with the places that fine-tuning gives them).
    """

    def __init__(
        self, modality: EegModality, *, width: int, depth: int, heads: int, final_norm: str, has_older_names: bool
    ) -> None:
        super().__init__()
        self.modality, self.width, self.has_older_names = modality, width, has_older_names
        self.patch_embed = TemporalConv(width // STRIDE_OUT)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, NUM_ROWS, width))
        self.time_embed = nn.Parameter(torch.empty(1, MOST_PATCHES, width))
        self.blocks = nn.ModuleList(
            ScaledBlock(width, heads, scale=LAYER_SCALE, epsilon=EPSILON, normalises_queries=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=EPSILON) if final_norm == "norm" else nn.Identity()
        self.fc_norm = nn.LayerNorm(width, eps=EPSILON) if final_norm == "fc_norm" else nn.Identity()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the class token and the places anew."""
        for table in (self.cls_token, self.pos_embed, self.time_embed):
            nn.init.trunc_normal_(table, std=SPREAD)

    def prepare(self, media: Recording) -> Prepared:
        """Return `patches` (C, A, T) of 100 microvolts, the last filled up with zeros, and `rows` (C,) of the table.

        More than 16 seconds, and electrodes that are not in the table, are a MediaError.
        """
        chosen = self.modality.resampled(self.modality.chosen(media), SAMPLE_RATE)
        rows = rows_of(chosen.channels, self.modality.name, has_older_names=self.has_older_names)
        patches = to_patches(torch.from_numpy(chosen.volts / VOLTS).float(), PATCH).transpose(0, 1).contiguous()
        if patches.shape[1] > MOST_PATCHES:
            raise MediaError(
                f"{chosen.volts.shape[1] / SAMPLE_RATE:g} s are more than the {MOST_PATCHES} s that labram can take",
                where=self.modality.name,
                hint=f"take a part with 'duration: {MOST_PATCHES}' or less",
            )
        return {"patches": patches, "rows": torch.tensor(rows)}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return C · A, and (C, A)."""
        electrodes, seconds, _ = prepared["patches"].shape
        return electrodes * seconds, (electrodes, seconds)

    def forward_stacked(self, patches: Tensor, rows: Tensor) -> Tensor:
        """Return features (B, C · A, d) of patches (B, C, A, T) and rows (B, C)."""
        vectors = self.patch_embed(patches.to(self.cls_token.dtype).flatten(1, 2)).unflatten(1, patches.shape[1:3])
        vectors = vectors + self.pos_embed[0, rows].unsqueeze(2) + self.time_embed[:, None, : patches.shape[2]]
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(patches), -1, -1)
        tokens = torch.cat([first, vectors.flatten(1, 2)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.fc_norm(self.norm(tokens))[:, 1:]


def rows_of(channels: tuple[str, ...], where: str, *, has_older_names: bool) -> list[int]:
    """Return the row of the position table of each electrode; those that have none are a MediaError."""
    names = [name.upper() for name in channels]
    if has_older_names:
        names = [OLDER_ROWS.get(name, name) for name in names]
    for name, channel in zip(names, channels, strict=True):
        if name not in ROWS:
            raise MediaError(
                f"labram does not know the electrode {channel!r}{suggest(name, ROWS)}",
                where=where,
                hint="list the electrodes to use under 'channels' of the modality, or take eeg_patch",
            )
    return [ROWS[name] for name in names]
