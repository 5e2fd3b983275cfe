"""Time series: what a file holds is what is declared, or it is refused with the remedy."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyjanus.core.errors import MediaError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.timeseries import TimeSeriesConfig
from polyjanus.encoders.timeseries.media import TimeSeries, TimeSeriesModality

RATE = 50.0


def modality(**settings: Any) -> TimeSeriesModality:
    block = {"type": "timeseries", "channels": ("ax", "ay"), "sample_rate": RATE, **settings}
    return TimeSeriesConfig.model_validate(block).build(BuildContext(path="imu"))


def signal(length: int = 100) -> TimeSeries:
    samples = np.random.default_rng(0).normal(size=(2, length)).astype(np.float32)
    return TimeSeries(samples, RATE, ("ax", "ay"))


def refused(source: Any, **options: Any) -> str:
    settings = options.pop("settings", {})
    with pytest.raises(MediaError) as caught:
        modality(**settings).load(source, **options)
    return str(caught.value)


@pytest.mark.parametrize("suffix", TimeSeriesModality.suffixes)
def test_what_is_saved_is_loaded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    modality().save(signal(), path)
    for source in (path, str(path), path.read_bytes()):
        loaded = modality().load(source)
        np.testing.assert_allclose(loaded.samples, signal().samples, rtol=1e-6)
        assert (loaded.sample_rate, loaded.channels) == (RATE, ("ax", "ay"))


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("note,ay,t,ax\nrest,2,0.00,1\nrest,4,0.02,3\n", encoding="utf-8")
    np.testing.assert_array_equal(modality().load(path).samples, [[1, 3], [2, 4]])


def test_a_part_is_cut_by_seconds() -> None:
    whole = signal()
    part = modality().load(whole, start=0.5, duration=1.0)
    np.testing.assert_array_equal(part.samples, whole.samples[:, 25:75])
    assert "0 to 3 s asked for, the signal has 2 s" in refused(whole, duration=3.0)
    assert "is -1" in refused(whole, start=-1)
    assert "'duration'" in refused(whole, duration=float("nan"))
    assert "'start' is at 2 s, the signal has 2 s" in refused(whole, start=2.0)
    assert "'duration' of 0 s is shorter than a sample" in refused(whole, duration=0)


def test_one_channel_needs_no_axis() -> None:
    assert modality(channels=("ecg",)).load(np.arange(5.0)).samples.shape == (1, 5)


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def csv(text: str) -> bytes:
    return text.encode()


BAD = {
    "turned": (np.zeros((100, 2)), "transpose it"),
    "other channels": (np.zeros((3, 100)), "expected (2, samples)"),
    "nothing": (np.zeros((2, 0)), "no signal"),
    "not finite": (np.array([[0.0, np.nan], [1, 2]]), "not finite, the first at (0, 1)"),
    "texts": (np.array([["a"], ["b"]]), "no numbers"),
    "complex": (npy(np.zeros((2, 5), complex)), "holds complex128, not numbers"),
    "too short a header": (npy(np.zeros((2, 5)))[:40], "damaged"),
    "cut": (npy(np.zeros((2, 5)))[:-8], "the header says (2, 5) float64, 80 bytes; there are 72"),
    "longer": (npy(np.zeros((2, 5))) + b"12345678", "80 bytes; there are 88"),
    "a lie": (npy(np.zeros((2, 5))).replace(b"(2, 5)", b"(9, 5)"), "there are 80"),
    "no bytes": (b"", "0 bytes"),
    "a missing column": (csv("ax,az\n1,2\n"), "no channel 'ay'"),
    "a column twice": (csv("ax,ay,ax\n1,2,3\n"), "two columns have one name: 'ax'"),
    "a short line": (csv("ax,ay\n1,2\n3\n"), "line 3 has 1 values, not 2"),
    "words": (csv("ax,ay\n1,2\n1,two\n"), "channel 'ay' has 'two' at row 2"),
    "a gap": (csv("ax,ay\n1,2\n,4\n"), "channel 'ax' has no value at row 2"),
    "no names": (csv("1,2\n3,4\n"), "should name the columns"),
    "semicolons": (csv("ax;ay\n1;2\n"), "separate columns by commas"),
    "milliseconds": (csv("t,ax,ay\n0,1,2\n20,3,4\n40,3,4\n"), "milliseconds"),
    "units in the name": (csv("Time (s),ax,ay\n0,1,2\n0.02,3,4\n0.5,3,4\n0.52,3,4\n"), "jumps from 0.02 to 0.5 s"),
    "names alone": (csv("ax,ay\n"), "at least one of numbers"),
    "another rate": (csv("time,ax,ay\n0,1,2\n0.01,3,4\n0.02,3,4\n"), "0.01 s, 100 Hz; the modality declares 50 Hz"),
    "a jump": (csv("time,ax,ay\n0,1,2\n0.02,3,4\n0.5,3,4\n"), "declares 50 Hz"),
    "a page": (b"<!doctype html><html>\xff", "web page"),
    "a zip": (b"PK\x03\x04junk", "damaged"),
    "a parquet": (b"PAR1junkPAR1", "Parquet file is damaged"),
    "another object": (3.5, "float is no time series"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_what_is_declared_is_refused_with_the_reason(name: str) -> None:
    source, words = BAD[name]
    assert words in refused(source)


def test_limits_hold(tmp_path: Path) -> None:
    assert "2 s are more than 1" in refused(signal(), settings={"max_seconds": 1.0})
    assert modality(max_seconds=1.0).load(signal(), duration=1.0).samples.shape == (2, 50)
    path = tmp_path / "a.npy"
    modality().save(signal(), path)
    assert "more than 100" in refused(path, settings={"max_bytes": 100})


def test_an_npz_that_unpacks_to_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, ax=np.zeros(10_000_000), ay=np.zeros(10_000_000))
    assert path.stat().st_size < 1_000_000
    assert "more than 1000000" in refused(path, settings={"max_bytes": 1_000_000})


def test_objects_in_a_numpy_file_are_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "not numbers" in refused(path)


def test_two_channels_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="a name of its own"):
        TimeSeriesConfig.model_validate({"type": "timeseries", "channels": ["a", "a"], "sample_rate": 1.0})
