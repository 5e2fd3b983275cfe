"""Sound: what is saved is loaded, a part is cut by seconds, and a file that lies is refused with the remedy."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from polyjanus.core.errors import MediaError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.audio import AudioConfig
from polyjanus.encoders.audio.media import FORMATS, Audio, AudioModality

RATE = 16_000


def modality(**settings: Any) -> AudioModality:
    return AudioConfig(type="audio", **settings).build(BuildContext(path="audio"))


def tone(seconds: float = 0.5, channels: int = 1, rate: int = RATE) -> Audio:
    times = np.arange(round(seconds * rate)) / rate
    waves = [0.5 * np.sin(2 * np.pi * 220 * (i + 1) * times) for i in range(channels)]
    return Audio(np.stack(waves).astype(np.float32), float(rate))


def encoded(audio: Audio, form: str = "WAV", subtype: str = "PCM_16") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, audio.samples.T, int(audio.sample_rate), subtype, format=form)
    return stream.getvalue()


def refused(source: Any, **options: Any) -> str:
    settings = options.pop("settings", {})
    with pytest.raises(MediaError) as caught:
        modality(**settings).load(source, **options)
    return str(caught.value)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".wav", 4e-5), (".flac", 1e-6), (".ogg", 0.05), (".mp3", 0.05)])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_saved_is_loaded(tmp_path: Path, suffix: str, tolerance: float, channels: int) -> None:
    path, audio = tmp_path / f"a{suffix}", tone(channels=channels)
    modality().save(audio, path)
    for source in (path, str(path), path.read_bytes()):
        loaded = modality().load(source)
        assert loaded.sample_rate == RATE and loaded.samples.dtype == np.float32
        assert loaded.samples.shape == audio.samples.shape
        assert float(np.abs(loaded.samples - audio.samples)[:, 1000:-1000].max()) < tolerance


def test_every_format_that_is_written_is_tested() -> None:
    assert set(FORMATS) == {".wav", ".flac", ".ogg", ".mp3"}


def test_what_is_louder_than_full_scale_is_cut(tmp_path: Path) -> None:
    modality().save(Audio(np.array([[2.0, -3.0, 0.5]], np.float32), 8000.0), tmp_path / "a.wav")
    np.testing.assert_allclose(modality().load(tmp_path / "a.wav").samples, [[1, -1, 0.5]], atol=1e-4)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_part_is_read_by_seconds(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    modality().save(tone(2.0), path)
    whole = modality().load(path)
    part = modality().load(path, start=0.5, duration=0.25)
    np.testing.assert_allclose(part.samples, whole.samples[:, 8000:12000], atol=1e-6)
    assert part.seconds == 0.25
    assert "the signal has 2 s" in refused(path, start=1.5, duration=1.0)


def test_a_long_file_may_be_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    modality().save(tone(2.0), path)
    assert "2 s are more than 1" in refused(path, settings={"max_seconds": 1.0})
    assert modality(max_seconds=1.0).load(path, start=1.0, duration=0.5).seconds == 0.5


def test_arrays_come_with_their_rate() -> None:
    samples = tone(channels=2).samples
    for source in ((samples, RATE), (RATE, samples), {"array": samples, "sampling_rate": RATE}):
        np.testing.assert_array_equal(modality().load(source).samples, samples)
    assert modality().load((samples[0], RATE)).samples.shape == (1, len(samples[0]))
    whole = (samples * 32767).astype(np.int16)
    np.testing.assert_allclose(modality().load((whole, RATE)).samples, samples, atol=1e-4)


def test_networks_see_as_many_channels_as_are_declared() -> None:
    stereo = tone(channels=2)
    np.testing.assert_allclose(modality().samples_of(stereo), stereo.samples.mean(0, keepdims=True))
    assert modality(channels=2).samples_of(tone()).shape[0] == 2
    with pytest.raises(MediaError, match="has 3 channels, not 2"):
        modality(channels=2).samples_of(tone(channels=3))


def test_another_rate_keeps_the_tone() -> None:
    resampled = modality().resampled(tone(1.0, rate=44_100), RATE)
    assert resampled.samples.shape == (1, RATE)
    np.testing.assert_allclose(resampled.samples[:, 500:-500], tone(1.0).samples[:, 500:-500], atol=2e-3)


def test_resampling_lets_nothing_above_half_the_rate_through() -> None:
    times = np.arange(48_000) / 48_000
    high = Audio(np.sin(2 * np.pi * 12_000 * times)[None].astype(np.float32), 48_000.0)
    assert float(np.abs(modality().resampled(high, RATE).samples[:, 500:-500]).max()) < 0.01


def header(**changes: int) -> bytes:
    """Return a WAV file of 100 samples whose header says something else."""
    fields = {"channels": 1, "rate": RATE, "length": 200} | changes
    block = 2 * fields["channels"]
    chunk = struct.pack(
        "<HHIIHH", 1, fields["channels"], fields["rate"], (fields["rate"] * block) & 0xFFFFFFFF, block, 16
    )
    data = b"data" + struct.pack("<I", fields["length"]) + bytes(200)
    return b"RIFF" + struct.pack("<I", 36 + 200) + b"WAVEfmt " + struct.pack("<I", 16) + chunk + data


WAV, FLAC, OGG = (encoded(tone(), *kind) for kind in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")))
NAN = encoded(Audio(np.array([[0.0, np.nan, 1.0]], np.float32), 8000.0), "WAV", "FLOAT")
BAD: dict[str, tuple[Any, str]] = {
    "no bytes": (b"", "0 bytes"),
    "no samples": (encoded(Audio(np.zeros((1, 0), np.float32), 8000.0)), "no samples"),
    "cut WAV": (WAV[:-1000], "there are 15000"),
    "cut FLAC": (FLAC[:-1000], "damaged or cut off|it was cut off"),
    "cut OGG": (OGG[:-500], "last page is missing"),
    "half an OGG": (OGG[:3000], "last page is missing"),
    "a lie about the length": (header(length=4_000_000), "the header says 4000000 bytes of samples, there are 200"),
    "a rate of 655350 Hz": (header(rate=655_350), "655350 Hz is no rate of sound"),
    "a rate of 1 Hz": (header(rate=1), "1 Hz is no rate of sound"),
    "too many channels": (header(channels=100), "100 channels|cannot|decoded"),
    "not a number": (NAN, "not finite"),
    "a page": (b"<!DOCTYPE html><html>", "web page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    "junk": (bytes(range(256)) * 4, "no sound that can be decoded"),
    "no data chunk": (WAV[:36], "no samples in it"),
    "channels last": ((np.zeros((16_000, 2)), RATE), "samples.T"),
    "loud floats": ((np.full((1, 10), 30_000.0), RATE), "full scale is 1"),
    "no rate": (np.zeros((1, 100)), "rate in Hz"),
    "texts": ((np.array(["a"]), RATE), "holds no numbers"),
    "a lonely number": (3, "no sound"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_whole_sound_is_refused_with_the_reason(name: str) -> None:
    import re

    source, words = BAD[name]
    assert re.search(words, refused(source))


@pytest.mark.parametrize("length", [0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_that_was_written_to_a_pipe_is_read(length: int) -> None:
    assert modality().load(header(length=length)).samples.shape == (1, 100)


def test_one_sample_and_eight_channels_are_sound() -> None:
    assert modality().load(encoded(Audio(np.zeros((8, 1), np.float32), 8000.0))).samples.shape == (8, 1)


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(WAV)
    assert modality().load(tmp_path / "a.mp3").samples.shape == tone().samples.shape


def test_an_unknown_suffix_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"\.wav"):
        modality().save(tone(), tmp_path / "a.xyz")


def test_files_over_the_limit_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(WAV)
    assert "max_bytes" in refused(tmp_path / "a.wav", settings={"max_bytes": 1000})


def test_a_preview_shows_where_the_tone_is() -> None:
    times = np.arange(RATE) / RATE
    low, high = (Audio(np.sin(2 * np.pi * f * times)[None].astype(np.float32), float(RATE)) for f in (1000, 6000))
    rows = []
    for audio in (low, high):
        picture = np.asarray(Image.open(io.BytesIO(modality().preview(audio))).convert("L"), dtype=float)[96:316, 80:]
        rows.append(int(picture.mean(1).argmax()))
    assert rows[0] > rows[1], "low tones are below high ones"
