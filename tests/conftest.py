"""What tests share: small pipelines built from YAML, without weights from anywhere."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

COMPONENTS: dict[str, dict[str, Any]] = YAML(typ="safe").load(Path(__file__).with_name("components.yaml"))

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests first: where there are several workers, none waits at the end for what one alone is still at."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def plugins() -> Any:
    from polyjanus.core.manager import load_plugins

    loaded = load_plugins(third_party=False)
    assert not loaded.broken
    return loaded


@pytest.fixture(scope="session")
def tiny_text() -> str:
    """Return the YAML of the small pipeline."""
    return TINY


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


@cache
def _plugins() -> Any:
    from polyjanus.core.manager import load_plugins

    return load_plugins(third_party=False)


def _built_here(kind: str) -> list[str]:
    """Return the names of the components whose libraries are installed; braindecode's is not, where it need not be."""
    entries = [entry.settings for entry in _plugins().registries.of(kind)]
    return [each.type_name() for each in entries if all(find_spec(module) for module in each.requires)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Call a test that takes a `modality_type` or a `component` once for each that is registered."""
    if "modality_type" in metafunc.fixturenames:
        metafunc.parametrize("modality_type", _built_here("modality"))
    if "component" in metafunc.fixturenames:
        kinds = ("encoder", "codec", "adaptor", "head", "layout", "sampler")
        every = [(kind, name) for kind in kinds for name in _built_here(kind)]
        metafunc.parametrize("component", every, ids=[f"{kind}-{name}" for kind, name in every])


@pytest.fixture(scope="session")
def pipeline_with(plugins: Any) -> Callable[..., Any]:
    """Return a function from kind and type to a small pipeline around that component, for a modality `x` of its own."""
    from polyjanus.core.testing.bench import Bench

    return Bench(plugins, COMPONENTS).build


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of speech in which every utterance is a hum of its digit, in folds as the real one."""
    import numpy as np

    from polyjanus.examples.quintet import sounds
    from polyjanus.examples.quintet.world import CYCLE, FOLDS

    numbers = np.arange(CYCLE * FOLDS)
    values = np.stack([numbers // step % size for step, size in ((1, 10), (10, 2), (20, 2))], axis=1)
    times = np.arange(round(sounds.RATE * sounds.SECONDS)) / sounds.RATE
    hums = np.sin(2 * np.pi * (300 + 100 * values[:, :1]) * times) * (times < 0.5)
    arrays = {"train.samples": (hums * 20000).astype(np.int16), "train.values": values}
    file = tmp_path_factory.mktemp("quintet") / "speech.npz"
    np.savez(file, allow_pickle=False, **arrays)
    return file
