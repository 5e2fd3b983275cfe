"""EEG: volts of named electrodes; any spelling of a name; units errors and crooked files are refused."""

import io
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
from PIL import Image

from polyjanus.core.errors import MediaError, WiringError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.eeg import EegConfig
from polyjanus.encoders.eeg.media import EegModality, Recording
from polyjanus.encoders.eeg.names import known_positions, normalise, positions_of
from polyjanus.encoders.eeg.pictures import flattened

NAMES = ("Fp1", "Cz", "T7", "O2")
RATE = 200.0


def modality(**settings: Any) -> EegModality:
    return EegConfig.model_validate({"type": "eeg", **settings}).build(BuildContext(path="eeg"))


def recording(seconds: float = 2.0, names: tuple[str, ...] = NAMES, rate: float = RATE) -> Recording:
    volts = np.random.default_rng(0).normal(size=(len(names), round(seconds * rate))) * 1e-5
    return Recording(volts.astype(np.float32), rate, names, positions_of(names))


def refused(source: Any, **options: Any) -> str:
    settings = options.pop("settings", {})
    with pytest.raises(MediaError) as caught:
        modality(**settings).load(source, **options)
    return str(caught.value)


def edf(tmp_path: Path, media: Recording | None = None) -> Path:
    path = tmp_path / "a.edf"
    modality().save(media or recording(), path)
    return path


@pytest.mark.parametrize(("file", "tolerance"), [("a.edf", 2e-9), ("a_raw.fif", 1e-12), ("a_raw.fif.gz", 1e-12)])
def test_what_is_saved_is_loaded(tmp_path: Path, file: str, tolerance: float) -> None:
    path, media = tmp_path / file, recording(2.35)
    modality().save(media, path)
    for source in [path, str(path)] + [path.read_bytes()] * (not file.endswith("gz")):
        loaded = modality().load(source)
        np.testing.assert_allclose(loaded.volts, media.volts, atol=tolerance)
        assert (loaded.sample_rate, loaded.channels) == (RATE, NAMES)
        np.testing.assert_allclose(loaded.positions, media.positions, atol=1e-6)


@pytest.mark.parametrize("file", ["a.edf", "a_raw.fif"])
def test_a_part_is_read_by_seconds(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    modality().save(recording(4.0), path)
    part = modality(max_seconds=1.5).load(path, start=1.0, duration=1.5)
    np.testing.assert_allclose(part.volts, recording(4.0).volts[:, 200:500], atol=2e-9)
    assert "4 s are more than 1.5" in refused(path, settings={"max_seconds": 1.5})
    assert "the signal has 4 s" in refused(path, start=3.5, duration=1.0)


SPELLINGS = {
    "EEG FP1-REF": "Fp1",
    "EEG Fp1-LE": "Fp1",
    "fp1": "Fp1",
    "Fp1.": "Fp1",
    "EEG CZ": "Cz",
    "T3": "T7",
    "t4": "T8",
    "T5-AVG": "P7",
    "EEG T6-A1A2": "P8",
    "AFZ": "AFz",
    "FCZ": "FCz",
    "EEG-O2": "O2",
    "A1": "A1",
    "strange": "strange",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_of_a_name_means_its_electrode(name: str) -> None:
    assert normalise(name) == SPELLINGS[name]


def test_normal_names_stay_and_lie_on_a_head() -> None:
    for name, place in known_positions().items():
        assert normalise(name) == name
        assert 0.05 < np.linalg.norm(place) < 0.15
    left, right, front, back = positions_of(["T7", "T8", "Fpz", "Oz"])
    assert left[0] < -0.05 and right[0] > 0.05 and front[1] > 0.05 and back[1] < -0.05


def test_declared_electrodes_come_in_their_order_whatever_the_file_calls_them() -> None:
    media = recording(names=("EEG T3-REF", "EOG", "EEG CZ-REF", "EEG O2-REF"))
    chosen = modality(channels=["O2", "T3", "Cz"]).load((media.volts, RATE, media.channels))
    assert chosen.channels == ("O2", "T7", "Cz")
    np.testing.assert_array_equal(chosen.volts, media.volts[[3, 0, 2]])
    assert np.isfinite(chosen.positions).all()


def test_a_declared_electrode_that_is_missing_is_named() -> None:
    assert "electrode 'Pz' is not among the 4" in refused(recording(), settings={"channels": ["Cz", "Pz"]})


def test_unknown_electrodes_are_placed_by_position_or_refused() -> None:
    media = recording(names=("Cz", "X17"))
    source = (media.volts, RATE, media.channels)
    assert "electrode 'X17' is unknown and has no position" in refused(source)
    placed = modality().load((*source, np.array([[0, 0, 0.1], [0.05, 0.05, 0.05]])))
    np.testing.assert_allclose(placed.positions[1], 0.05)


def test_two_names_of_one_electrode_are_refused() -> None:
    media = recording(names=("T3", "T7"))
    assert "two channels mean the electrode 'T7'" in refused((media.volts, RATE, media.channels))
    with pytest.raises(ValueError, match="two names mean the electrode 'T7'"):
        EegConfig.model_validate({"type": "eeg", "channels": ["T3", "T7"]})


@pytest.mark.parametrize(("factor", "words"), [(1e6, "microvolts"), (1e3, "millivolts"), (1e-4, "0.1 to 1000")])
def test_a_scale_that_is_no_eeg_is_a_units_error(factor: float, words: str) -> None:
    media = recording()
    source = (media.volts * factor, RATE, NAMES)
    assert words in refused(source)
    assert modality(check_scale=False).load(source).volts.shape == media.volts.shape


def gap(media: Recording) -> Any:
    volts = media.volts.copy()
    volts[1, 5] = np.nan
    return volts, RATE, NAMES


BAD: dict[str, tuple[Any, str]] = {
    "flat": ((np.zeros((4, 100), np.float32), RATE, NAMES), "is flat"),
    "a gap": (gap(recording()), "not finite, the first at (1, 5)"),
    "names missing": ((recording().volts, RATE, NAMES[:2]), "4 channels have 2 names"),
    "no names": (recording().volts, "names of the electrodes"),
    "no rate": ((recording().volts, float("nan"), NAMES), "no rate"),
    "no bytes": (b"", "0 bytes"),
    "junk": (b"junk" * 100, "known by its first bytes"),
    "a page": (b"<html>", "web page"),
    "EDF of nothing": (b"0       " + b" " * 248, "header of the EDF file is damaged"),
    "another suffix": ("/etc/hostname", "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_recording_is_refused_with_the_reason(name: str) -> None:
    source, words = BAD[name]
    assert words in refused(source)


def test_one_sample_is_a_recording() -> None:
    assert modality().load((np.full((4, 1), 1e-5), RATE, NAMES)).volts.shape == (4, 1)


def test_a_file_that_is_shorter_than_its_header_is_refused(tmp_path: Path) -> None:
    path = edf(tmp_path)
    path.write_bytes(path.read_bytes()[:-500])
    assert "records of" in refused(path) and "cut off" in refused(path)
    fif = tmp_path / "a_raw.fif"
    modality().save(recording(), fif)
    fif.write_bytes(fif.read_bytes()[:-500])
    assert "damaged" in refused(fif) or "does not fit" in refused(fif)


def test_a_fif_file_whose_tags_run_in_circles_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a_raw.fif"
    modality().save(recording(), path)
    content = bytearray(path.read_bytes())
    content[12:16] = (0).to_bytes(4, "big")  # the first tag's next is already 0; the second points back at itself
    second = 16 + int.from_bytes(content[8:12], "big")
    content[second + 12 : second + 16] = second.to_bytes(4, "big")
    path.write_bytes(content)
    assert "damaged at byte" in refused(path)


def test_pickles_beside_a_recording_are_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.")
    assert "cannot be read" in refused(path)
    assert not (tmp_path / "hacked").exists()


def test_mne_objects_are_taken_as_they_are(tmp_path: Path) -> None:
    media = recording()
    info = mne.create_info([*NAMES, "STI"], RATE, ["eeg"] * 4 + ["stim"])
    raw = mne.io.RawArray(np.concatenate([media.volts, np.zeros((1, 400))]).astype(float), info, verbose="ERROR")
    assert modality().accepts(raw)
    np.testing.assert_allclose(modality().load(raw).volts, media.volts, atol=1e-12)
    events = np.array([[0, 0, 1], [200, 0, 1]])
    epochs = mne.Epochs(raw, events, tmin=0, tmax=0.5, baseline=None, preload=True, verbose="ERROR")
    assert "holds 2 epochs" in refused(epochs)
    np.testing.assert_allclose(modality().load(epochs[1]).volts, media.volts[:, 200:301], atol=1e-12)


def test_another_rate_keeps_the_rhythm() -> None:
    times = np.arange(1000) / 500
    media = Recording(
        (1e-5 * np.sin(2 * np.pi * 10 * times))[None].astype(np.float32), 500.0, ("Oz",), positions_of(["Oz"])
    )
    slower = modality().resampled(media, 200.0)
    assert slower.volts.shape == (1, 400)
    expected = 1e-5 * np.sin(2 * np.pi * 10 * np.arange(400) / 200)
    np.testing.assert_allclose(slower.volts[0, 40:-40], expected[40:-40], atol=3e-7)


def test_networks_of_a_fixed_montage_ask_for_its_electrodes() -> None:
    with pytest.raises(WiringError, match="fixed montage"):
        assert modality().channels
    with pytest.raises(MediaError, match=r"\.edf or \.fif"):
        modality().save(recording(), Path("a.xyz"))


def test_a_preview_warms_where_the_amplitude_is() -> None:
    volts = np.stack([np.sin(np.arange(400) / 6) * size for size in (1e-6, 1e-6, 1e-6, 4e-5)]).astype(np.float32)
    places = positions_of(NAMES)
    media = Recording(volts, RATE, NAMES, places)
    picture = np.asarray(Image.open(io.BytesIO(modality().preview(media))).convert("RGB"), dtype=int)
    redness = (picture[:320, -320:, 0] - picture[:320, -320:, 2]).astype(float)
    row, column = np.unravel_index(redness.argmax(), redness.shape)
    assert row > 160 and column > 160, "O2 is at the back on the right"
    assert np.allclose(np.sign(flattened(places)[3]), [1, -1])


def test_what_mne_only_warns_of_is_refused_where_it_means_a_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read_raw = edf(tmp_path), mne.io.read_raw

    def broken(file: Path, verbose: str, **options: Any) -> Any:
        with mne.utils.use_log_level(verbose):  # as in MNE, which warns of nothing at the level ERROR
            mne.utils.warn("The file is truncated, 3 channels lost")
        return read_raw(file, verbose=verbose, **options)

    monkeypatch.setattr(mne.io, "read_raw", broken)
    assert "the recording is damaged: The file is truncated" in refused(path)
