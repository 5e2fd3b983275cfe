"""What the tests of images share: a few pictures, and DeepSeek's own outputs."""

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

from polyjanus.core.settings import BuildContext

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "janus"


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
