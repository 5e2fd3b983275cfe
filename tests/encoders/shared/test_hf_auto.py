"""`hf_auto` gives what the model of transformers gives, whatever it takes and however its tokens lie."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from polyjanus.core.config.reading import read_pipeline
from polyjanus.core.errors import WiringError
from polyjanus.core.pipeline import Pipeline

RESNET = "{model_type: resnet, embedding_size: 8, hidden_sizes: [16, 32], depths: [1, 1], layer_type: basic}"
SWIN = (
    "{model_type: swin, image_size: 32, patch_size: 4, embed_dim: 8, depths: [1, 1], num_heads: [1, 2], window_size: 4}"
)
DINO = (
    "{model_type: dinov2, image_size: 32, patch_size: 8, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2}"
)
HUBERT = """{model_type: hubert, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16,
  conv_dim: [8, 8], conv_kernel: [10, 8], conv_stride: [5, 4], num_feat_extract_layers: 2, num_conv_pos_embeddings: 4,
  num_conv_pos_embedding_groups: 2}"""
PATCHTST = """{model_type: patchtst, num_input_channels: 2, context_length: 64, patch_length: 8, patch_stride: 8,
  d_model: 16, num_hidden_layers: 1, num_attention_heads: 2, ffn_dim: 16}"""
YAML = """
polyjanus: 1
backbone: {{type: causal_lm, architecture: {{model_type: llama, hidden_size: 32, intermediate_size: 64,
  num_hidden_layers: 1, num_attention_heads: 2}}}}
template: {{type: janus, user: User, assistant: Assistant}}
text: {{tokenizer: bytes}}
modalities:
  x: {{{modality}, understand: {{encoder: {{type: hf_auto, {encoder}}}}}}}
"""
SIGNAL = "type: timeseries, channels: [a, b], sample_rate: 32"


@pytest.fixture
def make(plugins: Any, tmp_path: Path) -> Any:
    def build(modality: str, encoder: str) -> Any:
        file = tmp_path / "x.yaml"
        file.write_text(YAML.format(modality=modality, encoder=encoder), encoding="utf-8")
        pipeline = Pipeline.from_yaml(file, plugins=plugins, device="cpu")
        return pipeline, pipeline.model.part("x.understand.encoder")

    return build


def _features(encoder: Any, media: Any) -> tuple[torch.Tensor, torch.Tensor, Any]:
    prepared = encoder.prepare(media)
    with torch.no_grad():
        found = encoder([prepared])
    count, grid = encoder.num_tokens(prepared)
    assert found.values.shape == (count, encoder.width)
    return prepared["values"], found.values, grid


@pytest.mark.parametrize(("architecture", "tokens", "grid"), [(RESNET, 16, (4, 4)), (SWIN, 16, None), (DINO, 17, None)])
def test_pictures_go_through_towers_of_any_shape(make: Any, architecture: str, tokens: int, grid: Any) -> None:
    _, encoder = make("type: image", f"size: 32, architecture: {architecture}")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    values, features, found = _features(encoder, picture)
    assert features.shape[0] == tokens and found == grid
    with torch.no_grad():
        expected = encoder.tower(pixel_values=values[None]).last_hidden_state[0]
    expected = expected.flatten(1).T if expected.ndim == 3 and grid else expected
    torch.testing.assert_close(features, expected)


def test_a_wave_goes_through_a_speech_model_and_its_own_augmentation_is_off(make: Any) -> None:
    pipeline, encoder = make(SIGNAL, f"standardise: true, architecture: {HUBERT}")
    encoder.eval()
    assert not encoder.tower.config.apply_spec_augment
    media = pipeline.compiler.modalities["x"].example()
    values, features, _ = _features(encoder, media)
    assert values.ndim == 1 and abs(float(values.mean())) < 1e-5
    with torch.no_grad():
        torch.testing.assert_close(features, encoder.tower(values[None]).last_hidden_state[0])


def test_a_time_series_goes_through_a_forecaster_by_frames(make: Any) -> None:
    pipeline, encoder = make(SIGNAL, f"arranged: frames, architecture: {PATCHTST}")
    media = pipeline.compiler.modalities["x"].make(np.random.default_rng(0).normal(size=(2, 64)), 32.0)
    values, features, _ = _features(encoder.eval(), media)
    with torch.no_grad():
        expected = encoder.tower(past_values=values[None]).last_hidden_state
    torch.testing.assert_close(features, expected.flatten(0, 2))
    assert features.shape == (2 * 8, 16)


def test_weights_and_normalisation_come_from_the_checkpoint_that_is_named(make: Any, tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    theirs = transformers.ResNetModel(config).eval()
    theirs.save_pretrained(tmp_path / "resnet")
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    transformers.ConvNextImageProcessor(image_mean=mean, image_std=std).save_pretrained(tmp_path / "resnet")
    _, encoder = make("type: image", "size: 32, pretrained: ./resnet")
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    values, features, _ = _features(encoder.eval(), Image.fromarray(pixels))
    expected = torch.from_numpy(pixels).permute(2, 0, 1) / 255 - torch.tensor(mean)[:, None, None]
    torch.testing.assert_close(values, expected / torch.tensor(std)[:, None, None], atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(features, theirs(values[None]).last_hidden_state[0].flatten(1).T)


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        ("architecture: {model_type: resnett}", "resnett"),
        (f"input: pixels, size: 32, architecture: {RESNET}", "cannot be given pixels of shape"),
        (f"channels: 1, size: 32, architecture: {RESNET}", r"cannot be given pixel_values of shape \(1, 1, 32, 32\)"),
    ],
)
def test_what_does_not_fit_is_told_when_the_pipeline_is_built(make: Any, encoder: str, told: str) -> None:
    with pytest.raises(WiringError, match=told):
        make("type: image", encoder)


def test_it_is_wired_without_weights(plugins: Any, tmp_path: Path) -> None:
    from polyjanus.core.model.wiring import check_wiring

    file = tmp_path / "x.yaml"
    file.write_text(YAML.format(modality="type: image", encoder=f"size: 32, architecture: {RESNET}"), encoding="utf-8")
    wiring = check_wiring(read_pipeline(file, plugins.registries), plugins.registries)
    assert not wiring.faults and wiring.positions() == {"x.understand": 16}


def test_a_model_of_timm_gives_its_features_and_opens_again(make: Any, tmp_path: Path, plugins: Any) -> None:
    pytest.importorskip(
        "timm", reason="the extra 'timm' is not among those that tests install: torchvision must fit torch"
    )
    architecture = "size: 64, architecture: {model_type: timm_wrapper, architecture: resnet10t}"
    pipeline, encoder = make("type: image", architecture)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    values, found, grid = _features(encoder, picture)
    with torch.no_grad():
        wanted = encoder.tower(values[None]).last_hidden_state[0].flatten(1).T
    assert grid == (2, 2)
    torch.testing.assert_close(found, wanted)
    folder = pipeline.save(tmp_path / "saved")
    again = Pipeline.from_pretrained(folder, plugins=plugins, device="cpu").model.part("x.understand.encoder")
    torch.testing.assert_close(_features(again, picture)[1], found)
