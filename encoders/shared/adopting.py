"""Networks of others as encoders: those of transformers by settings alone, plain torch modules by their file.

Importing this loads no torch.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast, get_type_hints

from pydantic import Field, create_model

from polyjanus.core.errors import PluginError
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, EncoderConfig, Floats, PretrainedSettings
from polyjanus.encoders.shared import GRIDS, SIGNALS, GridSettings, RateSettings

if TYPE_CHECKING:
    from polyjanus.encoders.shared.adopted import AdoptedEncoder
    from polyjanus.encoders.shared.hf_auto import HfAutoEncoder

PLAIN = (int, float, str, bool)
"""What an argument of an adopted network may be."""


class ValuesSettings(GridSettings, RateSettings):
    """How a signal or a grid becomes the values that a network takes."""

    arranged: Literal["mono", "channels", "frames"] = Field(
        default="mono", description="of a signal: its channels' mean (T), or (C, T), or (T, C); a grid is (C, H, W)"
    )
    standardise: bool = Field(default=False, description="give each item mean 0 and variance 1")
    mean: Floats | None = Field(
        default=None, description="per channel of a grid whose values reach from 0 to 1; the checkpoint's own if absent"
    )
    std: Floats | None = Field(default=None, description="beside it")


class HfAutoConfig(EncoderConfig, PretrainedSettings, ValuesSettings):
    """Any model of transformers that AutoModel knows and that gives hidden states: ResNet, Swin, HuBERT, PatchTST …"""

    modality_types = (*GRIDS, *SIGNALS)

    type: Literal["hf_auto"]
    input: str | None = Field(default=None, description="argument for the values; the model's main one if absent")
    layer: int = Field(default=-1, le=-1, description="hidden state to use: -1 the last, -2 the one before")
    arguments: dict[str, bool | int | float | str] = Field(default_factory=dict, description="others of its forward")

    def resolve(self, context: BuildContext) -> Self:
        """Return these settings with the architecture, mean and std of the checkpoint that they name."""
        from polyjanus.encoders.shared.checkpoints import read_architecture, read_normalisation, resolved

        if not self.pretrained:
            return self
        known = {} if self.mean else read_normalisation(self.pretrained, context)
        return resolved(self, read_architecture(self.pretrained, context), **known)

    def build(self, context: BuildContext) -> HfAutoEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.shared.hf_auto import HfAutoEncoder

        return HfAutoEncoder(cast(Any, self.resolve(context)), context)

    def load(self, component: Any, context: BuildContext) -> None:
        """Fill the encoder with the weights of `pretrained`."""
        from polyjanus.encoders.shared.checkpoints import load_tower

        if self.pretrained:
            load_tower(component.tower, self.pretrained, context)


class AdoptedConfig(EncoderConfig, ValuesSettings):
    """A plain torch module as an encoder; a subclass for each, whose settings are the arguments of its constructor."""

    modality_types = (*GRIDS, *SIGNALS)

    network: ClassVar[type[Any]]
    arguments: ClassVar[tuple[str, ...]]

    def build(self, context: BuildContext) -> AdoptedEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.shared.adopted import AdoptedEncoder

        return AdoptedEncoder(cast(Any, self), context)


def adopt_modules(registries: Registries, module: ModuleType) -> bool:
    """Offer the torch modules that a file defines, by the names of their classes; tell whether there were any."""
    torch = sys.modules.get("torch")
    kinds = [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__]
    networks = [each for each in kinds if torch is not None and issubclass(each, torch.nn.Module)]
    faults: list[PluginError] = []
    for network in networks:
        try:
            registries.encoders.add(_settings_of(network))
        except PluginError as error:  # a part of another network in the file, perhaps
            faults.append(error)
    if networks and len(faults) == len(networks):
        raise faults[0]
    return bool(networks)


def _settings_of(network: type[Any]) -> type[AdoptedConfig]:
    """Return settings whose fields are the arguments of a network's constructor."""
    hints = get_type_hints(network.__init__)
    fields: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(network.__init__).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        kind = hints.get(name, type(parameter.default))
        if kind not in PLAIN or name in AdoptedConfig.model_fields:
            reason = "has a name that settings have already" if kind in PLAIN else "is no int, float, str or bool"
            raise PluginError(
                f"argument {name!r} of {network.__name__} {reason}", hint="annotate it, rename it, or write an Encoder"
            )
        is_required = parameter.default is parameter.empty
        description = f"argument of {network.__name__}"
        fields[name] = (
            kind,
            Field(description=description) if is_required else Field(parameter.default, description=description),
        )
    summary = (inspect.getdoc(network) or f"{network.__name__}, a plain torch module").splitlines()[0]
    kind_of = cast(Any, Literal)[network.__name__]
    base = {"__base__": AdoptedConfig, "__module__": network.__module__, "__doc__": summary}
    made = cast(Any, create_model)(f"{network.__name__}Config", **base, type=(kind_of, ...), **fields)
    made.network, made.arguments = network, tuple(fields)
    return cast("type[AdoptedConfig]", made)
