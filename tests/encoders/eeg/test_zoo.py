"""Models of braindecode as encoders, tried on a library made up here: nothing of it is installed for the tests."""

import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from polyjanus.core.errors import WiringError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.eeg import BraindecodeConfig, EegConfig
from polyjanus.encoders.eeg.names import positions_of
from polyjanus.encoders.eeg.recording import Recording
from polyjanus.encoders.eeg.zoo import ZooEncoder

NAMES = ("Fp1", "Cz", "T7", "O2")


class Patches(nn.Module):
    """A transformer of its kind: features (B, N, d) on request, and names of electrodes where it is called."""

    def __init__(self, n_outputs: int, n_chans: int, n_times: int, sfreq: float, width: int = 6) -> None:
        super().__init__()
        if n_times % 100:
            raise ValueError("n_times must be a multiple of 100")
        self.body = nn.Linear(100, width)
        self.final_layer = nn.Linear(width, n_outputs)

    def forward(self, x: Tensor, return_features: bool = False, ch_names: Any = None) -> Any:
        assert ch_names == ["FP1", "CZ", "T7", "O2"]
        features = self.body(x.unflatten(-1, (-1, 100))).flatten(1, 2)
        return {"features": features} if return_features else self.final_layer(features.mean(1))


class Convolutions(nn.Sequential):
    """A network of its kind: no features of its own, its modules give (B, d, T)."""

    def __init__(self, n_outputs: int, n_chans: int, n_times: int, sfreq: float) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv1d(n_chans, 5, 10, stride=10))
        self.add_module("final_layer", nn.LazyLinear(n_outputs))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("braindecode.models")
    module.__dict__.update(Patches=Patches, Convolutions=Convolutions, helper=len, os=sys)
    monkeypatch.setitem(sys.modules, "braindecode", types.ModuleType("braindecode"))
    monkeypatch.setitem(sys.modules, "braindecode.models", module)


def built(**settings: Any) -> ZooEncoder:
    modality = EegConfig.model_validate({"type": "eeg", "channels": list(NAMES)}).build(BuildContext(path="eeg"))
    block = {"type": "braindecode", "model": "Patches", **settings}
    context = BuildContext(path="eeg.understand.encoder", modality=modality)
    return BraindecodeConfig.model_validate(block).build(context).eval()


def recording(seconds: float = 2.0, rate: float = 200.0) -> Recording:
    volts = np.random.default_rng(0).normal(size=(4, round(seconds * rate))) * 1e-5
    return Recording(volts.astype(np.float32), rate, NAMES, positions_of(NAMES))


@pytest.mark.usefixtures("library")
def test_features_are_the_models_own_of_microvolts() -> None:
    encoder, media = built(architecture={"width": 8}), recording()
    features = encoder([encoder.prepare(media)])
    assert encoder.width == 8 and features.lengths == (16,) and encoder.num_tokens(encoder.prepare(media)) == (16, None)
    microvolts = torch.from_numpy(media.volts * 1e6).reshape(1, 4, 4, 100)
    torch.testing.assert_close(features.values, encoder.model.body(microvolts)[0].flatten(0, 1))


@pytest.mark.usefixtures("library")
def test_what_a_module_gives_is_taken_along_the_axis_that_is_its_width() -> None:
    encoder, media = built(model="Convolutions", output="conv", axis=1), recording()
    prepared = encoder.prepare(media)
    found = encoder([prepared])
    assert encoder.width == 5 and found.lengths == (40,)
    torch.testing.assert_close(found.values, encoder.model.conv(prepared["values"][None])[0].T)


@pytest.mark.usefixtures("library")
def test_recordings_are_resampled_and_cut_or_filled_up() -> None:
    encoder = built(seconds=1.0)
    assert encoder.prepare(recording(3.0))["values"].shape == (4, 200)
    short = encoder.prepare(recording(0.5, 256.0))["values"]
    assert bool(short[:, :100].all()) and not bool(short[:, 100:].any())


@pytest.mark.usefixtures("library")
def test_a_model_is_built_where_there_are_no_weights() -> None:
    with torch.device("meta"):
        encoder = built()
    assert encoder.width == 6 and all(parameter.is_meta for parameter in encoder.parameters())


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": "Patchs"}, "no model 'Patchs'; did you mean 'Patches'"),
        ({"model": "helper"}, "no model 'helper'"),
        ({"model": "os"}, "no model 'os'"),
        ({"architecture": {"depth": 3}}, "unexpected keyword argument 'depth'"),
        ({"seconds": 1.25}, "multiple of 100"),
        ({"model": "Convolutions"}, "has no features of its own"),
        ({"output": "bdy"}, "no module 'bdy'; did you mean 'body'"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_there_is(settings: Any, says: str) -> None:
    with pytest.raises(WiringError, match=says):
        built(**settings)


def test_without_the_library_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "braindecode", None)
    with pytest.raises(WiringError, match="needs braindecode") as caught:
        built()
    assert 'pip install "polyjanus[eeg-zoo]"' in str(caught.value)


def test_a_model_is_named_and_never_a_path() -> None:
    for name in ("os.system", "../Patches", "a b", ""):
        with pytest.raises(ValidationError):
            BraindecodeConfig.model_validate({"type": "braindecode", "model": name})
