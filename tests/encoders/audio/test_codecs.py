"""Codecs of sound: transformers' own codes and waves; and mel_fsq, learned here and judged by its spectrum."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyjanus.core.errors import MediaError, SequenceError, WiringError
from polyjanus.core.hf import library
from polyjanus.core.settings import BuildContext, CodecConfig
from polyjanus.encoders.audio import AudioConfig, DacConfig, EncodecConfig, MelFsqConfig, MimiConfig
from polyjanus.encoders.audio.media import Audio
from polyjanus.encoders.audio.sound import MelSpectrum

AUDIO = AudioConfig(type="audio").build(BuildContext(path="audio"))
TOWERS: dict[str, dict[str, Any]] = {
    "encodec": {
        "sampling_rate": 8000,
        "num_filters": 4,
        "hidden_size": 16,
        "codebook_size": 32,
        "codebook_dim": 16,
        "num_lstm_layers": 1,
        "upsampling_ratios": [4, 2],
        "target_bandwidths": [5.0, 10.0, 20.0],
    },
    "dac": {
        "sampling_rate": 8000,
        "encoder_hidden_size": 8,
        "decoder_hidden_size": 32,
        "downsampling_ratios": [2, 4],
        "upsampling_ratios": [4, 2],
        "n_codebooks": 4,
        "codebook_size": 16,
        "codebook_dim": 4,
    },
    "mimi": {
        "sampling_rate": 8000,
        "hidden_size": 32,
        "num_filters": 4,
        "codebook_size": 32,
        "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 32,
        "upsampling_ratios": [4, 2],
        "num_quantizers": 4,
        "head_dim": 16,
        "upsample_groups": 32,
    },
}
SETTINGS: dict[str, type[CodecConfig]] = {"encodec": EncodecConfig, "dac": DacConfig, "mimi": MimiConfig}


def context(folder: Path = Path()) -> BuildContext:
    return BuildContext(path="audio.generate.codec", modality=AUDIO, folder=folder)


def codec(name: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    block = {"type": name, "architecture": TOWERS[name], "seconds": 0.5, "codebooks": 3, **settings}
    return SETTINGS[name].model_validate(block).build(context()).eval()


def noise(seconds: float, rate: int = 8000) -> Audio:
    samples = np.random.default_rng(0).normal(size=(1, round(seconds * rate))) * 0.1
    return Audio(samples.astype(np.float32), float(rate))


@pytest.mark.parametrize("name", TOWERS)
def test_codes_use_many_entries_and_decode_to_as_much_sound(name: str) -> None:
    built = codec(name, fixed=False)
    prepared = built.prepare(noise(0.31))
    with torch.no_grad():  # fresh convolutions shrink what they are given to almost nothing
        for parameter in built.tower.encoder.parameters():
            parameter.mul_(2)
    (codes,) = built.encode([prepared])
    assert codes.shape == (built.num_codes(prepared), 3)
    assert len(codes.unique(dim=0)) > 1, "a code book of zeros gives one code alone"
    (sound,) = built.decode([codes])
    assert sound.sample_rate == 8000
    assert sound.samples.shape == (1, codes.shape[0] * built.hop)
    assert 0 <= sound.samples.shape[1] - 0.31 * 8000 < built.hop


@pytest.mark.parametrize("name", TOWERS)
def test_published_weights_give_transformers_codes(name: str, tmp_path: Path) -> None:
    from_codec = codec(name)  # its code books are no zeros
    config = from_codec.tower.config
    whole = library().AutoModel.from_config(config).eval()
    whole.load_state_dict({key: from_codec.tower.state_dict()[key] for key in whole.state_dict()})
    whole.save_pretrained(tmp_path / name)
    settings = SETTINGS[name].model_validate({"type": name, "pretrained": f"./{name}", "seconds": 0.5, "codebooks": 3})
    loaded: Any = settings.build(context(tmp_path)).eval()
    settings.load(loaded, context(tmp_path))
    prepared = loaded.prepare(noise(0.5))
    with torch.no_grad():
        expected = whole.encode(prepared["wave"][None]).audio_codes
    expected = (expected[0] if expected.ndim == 4 else expected)[0, :3].T
    if name == "encodec":  # its default bandwidth has fewer books
        expected = expected[:, : min(3, expected.shape[1])]
    assert torch.equal(loaded.encode([prepared])[0][:, : expected.shape[1]], expected)


def test_fixed_codecs_cut_and_fill_up_and_others_refuse() -> None:
    fixed, free = codec("dac"), codec("dac", fixed=False)
    for seconds in (0.1, 0.5, 0.9):
        assert fixed.num_codes(fixed.prepare(noise(seconds))) == fixed.max_codes == fixed.min_codes == 500
    assert (free.num_codes(free.prepare(noise(0.1))), free.min_codes) == (100, 1)
    with pytest.raises(MediaError, match=r"0\.9 s are more than the codec's 0\.5 s"):
        free.prepare(noise(0.9))


def test_impossible_books_and_shapes_are_refused() -> None:
    with pytest.raises(WiringError, match="4 code books, not 9"):
        codec("dac", codebooks=9)
    with pytest.raises(WiringError, match="mono"):
        codec("encodec", architecture={**TOWERS["encodec"], "audio_channels": 2})
    with pytest.raises(SequenceError, match="1 or more, 3"):
        codec("dac").decode([torch.zeros(5, 2, dtype=torch.int64)])


def test_griffin_lim_brings_back_the_spectrum() -> None:
    mel = MelSpectrum(16_000, 80, 160)
    times = torch.arange(16_000) / 16_000
    wave = 0.3 * torch.sin(2 * torch.pi * (300 + 500 * times) * times)[None]
    frames = mel.frames(wave)
    assert frames.shape == (1, 80, 100)
    again = mel.frames(mel.sound(frames, 32))
    loud = frames > frames.max() - 4
    assert float((again - frames)[loud].abs().mean()) < 0.4
    assert torch.equal(mel.sound(frames, 4), mel.sound(frames, 4))


def chirps(count: int, seed: int) -> tuple[list[Audio], np.ndarray[Any, Any]]:
    """Return tones that rise, fall or stay, and which."""
    rng = np.random.default_rng(seed)
    times = np.arange(4000) / 8000
    kinds = rng.integers(0, 3, count)
    sounds = []
    for kind in kinds:
        slope = (0, 1500, -1500)[kind]
        phase = (rng.uniform(900, 1300) - slope / 4) * times + slope * times**2 / 2
        wave = rng.uniform(0.1, 0.5) * np.sin(2 * np.pi * (phase + rng.uniform())) + rng.normal(size=4000) * 0.01
        sounds.append(Audio(wave[None].astype(np.float32), 8000.0))
    return sounds, kinds


def pitch_path(audio: Audio) -> np.ndarray[Any, Any]:
    """Return the loudest frequency of each eighth of a sound, without any part of ours."""
    pieces = audio.samples[0, :4000].reshape(8, 500) * np.hanning(500)
    return np.abs(np.fft.rfft(pieces, axis=1)).argmax(1) * 16.0


@pytest.mark.slow
def test_a_minute_of_training_brings_back_the_tones_that_were_said() -> None:
    torch.manual_seed(0)
    settings = {
        "type": "mel_fsq",
        "sample_rate": 8000,
        "bands": 40,
        "hop": 100,
        "seconds": 0.5,
        "width": 64,
        "depth": 1,
    }
    built: Any = MelFsqConfig.model_validate(settings).build(context()).train()
    train, _ = chirps(256, 0)
    items = [built.prepare(sound) for sound in train]
    optimiser = torch.optim.AdamW(built.parameters(), lr=3e-3)
    for step in range(400):
        loss, count = built.reconstruct([items[i % 256] for i in range(step * 32, step * 32 + 32)])
        optimiser.zero_grad()
        (loss / count).backward()
        optimiser.step()
    built.eval()
    unseen, kinds = chirps(60, 1)
    rebuilt = built.decode(built.encode([built.prepare(sound) for sound in unseen]))
    slopes = np.array([np.polyfit(np.arange(6), pitch_path(sound)[1:7], 1)[0] for sound in rebuilt])
    guessed = np.where(slopes > 30, 1, np.where(slopes < -30, 2, 0))
    assert (guessed == kinds).mean() > 0.9
