"""What the tests of images share: a few pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from polyjanus.core.settings import BuildContext


@pytest.fixture
def context() -> BuildContext:
    return BuildContext(path="image.understand.encoder")


@pytest.fixture
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (20, 30 + i, 3), dtype=np.uint8)) for i in range(3)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
