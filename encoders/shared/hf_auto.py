"""The torch side of `hf_auto`: a model of transformers as an encoder, told by settings alone what it takes.

Shape letters: B items, C channels, T samples, H rows, W columns, N tokens, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from polyjanus.core.errors import WiringError
from polyjanus.core.hf import library
from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.shared import HfAutoConfig, grid_of
from polyjanus.encoders.shared.cells import channelwise
from polyjanus.encoders.shared.checkpoints import config_from, keep_buffers, reset_tower
from polyjanus.encoders.shared.signals import SignalModality

Values = Callable[[Any], Tensor]
"""From a medium to what the model takes of one item."""
QUIET = {"apply_spec_augment": False, "layerdrop": 0.0}
"""What some models do at random while they are trained, which an encoder must not."""


class HfAutoEncoder(Encoder):
    """Features of any model that gives hidden states; `values` makes what it takes, `name` is the argument for it."""

    def __init__(
        self,
        architecture: dict[str, Any],
        values: Values,
        context: BuildContext,
        *,
        name: str | None,
        layer: int,
        arguments: Mapping[str, Any],
        example: Any,
    ) -> None:
        super().__init__()
        config = config_from(architecture, context)
        for key in QUIET.keys() & config.to_dict().keys():
            setattr(config, key, QUIET[key])
        self.tower = _build(config, context)
        with torch.device("meta"):
            self._trial = (_build(config, context).eval(),)  # in a tuple, so that it is no part of this module
        self.values, self.layer, self.arguments, self.path = values, layer, dict(arguments), context.path
        self.name = name or str(self.tower.main_input_name)
        self._known: dict[tuple[int, ...], tuple[int, Grid | None, int]] = {}
        self.width = self._tried(tuple(values(example).shape))[2]

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        reset_tower(self.tower)

    def prepare(self, media: Any) -> Prepared:
        """Return what the model takes of one item, float32."""
        return {"values": self.values(media)}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return N, and the grid where the model keeps one; found by a pass without values, once per shape."""
        return self._tried(tuple(prepared["values"].shape))[:2]

    def forward_stacked(self, values: Tensor) -> Tensor:
        """Return features (B, N, d) of values (B, …)."""
        return self._features(self.tower, values.to(self.tower.dtype))[0]

    def _tried(self, shape: tuple[int, ...]) -> tuple[int, Grid | None, int]:
        """Return N, grid and d of an item of that shape."""
        if shape not in self._known:
            try:
                with torch.no_grad(), torch.device("meta"):
                    features, grid = self._features(self._trial[0], torch.empty(1, *shape))
            except Exception as error:
                raise WiringError(
                    f"{self.tower.config.model_type!r} cannot be given {self.name} of shape {(1, *shape)}:"
                    f" {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}",
                    paths=[self.path],
                    hint="set 'input', 'arranged' or 'arguments' to what its documentation says, or write an encoder",
                ) from error
            self._known[shape] = features.shape[1], grid, features.shape[2]
        return self._known[shape]

    def _features(self, tower: Any, values: Tensor) -> tuple[Tensor, Grid | None]:
        """Return features (B, N, d) and the grid of their tokens, if they have one."""
        extra = {"output_hidden_states": True} if self.layer != -1 else {}
        output = tower(**{self.name: values}, **self.arguments, **extra)
        hidden = output.hidden_states[self.layer] if self.layer != -1 else output.last_hidden_state
        if hidden.ndim == 4 and hidden.shape[-1] not in _widths(tower.config):  # (B, d, H, W), as convolutions have it
            return hidden.flatten(2).transpose(1, 2), (hidden.shape[2], hidden.shape[3])
        return hidden.flatten(1, -2), None


def values_of(settings: HfAutoConfig, context: BuildContext) -> tuple[Values, Any]:
    """Return what makes the model's values of a medium, and an example of one."""
    modality: Any = context.modality
    values = (
        _signal_values(settings, modality) if isinstance(modality, SignalModality) else _grid_values(settings, context)
    )
    if not settings.standardise:
        return values, modality.example()

    def standardised(media: Any) -> Tensor:
        given = values(media)
        return (given - given.mean()) / (given.var(correction=0) + 1e-7).sqrt()

    return standardised, modality.example()


def _signal_values(settings: HfAutoConfig, modality: SignalModality[Any, Any]) -> Values:
    def values(media: Any) -> Tensor:
        samples = torch.from_numpy(modality.values(media, settings.sample_rate or modality.sample_rate))
        if settings.arranged == "mono":
            return samples.mean(0)
        return samples if settings.arranged == "channels" else samples.T.contiguous()

    return values


def _grid_values(settings: HfAutoConfig, context: BuildContext) -> Values:
    grid = grid_of(context).grid(size=settings.size, channels=settings.channels, resize=settings.resize)
    mean, std = settings.mean, settings.std

    def values(media: Any) -> Tensor:
        given = grid.normalise(grid.cells(media).unsqueeze(0))[0]
        if mean is None or std is None:
            return given
        return ((given + 1) / 2 - channelwise(mean, given)) / channelwise(std, given)

    return values


def _build(config: Any, context: BuildContext) -> Any:
    try:
        return keep_buffers(cast(Any, library()).AutoModel.from_config(config))
    except ValueError as error:
        raise WiringError(
            f"transformers' AutoModel has no {config.model_type!r}",
            paths=[context.path],
            hint=str(error).split("\n")[0],
        ) from error


def _widths(config: Any) -> set[int]:
    """Return the widths that a config speaks of."""
    names = ("hidden_size", "d_model", "embed_dim", "hidden_dim")
    return {value for name in names if isinstance(value := getattr(config, name, None), int)}
