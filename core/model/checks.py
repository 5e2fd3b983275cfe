"""What components return, held against what they declared: a fault names the plugin, the method and both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from polyjanus.core.errors import PluginError, PolyjanusError
from polyjanus.core.modules import Codec, Encoder, Features, Item, Kept
from polyjanus.core.registry import home_of


def encoded_features(encoder: Encoder, items: Sequence[Item]) -> Features:
    """Return the features of items: those that are kept, and the encoder's of all others."""
    fresh = [item for item in items if not isinstance(item, Kept)]
    if len(fresh) == len(items):
        return _computed_features(encoder, fresh)
    computed = _computed_features(encoder, fresh) if fresh else None
    rest = iter(computed.split() if computed else ())
    grids = iter(computed.grids or [None] * len(fresh) if computed else ())
    values = [item.values if isinstance(item, Kept) else next(rest) for item in items]
    every = [item.grid if isinstance(item, Kept) else next(grids) for item in items]
    known = [grid for grid in every if grid is not None]
    return Features.of(values, known if len(known) == len(every) else None)


def encoded_codes(codec: Codec, items: Sequence[Item]) -> list[Tensor]:
    """Return the codes of items: those that are kept, and the codec's of all others."""
    fresh = [item for item in items if not isinstance(item, Kept)]
    rest = iter(_computed_codes(codec, fresh) if fresh else ())
    return [item.values if isinstance(item, Kept) else next(rest) for item in items]


def _computed_features(encoder: Encoder, items: Sequence[Any]) -> Features:
    """Return the features of items, after comparing them with the encoder's width and token counts."""
    features = _called(encoder, "forward", items)
    name = f"{_place(encoder)}.forward"
    if not isinstance(features, Features):
        raise PluginError(f"{name} returned {_described(features)}, not Features")
    _check_values(name, features.values, encoder.width, "as its width says")
    declared = tuple(encoder.num_tokens(item)[0] for item in items)
    if features.lengths != declared:
        raise PluginError(f"{_place(encoder)}.num_tokens declared {declared} features, forward gave {features.lengths}")
    if features.values.shape[0] != sum(declared):
        raise PluginError(f"{name} returned {features.values.shape[0]} features and lengths of {sum(declared)}")
    if not bool(torch.isfinite(features.values).all()):
        broken = [i for i, item in enumerate(features.split()) if not bool(torch.isfinite(item).all())]
        raise PluginError(f"{name} returned NaN or infinity for items {broken} of the batch, not finite values")
    return features


def _computed_codes(codec: Codec, items: Sequence[Any]) -> list[Tensor]:
    """Return the codes of items, after comparing them with the codec's code books and counts."""
    codes = _called(codec, "encode", items)
    name = f"{_place(codec)}.encode"
    found = cast("list[Any] | None", codes if isinstance(codes, list) else None)
    if found is None or len(found) != len(items):
        raise PluginError(f"{name} returned {_described(cast(object, codes))}, not a list of {len(items)} tensors")
    for index, (item, prepared) in enumerate(zip(found, items, strict=True)):
        expected = (codec.num_codes(prepared), codec.num_codebooks)
        if not isinstance(item, Tensor) or tuple(item.shape) != expected or item.dtype != torch.int64:
            raise PluginError(f"{name} returned {_described(item)} for item {index}, not int64 of shape {expected}")
        if item.numel() and not 0 <= int(item.min()) <= int(item.max()) < codec.cardinality:
            raise PluginError(
                f"{name} returned codes from {int(item.min())} to {int(item.max())} for item {index},"
                f" not from 0 to {codec.cardinality - 1} as its cardinality says"
            )
    return found


def check_adapted(path: str, adaptor: nn.Module, features: Any, block: Mapping[str, Any], width: int) -> Tensor:
    """Return adapted values (ΣM, d) if they fill exactly the positions that the items of a block were given."""
    name = f"{path}: {_place(adaptor)}.forward"
    if not isinstance(features, Features):
        raise PluginError(f"{name} returned {_described(features)}, not Features")
    _check_values(name, features.values, width, "as the backbone needs")
    lengths = tuple(int(length) for length in block["lengths"])
    if features.lengths != lengths or features.values.shape[0] != sum(lengths):
        raise PluginError(
            f"{path}: {len(lengths)} items were given {lengths} positions but filled {features.lengths};"
            " scattering them anyway would corrupt the sequence",
            hint="num_tokens of the encoder and the adaptor must say what forward returns",
        )
    return features.values


def _called(component: nn.Module, method: str, items: Sequence[Any]) -> object:
    """Call a component; what it raises is told with its name."""
    try:
        return component(items) if method == "forward" else getattr(component, method)(items)
    except PolyjanusError:
        raise
    except (TypeError, ValueError, RuntimeError, AttributeError, LookupError, NotImplementedError) as error:
        shapes = [{key: _described(value) for key, value in item.items()} for item in items[:1]]
        raise PluginError(
            f"{_place(component)}.{method} failed: {type(error).__name__}: {error}",
            hint=f"it was given {len(items)} items, the first {shapes[0] if shapes else 'missing'}",
        ) from error


def _check_values(name: str, values: object, width: int, why: str) -> None:
    is_right = isinstance(values, Tensor) and values.is_floating_point() and values.ndim == 2
    if not is_right or cast(Tensor, values).shape[1] != width:
        raise PluginError(f"{name} returned values that are {_described(values)}, not floats (N, {width}) {why}")


def _place(component: nn.Module) -> str:
    return home_of(type(component))


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    if isinstance(value, list):
        return f"a list of {len(cast('list[Any]', value))}"
    return f"a {type(value).__name__}"
