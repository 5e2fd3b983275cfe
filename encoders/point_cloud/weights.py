"""Published Point-BERT weights: which tensors of a file are the encoder, and what they say of its sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from polyjanus.core.errors import CheckpointError, WiringError
from polyjanus.core.settings import BuildContext, is_local
from polyjanus.encoders.point_cloud import PointBertArchitecture
from polyjanus.encoders.shared.checkpoints import fill_exactly, read_tensor_file, read_tensors

CONTAINERS = ("state_dict", "base_model", "model")
"""Where a published file keeps its tensors: PointLLM, Point-MAE, others."""
PREFIXES = ("module.point_encoder.", "module.MAE_encoder.", "module.base_model.", "MAE_encoder.", "base_model.")
"""What the encoder's tensors begin with; the first that occurs is taken, and everything without it is no part of it."""
PREFIXES += ("model.point_backbone.", "point_backbone.", "point_encoder.", "module.", "")
IGNORED = re.compile(r"(MAE_decoder|decoder_pos_embed|increase_dim|cls_head_finetune|lm_head)\.|mask_token$")
"""Tensors of training that are no part of the encoder."""
FIRST = "encoder.first_conv.0.weight"
PUBLISHED = {
    (384, True): {"heads": 6, "groups": 512, "group_size": 32, "points": 8192},
    (1152, True): {"heads": 12, "groups": 512, "group_size": 48, "points": 8192},
    (384, False): {"heads": 6, "groups": 64, "group_size": 32, "points": 1024},
}
"""What no tensor says, by width and whether there is a `reduce_dim`: PointLLM v1.2, v1.1, Point-MAE."""


def read_architecture(pretrained: str, context: BuildContext) -> PointBertArchitecture:
    """Return the sizes of a published encoder."""
    return architecture_of(read_encoder(pretrained, context), pretrained, context)


def load_encoder(encoder: nn.Module, pretrained: str, context: BuildContext) -> None:
    """Fill an encoder with published weights; a tensor without a place in it is a CheckpointError."""
    fill_exactly(encoder, read_encoder(pretrained, context), pretrained)


def read_encoder(pretrained: str, context: BuildContext) -> dict[str, Tensor]:
    """Return the tensors of the encoder in a file, or in a folder or on the hub, by their names in it."""
    place = Path(context.locate(pretrained))
    if is_local(pretrained) and not place.is_dir():
        return encoder_tensors(read_tensor_file(place, CONTAINERS), pretrained)
    return encoder_tensors(read_tensors(pretrained, context), pretrained)


def encoder_tensors(tensors: Mapping[str, Tensor], pretrained: str) -> dict[str, Tensor]:
    """Return the tensors of the encoder, without the prefix that a file gives them."""
    prefix = next((prefix for prefix in PREFIXES if prefix + FIRST in tensors), None)
    if prefix is None:
        some = ", ".join(sorted(tensors)[:3]) or "nothing"
        raise CheckpointError(
            f"no Point-BERT is in it: {FIRST!r} is nowhere; there are {some}",
            where=repr(pretrained),
            hint="known are point_bert_v1.1.pt, point_bert_v1.2.pt and Point-MAE's pretrain.pth",
        )
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return {name: value for name, value in own.items() if not IGNORED.match(name)}


def architecture_of(tensors: Mapping[str, Tensor], pretrained: str, context: BuildContext) -> PointBertArchitecture:
    """Return the sizes that tensors have; heads and groups, which they do not tell, are those published."""
    try:
        width = tensors["norm.weight"].shape[0]
        sizes: dict[str, Any] = {
            "width": width,
            "encoder_width": tensors["encoder.second_conv.3.weight"].shape[0],
            "channels": tensors[FIRST].shape[1],
            "depth": len({name.split(".")[2] for name in tensors if name.startswith("blocks.blocks.")}),
            "has_class_token": "cls_token" in tensors,
        }
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"the encoder lacks {error}", where=repr(pretrained)) from error
    known = PUBLISHED.get((width, "reduce_dim.weight" in tensors))
    if known is None:
        raise WiringError(
            f"{pretrained!r} has width {width}, and its heads and groups are not known",
            paths=[context.path],
            hint="known are PointLLM v1.1 and v1.2, and Point-MAE",
        )
    return PointBertArchitecture(**{**known, **sizes})
