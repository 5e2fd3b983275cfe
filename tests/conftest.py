"""What tests share: small pipelines built from YAML, without weights from anywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TINY = """
polyjanus: 1
backbone:
  type: causal_lm
  architecture: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2,
                 num_attention_heads: 4, max_position_embeddings: 512}
template: {type: janus, user: User, assistant: Assistant}
text: {tokenizer: bytes}
modalities:
  image:
    understand:
      encoder:
        type: siglip
        architecture: {model_type: siglip_vision_model, image_size: 16, patch_size: 8, hidden_size: 24,
                       intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2}
    generate:
      codec: {type: fsq2d, size: 16, downsample: 8, levels: [4, 4], width: 8}
      sampler: {type: guided, scale: 3.0}
data:
  captions: {type: jsonl, path: ./captions.jsonl}
training:
  stages:
    - {name: all, train: [backbone, text, marks, image.understand, image.generate.embedding, image.generate.adaptor,
       image.generate.head], mix: {captions: 1}, steps: 4, batch: 4, lr: 1e-3}
"""


@pytest.fixture(scope="session")
def plugins() -> Any:
    from polyjanus.core.manager import load_plugins

    loaded = load_plugins(third_party=False)
    assert not loaded.broken
    return loaded


@pytest.fixture
def tiny_yaml(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def make_tiny(plugins: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Return a function from overrides to a small pipeline with fresh weights."""
    from polyjanus.core.pipeline import Pipeline

    path = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")

    def make(*overrides: str) -> Pipeline:
        return Pipeline.from_yaml(path, overrides, plugins=plugins, device="cpu")

    return make


@pytest.fixture(scope="session")
def tiny(make_tiny: Callable[..., Any]) -> Any:
    """Return a small pipeline that tests only read."""
    return make_tiny()


@pytest.fixture(scope="session")
def picture() -> Any:
    """Return a small picture that is nowhere flat."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8))
