"""The settings of built-in components survive being written and read."""

from typing import Any

import pytest

from polyjanus.core.manager import load_plugins
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.image import ImageConfig

REGISTRIES = load_plugins(third_party=False).registries
TOWER = {"model_type": "dinov2", "hidden_size": 8}
BLOCKS: list[tuple[str, dict[str, Any]]] = [
    ("encoder", {"type": "siglip", "pretrained": "./x", "resize": "crop", "background": [1, 2, 3]}),
    ("encoder", {"type": "hf_vision", "architecture": TOWER, "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "layer": -2}),
    ("encoder", {"type": "codec_features", "of": "image.generate.codec", "output": "latents"}),
    ("codec", {"type": "vq16", "architecture": {"num_patches": 4}, "initialised_from": "./x"}),
    ("codec", {"type": "fsq2d", "levels": [8, 5], "channels": 1, "size": 16, "downsample": 4}),
    ("adaptor", {"type": "identity"}),
    ("adaptor", {"type": "linear"}),
    ("adaptor", {"type": "mlp", "depth": 3}),
    ("adaptor", {"type": "resampler", "tokens": 3, "width": 16}),
    ("head", {"type": "linear"}),
    ("head", {"type": "mlp", "hidden": 3}),
    ("layout", {"type": "grid"}),
    ("layout", {"type": "ended"}),
    ("sampler", {"type": "greedy", "scale": 2}),
    ("sampler", {"type": "nucleus", "temperature": 0.5, "top_p": 0.9, "top_k": 3}),
    ("sampler", {"type": "guided", "scale": 3.5}),
]


@pytest.mark.parametrize(("kind", "block"), BLOCKS, ids=[f"{kind} {block['type']}" for kind, block in BLOCKS])
def test_settings_survive_a_dump(kind: str, block: dict[str, Any]) -> None:
    cls = REGISTRIES.of(kind).get(block["type"])
    settings = cls.model_validate(block)
    dumped = settings.model_dump(serialize_as_any=True, mode="json")
    assert cls.model_validate(dumped) == settings
    assert dumped["type"] == block["type"]


def test_settings_inside_a_modality_survive_a_dump() -> None:
    context = {"registries": REGISTRIES}
    block = {
        "type": "image",
        "understand": {"encoder": {"type": "codec_features", "of": "image.generate.codec"}, "adaptor": "linear"},
        "generate": {"codec": {"type": "fsq2d", "levels": [4, 4]}, "head": "linear", "sampler": "greedy"},
    }
    settings = ImageConfig.model_validate(block, context=context)
    assert (
        ImageConfig.model_validate(settings.model_dump(serialize_as_any=True, mode="json"), context=context) == settings
    )


def test_every_field_that_is_a_quantity_says_its_unit() -> None:
    for registry in REGISTRIES:
        for entry in registry:
            if "encoders.image" not in entry.settings.__module__:
                continue
            own = {name: info for name, info in entry.settings.model_fields.items() if name != "type"}
            silent = [
                name for name, info in own.items() if not info.description and name not in ("understand", "generate")
            ]
            assert not silent, entry.location


def test_defaults_are_janus() -> None:
    encoders, codecs = REGISTRIES.of("encoder"), REGISTRIES.of("codec")
    siglip = encoders.get("siglip").model_validate({"type": "siglip", "architecture": {}})
    vq16 = codecs.get("vq16").model_validate({"type": "vq16", "architecture": {}})
    assert siglip.model_dump(include={"resize", "mean", "std"}) == {
        "resize": "pad",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
    assert vq16.model_dump(include={"resize"}) == {"resize": "crop"}


def test_building_leaves_the_settings_as_they_are() -> None:
    settings = REGISTRIES.of("codec").get("fsq2d").model_validate({"type": "fsq2d", "width": 8})
    before = settings.model_dump()
    images = REGISTRIES.of("modality").get("image").model_validate({"type": "image"}).build(BuildContext(path="image"))
    settings.build(BuildContext(path="image.generate.codec", modality=images))
    assert settings.model_dump() == before
