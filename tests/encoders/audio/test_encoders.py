"""Encoders of sound: transformers' own outputs, as many tokens as there is sound for, weights from a folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyjanus.core.errors import MediaError, WiringError
from polyjanus.core.hf import library
from polyjanus.core.settings import BuildContext, EncoderConfig
from polyjanus.encoders.audio import AstConfig, AudioConfig, Wav2Vec2Config, WhisperConfig
from polyjanus.encoders.audio.media import Audio

AUDIO = AudioConfig(type="audio").build(BuildContext(path="audio"))
WHISPER = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "max_source_positions": 100,
    "vocab_size": 100,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
WAVE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
AST = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_length": 128,
    "num_mel_bins": 64,
}


def sound(seconds: float, rate: int = 16_000) -> Audio:
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(size=times.shape) * 0.02
    return Audio((0.3 * np.sin(2 * np.pi * (300 + 400 * times) * times) + noise)[None].astype(np.float32), float(rate))


def context(folder: Path = Path()) -> BuildContext:
    return BuildContext(path="audio.understand.encoder", modality=AUDIO, folder=folder)


def build(settings: EncoderConfig, folder: Path = Path()) -> Any:
    torch.manual_seed(0)
    encoder = settings.build(context(folder)).eval()
    settings.load(encoder, context(folder))
    return encoder


def features(encoder: Any, audio: Audio) -> torch.Tensor:
    with torch.no_grad():
        return encoder([encoder.prepare(audio)]).values


@pytest.mark.parametrize(("seconds", "tokens"), [(0.01, 1), (0.5, 25), (2.0, 100), (2.01, 101), (5.0, 250)])
def test_whisper_gives_fifty_tokens_a_second_of_sound(seconds: float, tokens: int) -> None:
    encoder = build(WhisperConfig(type="whisper", architecture=WHISPER))
    assert encoder.num_tokens(encoder.prepare(sound(seconds))) == (tokens, None)
    assert features(encoder, sound(seconds)).shape == (tokens, 32)


def test_whisper_gives_what_transformers_gives_for_the_padded_window(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = library().WhisperModel(library().WhisperConfig(**WHISPER)).eval()
    whole.save_pretrained(tmp_path / "whisper")
    encoder = build(WhisperConfig(type="whisper", pretrained="./whisper"), tmp_path)
    clip = sound(1.5)
    padded = np.pad(clip.samples[0], (0, 8_000))
    extractor = library().WhisperFeatureExtractor()
    given = extractor(padded, sampling_rate=16_000, padding=False, return_tensors="pt").input_features
    with torch.no_grad():
        expected = whole.encoder(given).last_hidden_state[0, :75]
    torch.testing.assert_close(features(encoder, clip), expected, atol=1e-5, rtol=1e-5)


def test_a_long_clip_is_read_window_by_window() -> None:
    encoder = build(WhisperConfig(type="whisper", architecture=WHISPER))
    clip = sound(3.0)
    first = Audio(clip.samples[:, :32_000], clip.sample_rate)
    torch.testing.assert_close(features(encoder, clip)[:100], features(encoder, first), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "wavlm"])
@pytest.mark.parametrize("normalise", [True, False])
def test_the_wav2vec2_family_gives_what_transformers_gives(tmp_path: Path, model_type: str, normalise: bool) -> None:
    torch.manual_seed(1)
    config = library().AutoConfig.for_model(model_type, **WAVE)
    whole = library().AutoModel.from_config(config).eval()
    whole.save_pretrained(tmp_path / "model")
    extractor = library().Wav2Vec2FeatureExtractor(do_normalize=normalise)
    extractor.save_pretrained(tmp_path / "model")
    encoder = build(Wav2Vec2Config(type="wav2vec2", pretrained="./model"), tmp_path)
    clip = sound(0.7)
    given = extractor(clip.samples[0], sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        expected = whole(given).last_hidden_state[0]
    assert expected.shape[0] == encoder.num_tokens(encoder.prepare(clip))[0] == 34
    torch.testing.assert_close(features(encoder, clip), expected, atol=1e-5, rtol=1e-5)


def test_ast_gives_the_patches_that_have_sound(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = library().ASTModel(library().ASTConfig(**AST)).eval()
    whole.save_pretrained(tmp_path / "ast")
    extractor = library().ASTFeatureExtractor(num_mel_bins=64, max_length=128, mean=-3.0, std=2.0)
    extractor.save_pretrained(tmp_path / "ast")
    encoder = build(AstConfig(type="ast", pretrained="./ast"), tmp_path)
    clip = sound(0.6)
    window = np.pad(clip.samples[0], (0, 128 * 160 - clip.samples.shape[1]))
    given = extractor(window, sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        patches = whole(given).last_hidden_state[0, 2:].unflatten(0, (5, 12))  # bands, times
    expected = patches[:, :6].transpose(0, 1).flatten(0, 1)  # 60 frames, one column every ten
    torch.testing.assert_close(features(encoder, clip), expected, atol=1e-5, rtol=1e-5)
    assert features(encoder, sound(1.5)).shape[0] == (12 + 3) * 5


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_encoders_resample(rate: int) -> None:
    encoder = build(WhisperConfig(type="whisper", architecture=WHISPER))
    assert encoder.num_tokens(encoder.prepare(sound(1.0, rate)))[0] == 50


def test_a_clip_shorter_than_one_token_is_refused() -> None:
    encoder = build(Wav2Vec2Config(type="wav2vec2", architecture=WAVE))
    with pytest.raises(MediaError, match="too short"):
        encoder.prepare(sound(0.01))


def test_a_model_that_does_not_read_waves_is_refused() -> None:
    with pytest.raises(WiringError, match="does not read the wave"):
        build(Wav2Vec2Config(type="wav2vec2", architecture={"model_type": "llama"}))


def test_training_mode_draws_no_masks_over_the_wave() -> None:
    encoder = build(
        Wav2Vec2Config(
            type="wav2vec2",
            architecture={
                **WAVE,
                "hidden_dropout": 0.0,
                "attention_dropout": 0.0,
                "activation_dropout": 0.0,
                "feat_proj_dropout": 0.0,
            },
        )
    )
    expected = features(encoder, sound(0.5))
    encoder.train()
    torch.testing.assert_close(features(encoder, sound(0.5)), expected, atol=1e-5, rtol=1e-5)
