"""The torch side of `hf_auto`: a model of transformers as an encoder, told by settings alone what it takes."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from torch import Tensor

from polyjanus.core.errors import WiringError
from polyjanus.core.hf import library
from polyjanus.core.modules import Grid
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.shared.adopting import HfAutoConfig
from polyjanus.encoders.shared.checkpoints import config_from, keep_buffers, reset_tower
from polyjanus.encoders.shared.tried import TriedEncoder, values_of

QUIET = {"apply_spec_augment": False, "layerdrop": 0.0}
"""What some models do at random while they are trained, which an encoder must not."""


class HfAutoEncoder(TriedEncoder):
    """Features of any model that gives hidden states."""

    def __init__(self, settings: HfAutoConfig, context: BuildContext) -> None:
        config = config_from(settings.architecture or {}, context)
        for key in QUIET.keys() & config.to_dict().keys():
            setattr(config, key, QUIET[key])
        self.layer, self.arguments, self.kind = settings.layer, dict(settings.arguments), str(config.model_type)
        self.name = settings.input or ""
        super().__init__(partial(_build, config, context), *values_of(settings, context), context)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        reset_tower(self.tower)

    @property
    def takes(self) -> str:
        """Return the type of the model and the name of the argument."""
        return f"{self.kind!r} cannot be given {self.name or self._trial[0].main_input_name}"

    def features(self, tower: Any, values: Tensor) -> tuple[Tensor, Grid | None]:
        """Return features (B, N, d) and the grid of their tokens, as convolutions have one."""
        extra = {"output_hidden_states": True} if self.layer != -1 else {}
        output = tower(**{self.name or tower.main_input_name: values}, **self.arguments, **extra)
        hidden = output.hidden_states[self.layer] if self.layer != -1 else output.last_hidden_state
        if hidden.ndim == 4 and hidden.shape[-1] not in _widths(tower.config):  # (B, d, H, W)
            return hidden.flatten(2).transpose(1, 2), (hidden.shape[2], hidden.shape[3])
        return hidden.flatten(1, -2), None


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
