"""Image encoders: what is special about each, and what all of them hold."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from polyjanus.core.errors import PolyjanusError
from polyjanus.core.hf import library
from polyjanus.core.settings import BuildContext, ComponentConfig
from polyjanus.encoders.image import HfVisionConfig, SiglipConfig
from polyjanus.encoders.image.pixels import Preparation
from polyjanus.encoders.shared.checkpoints import split_source

Pictures = list[Image.Image]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
SIGLIP = {**SMALL, "intermediate_size": 64}
ENCODERS: dict[str, ComponentConfig] = {
    "siglip": SiglipConfig(type="siglip", architecture=SIGLIP),
    "dinov2": HfVisionConfig(type="hf_vision", architecture={"model_type": "dinov2", **SMALL}),
    "registers": HfVisionConfig(type="hf_vision", architecture={"model_type": "dinov2_with_registers", **SMALL}),
    "clip": HfVisionConfig(type="hf_vision", architecture={"model_type": "clip_vision_model", **SIGLIP}, layer=-2),
    "bigger": HfVisionConfig(type="hf_vision", architecture={"model_type": "vit", **SIGLIP}, size=48),
}


def tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_batch_gives_what_its_items_give_alone(name: str, context: BuildContext, pictures: Pictures) -> None:
    encoder = ENCODERS[name].build(context).eval()
    items = [encoder.prepare(picture) for picture in pictures]
    together = encoder(items)
    alone = torch.cat([encoder([item]).values for item in items])
    torch.testing.assert_close(together.values, alone, atol=1e-5, rtol=1e-5)
    assert together.lengths == tuple(encoder.num_tokens(item)[0] for item in items)
    assert together.values.shape[1] == encoder.width


@pytest.mark.parametrize("name", ENCODERS)
def test_what_was_built_on_meta_and_loaded_is_bit_equal(name: str, context: BuildContext, pictures: Pictures) -> None:
    encoder = ENCODERS[name].build(context).eval()
    with torch.device("meta"):
        twin = ENCODERS[name].build(context).eval()
    twin.to_empty(device="cpu")
    twin.load_state_dict(encoder.state_dict())
    assert tensors(twin).keys() <= encoder.state_dict().keys()
    items = [encoder.prepare(picture) for picture in pictures]
    assert torch.equal(twin(items).values, encoder(items).values)


@pytest.mark.parametrize("name", ENCODERS)
def test_reset_fills_a_module_from_meta(name: str, context: BuildContext, pictures: Pictures) -> None:
    with torch.device("meta"):
        encoder = ENCODERS[name].build(context).eval()
    encoder.to_empty(device="cpu")
    for value in tensors(encoder).values():
        value.data.fill_(1000)
    for module in encoder.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    features = encoder([encoder.prepare(pictures[0])]).values
    assert features.isfinite().all()
    assert features.std() < 10


@pytest.mark.parametrize("name", ENCODERS)
def test_gradients_reach_every_layer(name: str, context: BuildContext, pictures: Pictures) -> None:
    encoder = ENCODERS[name].build(context)
    encoder([encoder.prepare(pictures[0])]).values.square().sum().backward()
    without = {key for key, value in encoder.named_parameters() if value.grad is None}
    assert not [key for key in without if "embed" in key and "mask" not in key]


def test_class_and_register_tokens_are_dropped(context: BuildContext, pictures: Pictures) -> None:
    encoder = ENCODERS["registers"].build(context).eval()
    item = encoder.prepare(pictures[0])
    values = encoder.preparation.normalise(item["pixels"][None])
    hidden = encoder.tower(values).last_hidden_state
    assert hidden.shape[1] == 1 + 4 + 16
    assert torch.equal(encoder([item]).values, hidden[0, 5:])


def test_layer_minus_two_is_the_hidden_state_before_the_last(context: BuildContext, pictures: Pictures) -> None:
    encoder = ENCODERS["clip"].build(context).eval()
    item = encoder.prepare(pictures[0])
    values = encoder.preparation.normalise(item["pixels"][None])
    expected = encoder.tower(values, output_hidden_states=True).hidden_states[-2]
    assert torch.equal(encoder([item]).values, expected[0, 1:])


def test_pooling_heads_are_not_built(context: BuildContext) -> None:
    names = [name for key in ("siglip", "bigger") for name in ENCODERS[key].build(context).state_dict()]
    assert not [name for name in names if "head." in name or "pooler" in name]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (SiglipConfig(type="siglip", architecture={"model_type": "dinov2", **SMALL}), "hf_vision"),
        (HfVisionConfig(type="hf_vision", architecture=SMALL), "model_type"),
        (HfVisionConfig(type="hf_vision", architecture={"model_type": "dinov2", **SMALL}, size=30), "24"),
        (HfVisionConfig(type="hf_vision", architecture={"model_type": "resnet"}), "square"),
        (HfVisionConfig(type="hf_vision", architecture={"model_type": "dinov9"}), "dinov9"),
        (HfVisionConfig(type="hf_vision", architecture={"model_type": "llama"}), "square"),
        (HfVisionConfig(type="hf_vision", architecture={"model_type": "vit", "hiden_size": 8}), "'hidden_size'"),
        (SiglipConfig(type="siglip", pretrained="./nowhere"), "nowhere"),
        (SiglipConfig(type="siglip", pretrained="./nowhere:image.understand.encoder"), "names a component"),
    ],
)
def test_faults_say_what_would_be_right(settings: Any, says: str, context: BuildContext, tmp_path: Path) -> None:
    with pytest.raises(PolyjanusError, match=says):
        settings.build(BuildContext(path=context.path, folder=tmp_path))


@pytest.mark.parametrize("kind", ["siglip", "hf_vision"])
def test_a_local_checkpoint_is_read_and_resolved(kind: str, tmp_path: Path, pictures: Pictures) -> None:
    package = library()
    config: Any = (
        package.SiglipConfig(vision_config=SIGLIP, text_config={**SMALL, "intermediate_size": 64, "vocab_size": 40})
        if kind == "siglip"
        else package.Dinov2Config(**SMALL)
    )
    source = package.AutoModel.from_config(config).eval()
    source.save_pretrained(tmp_path / "tower")
    (tmp_path / "tower" / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}), encoding="utf-8"
    )
    context = BuildContext(path="image.understand.encoder", folder=tmp_path)
    cls = SiglipConfig if kind == "siglip" else HfVisionConfig
    settings = cls(type=kind, pretrained="./tower")
    encoder = settings.build(context).eval()
    settings.load(encoder, context)
    item = encoder.prepare(pictures[0])
    values = encoder.preparation.normalise(item["pixels"][None])
    tower = source.vision_model if kind == "siglip" else source
    expected = tower(values).last_hidden_state[0, -16:]
    torch.testing.assert_close(encoder([item]).values, expected)
    again = cls.model_validate(json.loads(settings.resolve(context).model_dump_json()))
    assert again.pretrained is None
    assert again.initialised_from == "./tower"
    assert again.build(BuildContext(path="x")).preparation == encoder.preparation
    assert (encoder.preparation.mean == (0.1, 0.2, 0.3)) == (kind == "hf_vision")


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("google/siglip", ("google/siglip", None, None)),
        ("google/siglip@v1", ("google/siglip", "v1", None)),
        ("a/b@v1:image.generate.codec", ("a/b", "v1", "image.generate.codec")),
        ("./x@y/z", ("./x@y/z", None, None)),
        ("./runs/1:image.generate.codec", ("./runs/1", None, "image.generate.codec")),
        ("/a:b/c", ("/a:b/c", None, None)),
    ],
)
def test_a_source_falls_into_name_revision_and_component(source: str, parts: tuple[Any, ...]) -> None:
    assert split_source(source) == parts


@pytest.mark.parametrize("size", [(1, 1), (1, 20000), (20000, 1), (33, 17)])
@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
def test_any_shape_becomes_a_square(size: tuple[int, int], resize: str) -> None:
    assert Preparation(32, resize=resize).cells(Image.new("RGB", size)).shape == (3, 32, 32)


def test_padding_takes_the_background() -> None:
    image = Image.new("RGB", (32, 8), "red")
    assert Preparation(32).cells(image)[:, 0, 0].tolist() == [127, 127, 127]
    assert Preparation(32, background=(1, 2, 3)).cells(image)[:, 0, 0].tolist() == [1, 2, 3]
    assert Preparation(32, background=(0, 0, 0)).cells(image)[:, 0, 0].tolist() == [0, 0, 0]


def test_cropping_keeps_the_middle() -> None:
    image = Image.new("RGB", (96, 32), "red")
    image.paste("blue", (32, 0, 64, 32))
    assert Preparation(32, resize="crop").cells(image)[:, 16, 16].tolist() == [0, 0, 255]
    assert (Preparation(32, resize="crop").cells(image)[0] == 0).all()


def test_pictures_survive_normalising_and_back(pictures: Pictures) -> None:
    preparation = Preparation(16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    pixels = preparation.cells(pictures[0])
    (image,) = preparation.media(preparation.normalise(pixels[None]))
    assert torch.equal(Preparation(16).cells(image), pixels)
