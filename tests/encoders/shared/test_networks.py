"""The networks that modalities share: nothing depends on what fills up, codes hold the signal, families are checked."""

from typing import Any

import numpy as np
import pytest
import torch

from polyjanus.core.errors import MediaError, SequenceError, WiringError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.array import ArrayConfig
from polyjanus.encoders.shared import Fsq1dConfig, Fsq2dConfig, Patch1dConfig, Patch2dConfig
from polyjanus.encoders.shared.patch1d import to_patches
from polyjanus.encoders.timeseries import TimeSeriesConfig
from polyjanus.encoders.timeseries.media import TimeSeries

SERIES = TimeSeriesConfig(type="timeseries", channels=("a", "b"), sample_rate=32.0, scale=5.0)
CODEC: dict[str, Any] = {"type": "fsq1d", "patch": 8, "seconds": 2.0, "width": 32, "depth": 1}


def series_context() -> BuildContext:
    return BuildContext(path="x.generate.codec", modality=SERIES.build(BuildContext(path="x")))


def waves(count: int, length: int = 64) -> list[TimeSeries]:
    """Return sines of random rate and phase, five units high."""
    noise = np.random.default_rng(0)
    times = np.arange(length) / 32.0
    return [
        TimeSeries(
            np.stack([5 * np.sin(2 * np.pi * (rate * times + phase)) for phase in noise.uniform(0, 1, 2)]).astype("f4"),
            32.0,
            ("a", "b"),
        )
        for rate in noise.uniform(0.5, 3, count)
    ]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_patches_keep_every_sample_and_fill_up_with_zeros() -> None:
    values = torch.arange(10.0).reshape(2, 5)
    patches = to_patches(values, 3)
    assert patches.tolist() == [[[0, 1, 2], [5, 6, 7]], [[3, 4, 0], [8, 9, 0]]]


def test_features_see_the_order_of_patches_and_the_scale_of_values() -> None:
    encoder = Patch1dConfig(type="patch1d", patch=8, width=16, heads=2).build(series_context())
    (wave,) = waves(1)
    turned = TimeSeries(wave.samples[:, ::-1].copy(), 32.0, wave.channels)
    louder = TimeSeries(wave.samples * 3, 32.0, wave.channels)
    features = [encoder([encoder.prepare(item)]).values for item in (wave, turned, louder)]
    assert features[0].shape == (8, 16)
    assert not torch.allclose(features[0], features[1].flip(0), atol=1e-3)
    assert not torch.allclose(features[0], features[2], atol=1e-3)


@pytest.mark.parametrize("fixed", [True, False])
def test_lengths_are_fixed_or_their_own(fixed: bool) -> None:
    codec = Fsq1dConfig(**CODEC, fixed=fixed).build(series_context())
    short, full = waves(1, 20)[0], waves(1, 64)[0]
    assert codec.num_codes(codec.prepare(short)) == (8 if fixed else 3)
    assert codec.num_codes(codec.prepare(full)) == codec.max_codes == 8
    assert codec.min_codes == (8 if fixed else 1)
    assert codec.decode(codec.encode([codec.prepare(short)]))[0].samples.shape == (2, 64 if fixed else 24)
    if not fixed:
        with pytest.raises(MediaError, match="3 s are more than the codec's 2 s"):
            codec.prepare(waves(1, 96)[0])


def test_codes_of_a_wrong_shape_are_refused() -> None:
    codec = Fsq1dConfig(**CODEC, codebooks=2).build(series_context())
    for shape in ((0, 2), (8, 1), (8,)):
        with pytest.raises(SequenceError, match="1 or more, 2"):
            codec.decode([torch.zeros(shape, dtype=torch.int64)])


def test_some_hundred_steps_teach_a_codec_waves_in_their_units() -> None:
    codec = Fsq1dConfig(**CODEC, codebooks=2).build(series_context()).train()
    items = [codec.prepare(wave) for wave in waves(256)]
    optimiser = torch.optim.AdamW(codec.parameters(), lr=3e-3)
    for step in range(250):
        loss, count = codec.reconstruct([items[i] for i in range(step * 32 % 256, step * 32 % 256 + 32)])
        optimiser.zero_grad()
        (loss / count).backward()
        optimiser.step()
    codec.eval()
    unseen = waves(300)[256:]
    codes = codec.encode([codec.prepare(wave) for wave in unseen])
    rebuilt = codec.decode(codes)
    error = np.mean([np.square(a.samples - b.samples).mean() for a, b in zip(unseen, rebuilt, strict=True)])
    power = np.mean([np.square(wave.samples).mean() for wave in unseen])
    assert 10 * np.log10(power / error) > 10, "signal to noise, dB"
    assert len(torch.cat(codes).unique()) > 100


def test_a_component_of_another_family_is_refused_with_both_names() -> None:
    array = ArrayConfig(type="array", shape=(1, 8, 8)).build(BuildContext(path="x"))
    with pytest.raises(WiringError, match="no signal"):
        Fsq1dConfig(**CODEC).build(BuildContext(path="x.generate.codec", modality=array))
    with pytest.raises(WiringError, match="no grid"):
        Patch2dConfig(type="patch2d").build(series_context())


def test_a_grid_that_cannot_be_halved_is_refused() -> None:
    array = ArrayConfig(type="array", shape=(1, 12, 8)).build(BuildContext(path="x"))
    with pytest.raises(WiringError, match="12 x 8 cells cannot be divided by 8"):
        Fsq2dConfig(type="fsq2d").build(BuildContext(path="x.generate.codec", modality=array))


def test_arrays_keep_their_units_through_preparation_and_back() -> None:
    modality = ArrayConfig(type="array", shape=(2, 3, 4), low=-40.0, high=20.0).build(BuildContext(path="x"))
    preparation = modality.grid(size=None, channels=None, resize="crop")
    example = modality.example()
    values = preparation.normalise(preparation.cells(example)[None])
    assert float(values.abs().max()) <= 1
    np.testing.assert_allclose(preparation.media(values)[0].values, example.values, atol=1e-4)


def test_values_a_million_times_their_scale_are_a_units_error() -> None:
    encoder = Patch1dConfig(type="patch1d", patch=8, width=16, heads=2).build(series_context())
    (wave,) = waves(1)
    with pytest.raises(MediaError, match="times the 'scale'"):
        encoder.prepare(TimeSeries(wave.samples * np.float32(1e7), 32.0, wave.channels))
