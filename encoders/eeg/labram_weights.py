"""Published LaBraM weights: which tensors of a file are the encoder, and what they say of its sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from polyjanus.core.errors import CheckpointError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.eeg import LabramArchitecture
from polyjanus.encoders.shared.checkpoints import fill_exactly, read_tensor_file

CONTAINERS = ("model", "module", "state_dict")
"""Where a published file keeps its tensors, as LaBraM's own loader looks for them."""
PREFIXES = ("student.", "module.", "")
"""What the encoder's tensors begin with: pretrained, fine-tuned on several devices, fine-tuned."""
IGNORED = re.compile(r"(head|lm_head|projection_head|teacher)\.|mask_token$|.*relative_position_index")
"""Tensors of training and of classification that are no part of the encoder."""
FIRST = "patch_embed.conv1.weight"


def read_architecture(pretrained: str, context: BuildContext) -> LabramArchitecture:
    """Return the sizes of a published encoder."""
    return architecture_of(read_encoder(pretrained, context), pretrained)


def load_encoder(encoder: nn.Module, pretrained: str, context: BuildContext) -> None:
    """Fill an encoder with published weights; a tensor without a place in it is a CheckpointError."""
    fill_exactly(encoder, read_encoder(pretrained, context), pretrained)


def read_encoder(pretrained: str, context: BuildContext) -> dict[str, Tensor]:
    """Return the tensors of the encoder in a file, without the prefix that the file gives them."""
    tensors = read_tensor_file(Path(context.locate_file(pretrained)), CONTAINERS)
    prefix = next((prefix for prefix in PREFIXES if prefix + FIRST in tensors), None)
    if prefix is None:
        some = ", ".join(sorted(tensors)[:3])
        raise CheckpointError(
            f"no LaBraM is in it: {FIRST!r} is nowhere; there are {some}",
            where=repr(pretrained),
            hint="known is labram-base.pth of 935963004/LaBraM, and what its fine-tuning saves; braindecode's files"
            " have other names",
        )
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return {name: value for name, value in own.items() if not IGNORED.match(name)}


def architecture_of(tensors: Mapping[str, Tensor], pretrained: str) -> LabramArchitecture:
    """Return the sizes that tensors have."""
    try:
        width = tensors["cls_token"].shape[-1]
        head_width = tensors["blocks.0.attn.q_norm.weight"].shape[0]
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"the encoder lacks {error}", where=repr(pretrained)) from error
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    final_norm = "fc_norm" if "fc_norm.weight" in tensors else "norm"
    try:
        return LabramArchitecture(width=width, depth=depth, heads=width // head_width, final_norm=final_norm)
    except (ValueError, ZeroDivisionError) as error:
        text = f"a width of {width} with heads of {head_width} is no LaBraM"
        raise CheckpointError(text, where=repr(pretrained)) from error
