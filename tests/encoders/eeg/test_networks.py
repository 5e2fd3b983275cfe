"""The small networks of EEG: any montage, spectra whatever the phase, and codes in the order of time."""

from typing import Any

import numpy as np
import pytest
import torch

from polyjanus.core.errors import MediaError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.eeg import EegConfig, EegFsqConfig, EegPatchConfig
from polyjanus.encoders.eeg.names import positions_of
from polyjanus.encoders.eeg.networks import EegFsqCodec, EegPatchEncoder, log_power
from polyjanus.encoders.eeg.recording import Recording
from polyjanus.encoders.shared import CodecFeaturesConfig, Fsq1dConfig
from polyjanus.encoders.shared.codec_features import CodecFeatures

NAMES = ("Fp1", "Cz", "T7", "O2")


def context(**settings: Any) -> BuildContext:
    modality = EegConfig.model_validate({"type": "eeg", **settings}).build(BuildContext(path="eeg"))
    return BuildContext(path="part", modality=modality)


def encoder_of(**settings: Any) -> EegPatchEncoder:
    torch.manual_seed(0)
    block = {"type": "eeg_patch", "patch": 100, "width": 32, **settings}
    return EegPatchConfig.model_validate(block).build(context()).eval()


def codec_of(**settings: Any) -> EegFsqCodec:
    torch.manual_seed(0)
    block = {"type": "eeg_fsq", "patch": 50, "width": 16, "codebooks": 2, **settings}
    return EegFsqConfig.model_validate(block).build(context(channels=list(NAMES))).eval()


def sine(hertz: float = 10.0, phase: float = 0.0, names: tuple[str, ...] = NAMES) -> Recording:
    wave = np.sin(2 * np.pi * hertz * np.arange(400) / 200 + phase)
    volts = 1e-5 * np.outer(np.arange(1, len(names) + 1), wave)
    return Recording(volts.astype(np.float32), 200.0, names, positions_of(names))


@pytest.mark.parametrize("phase", [0.0, 1.0, 2.5])
def test_spectra_have_their_peak_at_the_rhythm_whatever_its_phase(phase: float) -> None:
    patches = encoder_of().prepare(sine(phase=phase))["patches"]
    assert patches.shape == (4, 4, 100 + 51)
    spectrum = patches[..., 100:]
    assert bool((spectrum.argmax(-1) == 5).all())  # 10 Hz at steps of 2 Hz
    torch.testing.assert_close(spectrum[..., 5], encoder_of().prepare(sine())["patches"][..., 105])
    torch.testing.assert_close(spectrum[0, 1, 5] - spectrum[0, 0, 5], torch.tensor(2.0).log(), atol=0.01, rtol=0)


def test_silence_has_a_spectrum_and_spectra_may_be_left_out() -> None:
    for size in (1, 2, 100):
        assert bool(log_power(torch.zeros(size)).isfinite().all())
    assert encoder_of(spectrum=False).prepare(sine())["patches"].shape == (4, 4, 100)


def test_any_montage_will_do_and_its_order_moves_features_alone() -> None:
    encoder, media, order = encoder_of(), sine(), [2, 0, 3, 1]
    moved = Recording(media.volts[order], 200.0, tuple(NAMES[i] for i in order), media.positions[order])
    first, second = (encoder([encoder.prepare(each)]).values.unflatten(0, (4, 4)) for each in (media, moved))
    torch.testing.assert_close(second, first[:, order], atol=1e-5, rtol=1e-5)
    elsewhere = Recording(media.volts, 200.0, media.channels, media.positions[::-1])
    assert not torch.allclose(encoder([encoder.prepare(elsewhere)]).values.unflatten(0, (4, 4)), first, atol=1e-3)
    assert encoder.num_tokens(encoder.prepare(sine(names=("Cz", "O1")))) == (8, (4, 2))


def test_an_electrode_without_a_place_is_named() -> None:
    media = sine(names=("Cz", "X17"))
    with pytest.raises(MediaError, match="'X17' has no position"):
        encoder_of().prepare(media)


def test_codes_come_time_by_time_and_electrode_by_electrode() -> None:
    codec = codec_of()
    media = sine()
    codes = codec.encode([codec.prepare(media)])[0]
    assert codes.shape == (8, 4 * 2)
    volts = media.volts.copy()
    volts[2] *= -0.3  # one electrode alone is changed
    changed = codec.encode([codec.prepare(Recording(volts, 200.0, NAMES, media.positions))])[0]
    assert torch.equal(codes[:, [0, 1, 2, 3, 6, 7]], changed[:, [0, 1, 2, 3, 6, 7]])
    assert not torch.equal(codes[:, 4:6], changed[:, 4:6])


def test_what_is_decoded_is_volts_of_the_declared_electrodes() -> None:
    codec = codec_of(seconds=1.0)
    media = codec.decode(codec.encode([codec.prepare(sine())]))[0]
    assert (media.channels, media.sample_rate, media.volts.shape) == (NAMES, 200.0, (4, 200))
    assert np.abs(media.volts).max() < 1e-3


@pytest.mark.parametrize("config", [EegFsqConfig, Fsq1dConfig])
@pytest.mark.parametrize("output", ["codes", "latents"])
def test_codec_features_of_a_signal_are_the_vectors_of_its_codes_or_what_was_rounded_to_them(
    config: Any, output: str
) -> None:
    settings = {"type": config.type_name(), "patch": 50, "width": 16, "codebooks": 2, "levels": (4, 5)}
    torch.manual_seed(0)
    codec = config.model_validate(settings).build(context(channels=list(NAMES))).eval()
    known = BuildContext(path="e", parts={"eeg.generate.codec": codec})
    encoder = CodecFeaturesConfig(type="codec_features", of="eeg.generate.codec", output=output).build(known)
    assert isinstance(encoder, CodecFeatures) and not list(encoder.parameters())
    item = encoder.prepare(sine())
    features = encoder([item, item]).values[: codec.max_codes].unflatten(1, (-1, 2))
    scalars, (codes,) = codec.quantiser.scalars, codec.encode([item])
    assert encoder.num_tokens(item) == (codec.max_codes, None)
    assert torch.equal(features, scalars.vectors(codes)) == (output == "codes")
    assert output == "codes" or torch.equal(scalars.codes(scalars.quantise(features)), codes)
