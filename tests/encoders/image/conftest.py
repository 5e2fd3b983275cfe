"""What the tests of images share: tiny architectures and DeepSeek's own outputs."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from polyjanus.core.settings import BuildContext, ComponentConfig
from polyjanus.encoders.image import (
    Fsq2dConfig,
    HfVisionConfig,
    SiglipConfig,
    Vq16Config,
)

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "janus"
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
SIGLIP = {**SMALL, "intermediate_size": 64}
VQ = {
    "base_channels": 32,
    "channel_multiplier": [1, 1],
    "num_patches": 8,
    "num_embeddings": 64,
    "latent_channels": 32,
    "num_res_blocks": 1,
}
ENCODERS: dict[str, ComponentConfig] = {
    "siglip": SiglipConfig(type="siglip", architecture=SIGLIP),
    "dinov2": HfVisionConfig(type="hf_vision", architecture={"model_type": "dinov2", **SMALL}),
    "registers": HfVisionConfig(type="hf_vision", architecture={"model_type": "dinov2_with_registers", **SMALL}),
    "clip": HfVisionConfig(type="hf_vision", architecture={"model_type": "clip_vision_model", **SIGLIP}, layer=-2),
    "bigger": HfVisionConfig(type="hf_vision", architecture={"model_type": "vit", **SIGLIP}, size=48),
}
CODECS: dict[str, ComponentConfig] = {
    "vq16": Vq16Config(type="vq16", architecture=VQ),
    "fsq2d": Fsq2dConfig(type="fsq2d", width=16),
    "grey": Fsq2dConfig(type="fsq2d", width=8, size=16, channels=1, levels=(5, 3), downsample=4),
}


@pytest.fixture
def context() -> BuildContext:
    return BuildContext(path="image.understand.encoder")


@pytest.fixture
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (20, 30 + i, 3), dtype=np.uint8)) for i in range(3)]


@pytest.fixture(scope="session")
def golden() -> dict[str, Tensor]:
    if not GOLDEN.is_dir():
        pytest.skip("DeepSeek's outputs lie in the blueprint, which is not beside this checkout")
    return load_file(GOLDEN / "expected.safetensors")


@pytest.fixture(scope="session")
def deepseek_weights(golden: dict[str, Tensor]) -> Callable[[str], dict[str, Tensor]]:
    """Return what makes DeepSeek's tensors whose names start with a prefix, the prefix taken off."""
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shapes = json.loads((GOLDEN / "shapes.json").read_text(encoding="utf-8"))

    def make(prefix: str) -> dict[str, Tensor]:
        wanted = {name: shape for name, shape in shapes.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): value for name, value in module.make_weights(wanted, seed=11).items()}

    return make


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
