"""The torch side of `braindecode`: any model of that library as an encoder of EEG of a fixed montage.

Shape letters: B items, C electrodes, T samples, N features, d width.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from polyjanus.core.errors import WiringError, suggest
from polyjanus.core.modules import Encoder, Grid, Prepared
from polyjanus.encoders.eeg.media import EegModality, Recording

OWN = "features"
"""The output that a model itself calls its features."""


def models(path: str) -> dict[str, type[nn.Module]]:
    """Return the model classes of braindecode by name; where it is missing, the remedy is a WiringError."""
    importlib.import_module("polyjanus.core.hf")  # which makes torchaudio, that braindecode imports, harmless
    try:
        library = importlib.import_module("braindecode.models")
    except ImportError as error:
        raise WiringError(
            f"this needs braindecode: {error}", paths=[path], hint='pip install "polyjanus[eeg-zoo]"'
        ) from error
    return {
        name: each for name, each in vars(library).items() if isinstance(each, type) and issubclass(each, nn.Module)
    }


def make_model(name: str, sizes: dict[str, Any], path: str) -> nn.Module:
    """Return a model of braindecode, its weights fresh; an unknown name or an unfit size is a WiringError."""
    known = models(path)
    if name not in known:
        raise WiringError(f"braindecode has no model {name!r}{suggest(name, known)}", paths=[path])
    try:
        with torch.device("cpu"):  # many compute with their sizes when built, which is not to be had on the meta device
            return known[name](**sizes)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WiringError(f"braindecode's {name} cannot be built of {sizes}: {error}", paths=[path]) from error


class ZooEncoder(Encoder):
    """Features of a model of braindecode, or what one of its modules gives."""

    def __init__(
        self,
        modality: EegModality,
        model: nn.Module,
        *,
        samples: int,
        sample_rate: float,
        unit: float,
        output: str,
        axis: int,
    ) -> None:
        super().__init__()
        self.modality, self.model = modality, model
        self.samples, self.sample_rate, self.unit = samples, sample_rate, unit
        self.output, self.axis = output, axis
        self.takes_names = "ch_names" in inspect.signature(model.forward).parameters
        with torch.no_grad():
            probe = self.eval().forward_stacked(torch.zeros(1, len(modality.channels), samples, device="cpu"))
        _, self.features, self.width = probe.shape
        self.train().to(torch.get_default_device())

    def prepare(self, media: Recording) -> Prepared:
        """Return the values (C, T), cut or filled up with zeros to the length of the model."""
        chosen = self.modality.resampled(self.modality.chosen(media), self.sample_rate)
        volts = np.zeros((len(chosen.volts), self.samples), np.float32)
        kept = chosen.volts[:, : self.samples]
        volts[:, : kept.shape[1]] = kept / self.unit
        return {"values": torch.from_numpy(volts)}

    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return the number of features, the same for every recording."""
        return self.features, None

    def forward_stacked(self, values: Tensor) -> Tensor:
        """Return features (B, N, d) of values (B, C, T)."""
        found = self._own(values) if self.output == OWN else self._of_module(values)
        found = found.unsqueeze(1) if found.ndim == 2 else found.movedim(self.axis, -1)
        return found.flatten(1, -2)

    def _own(self, values: Tensor) -> Tensor:
        try:
            found: Any = self.model(values, return_features=True, **self._names())
        except TypeError as error:
            raise self._without(f"has no features of its own ({error})") from error
        return found[OWN] if isinstance(found, dict) else found[0]

    def _of_module(self, values: Tensor) -> Tensor:
        """Return what a module inside gives while the model runs."""
        caught: list[Tensor] = []
        modules = {name: each for name, each in self.model.named_modules() if name}
        if self.output not in modules:
            raise self._without(f"has no module {self.output!r}{suggest(self.output, modules)}")
        hook = modules[self.output].register_forward_hook(lambda *call: caught.append(call[2]))
        try:
            self.model(values, **self._names())
        finally:
            hook.remove()
        if len(caught) != 1 or not isinstance(caught[0], Tensor) or caught[0].ndim < 2:
            raise self._without(f"does not run {self.output!r} once for one tensor")
        return caught[0]

    def _names(self) -> dict[str, list[str]]:
        """Return the names of the electrodes for a model that asks for them when it is called (Labram)."""
        return {"ch_names": [name.upper() for name in self.modality.channels]} if self.takes_names else {}

    def _without(self, text: str) -> WiringError:
        names = [name for name, _ in self.model.named_children()]
        return WiringError(
            f"braindecode's {type(self.model).__name__} {text}",
            paths=[self.modality.name],
            hint=f"name one of its modules under 'output': {', '.join(names)}",
        )
