"""Experiments: filtered whole and then cut, subjects held out whole, and what is lost is said."""

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import mne_bids
import numpy as np
import pytest
from pydantic import ValidationError

from polyjanus.core.data.rows import split
from polyjanus.core.errors import DataError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.eeg import BidsConfig, EegConfig
from polyjanus.encoders.eeg.bids import BidsRows
from polyjanus.encoders.eeg.names import positions_of
from polyjanus.encoders.eeg.recording import Recording

NAMES = ("Fp1", "C3", "Cz", "C4", "P7", "P8", "O1", "O2")
RATE, SECONDS = 128.0, 12
ONSETS = (0.5, 2.0, 4.0, 6.0, 8.0, 11.5)
WORDS = ("left", "right") * 3
SUBJECTS = ("01", "02", "03")


def volts_of(number: int) -> Any:
    """Return 10 Hz of ten microvolts that is strongest at the back, a slow drift, 50 Hz from the mains, and noise."""
    noise = np.random.default_rng(number)
    times = np.arange(int(RATE * SECONDS)) / RATE
    rows = np.linspace(0.5, 2, len(NAMES))[:, None] * np.sin(2 * np.pi * 10 * times)
    drift = 3 * np.sin(2 * np.pi * 0.2 * times) + np.sin(2 * np.pi * 50 * times)
    return 1e-5 * (rows + drift + 0.2 * noise.normal(size=rows.shape))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a BIDS folder of three subjects, whose channel C4 is bad."""
    root = tmp_path_factory.mktemp("bids")
    for number, subject in enumerate(SUBJECTS):
        info = mne.create_info(list(NAMES), RATE, "eeg")
        raw = mne.io.RawArray(volts_of(number), info, verbose="ERROR")
        places = {n: p.astype(float) for n, p in zip(NAMES, positions_of(NAMES), strict=True)}
        raw.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"))
        raw.set_annotations(mne.Annotations(ONSETS, [0.1] * len(ONSETS), WORDS))
        raw.info["bads"] = ["C4"]
        raw.info["line_freq"] = 50
        path = mne_bids.BIDSPath(subject=subject, task="look", root=root, datatype="eeg")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mne_bids.write_raw_bids(raw, path, allow_preload=True, format="EDF", overwrite=True, verbose="ERROR")
    return root


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "study"))


@pytest.fixture
def opened(made: Path, tmp_path: Path) -> Callable[..., BidsRows]:
    """Return a function from settings to the rows of the folder, their cache in a folder of the test."""

    def build(path: Path | None = None, **settings: Any) -> BidsRows:
        block = {"type": "bids", "path": str(path or made), "task": "understand", "tmin": 0.0, "tmax": 1.0}
        block |= {"cache": str(tmp_path / "cache"), **settings}
        return BidsConfig.model_validate(block).build(BuildContext(path="data.study"))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*events are left out")
        yield build  # type: ignore[misc]


def media_of(rows: BidsRows, index: int) -> Recording:
    messages = rows.row(index, np.random.default_rng(0))["messages"]
    return next(part["eeg"] for m in messages for part in m["content"] if isinstance(part, dict))


def recording_of(folder: Path, subject: str) -> Path:
    return folder / f"sub-{subject}" / "eeg" / f"sub-{subject}_task-look_eeg.edf"


def test_a_row_is_the_stretch_after_an_event_and_its_name(opened: Any) -> None:
    rows = opened(bad_channels="keep", questions=["Where?"])
    assert len(rows) == 15  # the sixth event of each subject ends after the recording
    row = rows.row(6, np.random.default_rng(0))
    assert row["messages"][0]["content"][1] == "Where?" and row["messages"][1]["content"] == ["right"]
    assert row["subject"] == "02"
    media = media_of(rows, 6)
    assert (media.sample_rate, media.channels, media.volts.dtype) == (RATE, NAMES, np.float32)
    np.testing.assert_allclose(media.volts, volts_of(1)[:, 256:384], atol=2e-9)
    np.testing.assert_allclose(media.positions, positions_of(NAMES), atol=2e-3)
    assert rows.place(6) == "subject 02, sub-02_task-look_eeg.edf, 2.000 s"
    EegConfig.model_validate({"type": "eeg"}).build(BuildContext(path="eeg")).load(media)


def test_events_are_mapped_to_words_and_others_left_out(opened: Any) -> None:
    rows = opened(events={"left": "a left hand"}, task="generate", requests=["Make {}."])
    assert len(rows) == 9
    messages = rows.row(0, np.random.default_rng(0))["messages"]
    assert messages[0]["content"] == ["Make a left hand."] and messages[1]["content"][0]["type"] == "eeg"
    with pytest.raises(DataError, match="no event|no recording has an event 'lefft'; did you mean 'left'"):
        opened(events={"lefft": "x"})


def test_events_of_the_file_are_taken_where_there_is_no_table(folder: Path, opened: Any) -> None:
    for subject in SUBJECTS:
        recording_of(folder, subject).with_name(f"sub-{subject}_task-look_events.tsv").unlink()
    assert [rows.word for rows in opened(folder).trials[:3]] == ["left", "right", "left"]


def test_filtering_comes_before_cutting(opened: Any) -> None:
    """The drift of five seconds, longer than any stretch, is gone from each, and so is the mains."""
    rows = opened(l_freq=2.0, h_freq=30.0, notch=[50.0], bad_channels="keep")
    whole = mne.filter.filter_data(volts_of(0), RATE, 2.0, 30.0, verbose="ERROR")
    whole = mne.filter.notch_filter(whole, RATE, [50.0], verbose="ERROR")
    np.testing.assert_allclose(media_of(rows, 2).volts, whole[:, 512:640], atol=1e-8)
    assert np.abs(media_of(opened(bad_channels="keep"), 2).volts.mean(1)).max() > 1e-5


def test_the_average_reference_leaves_no_common_part(opened: Any) -> None:
    media = media_of(opened(reference="average"), 0)
    assert np.abs(media.volts.mean(0)).max() < 1e-9 < np.abs(media_of(opened(), 0).volts.mean(0)).max()


def test_bad_channels_are_interpolated_or_dropped(opened: Any) -> None:
    kept = media_of(opened(bad_channels="keep"), 0).volts
    mended = media_of(opened(), 0).volts
    changed = [name for name, a, b in zip(NAMES, kept, mended, strict=True) if not np.allclose(a, b, atol=1e-10)]
    assert changed == ["C4"]
    assert media_of(opened(bad_channels="drop"), 0).channels == tuple(name for name in NAMES if name != "C4")


def test_what_leaves_the_recording_is_counted_and_none_left_refused(opened: Any) -> None:
    with pytest.warns(UserWarning, match=r"data.study: 3 of 18 events are left out"):
        opened()
    with pytest.warns(UserWarning, match="6 of 18"):
        assert len(opened(tmin=-1.0)) == 12
    with pytest.raises(DataError, match="none of 18 events is left"):
        opened(tmax=30.0)


@pytest.mark.parametrize(
    ("settings", "says"), [({"h_freq": 64.0}, "h_freq 64 Hz"), ({"notch": [60.0, 70.0]}, "notch 70")]
)
def test_filters_stay_below_half_the_rate(opened: Any, settings: Any, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        opened(**settings)
    assert "below 64" in str(caught.value) and "sub-01" in str(caught.value)


def test_a_filter_that_is_longer_than_the_recording_is_refused(opened: Any) -> None:
    with pytest.raises(DataError, match="longer than the signal"):
        opened(l_freq=0.05)


# subjects


def subjects_of(side: Any) -> set[str]:
    return {side.row(i, np.random.default_rng(0))["subject"] for i in range(len(side))}


def test_no_subject_is_on_both_sides(opened: Any) -> None:
    for seed in range(5):
        train, held_out = split("study", opened(), 0.3, seed)
        assert len(train) == 10 and len(held_out) == 5
        assert subjects_of(train) | subjects_of(held_out) == set(SUBJECTS)
        assert not subjects_of(train) & subjects_of(held_out)


def test_who_is_held_out_does_not_hang_on_the_order_of_files(opened: Any) -> None:
    rows = opened()
    expected = subjects_of(split("study", rows, 0.3, 1)[1])
    rows.trials = [rows.trials[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert subjects_of(split("study", rows, 0.3, 1)[1]) == expected


def test_trials_of_one_subject_are_split_only_when_told(opened: Any) -> None:
    train, held_out = split("study", opened(split="trial"), 0.3, 0)
    assert subjects_of(train) & subjects_of(held_out)
    with pytest.raises(DataError, match="1 group of rows, 'subject 02'") as caught:
        split("study", opened(subjects=["02"]), 0.3, 0)
    assert "split: trial" in str(caught.value)
    assert len(split("study", opened(subjects=["02"], split="trial"), 0.4, 0)[1]) == 2


# the cache


def test_a_recording_is_filtered_once_and_again_when_it_or_its_settings_change(
    folder: Path, opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = mne_bids.read_raw_bids
    monkeypatch.setattr(mne_bids, "read_raw_bids", lambda path, **o: read.append(path.subject) or original(path, **o))
    first = media_of(opened(folder), 0).volts
    np.testing.assert_array_equal(media_of(opened(folder), 0).volts, first)
    assert read == [*SUBJECTS]
    opened(folder, h_freq=40.0)
    assert read == [*SUBJECTS] * 2
    os.utime(recording_of(folder, "02"), ns=(1, 1))
    opened(folder)
    assert read == [*SUBJECTS, *SUBJECTS, "02"]
    assert not list((tmp_path / "cache").glob("*.draft")), "a draft was left"
    assert not [path for path in folder.rglob("*") if path.suffix == ".safetensors"], "the folder is the user's"


def test_a_damaged_cache_is_made_anew(opened: Any, tmp_path: Path) -> None:
    first = media_of(opened(), 0).volts
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(media_of(opened(), 0).volts, first)


# faults


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda content: content[: len(content) // 2],
    "junk": lambda content: b"junk" * 1000,
    "empty": lambda content: b"",
    "header": lambda content: content[:184] + b"x" * 72 + content[256:],
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_named_with_its_subject(name: str, folder: Path, opened: Any) -> None:
    path = recording_of(folder, "02")
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    with pytest.raises(DataError) as caught:
        opened(folder)
    assert "sub-02_task-look_eeg.edf (subject 02)" in str(caught.value)
    assert caught.value.hint


def test_damaged_tables_are_named_with_their_subject(folder: Path, opened: Any) -> None:
    table = recording_of(folder, "03").with_name("sub-03_task-look_events.tsv")
    table.write_text("onset\tduration\ttrial_type\nnow\t0\tleft\n")
    with pytest.raises(DataError, match=r"sub-03_task-look_eeg.edf \(subject 03\)"):
        opened(folder)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"path": Path("/nowhere")}, "no such folder"),
        ({"subjects": ["9"]}, "no subject '9'"),
        ({"tasks": ["lok"]}, "no task 'lok'; did you mean 'look'"),
        ({"max_bytes": 100}, "more than 100"),
    ],
)
def test_what_is_not_there_is_said(opened: Any, settings: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        opened(**settings)


def test_a_folder_without_recordings_says_how_they_are_named(opened: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sub-01/eeg/sub-01_task-x_eeg.edf"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tmax": 0.0}, "has no length"),
        ({"l_freq": 40.0, "h_freq": 30.0}, "l_freq 40 is not below h_freq 30"),
        ({"task": "generate", "requests": ["Make it."]}, "every request has a {}"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        BidsConfig.model_validate({"type": "bids", "path": "x", "task": "understand", **settings})
