"""Sources built from settings as a YAML gives them, and their rows read as messages."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyjanus.core.data.rows import Source
from polyjanus.core.settings import BuildContext


@pytest.fixture
def make(plugins: Any, tmp_path: Path) -> Callable[..., Source]:
    """Return a function from type and settings to a source whose paths start at `tmp_path`."""

    def built(kind: str, **block: Any) -> Source:
        settings = plugins.registries.sources.get(kind)
        read = settings.model_validate({"type": kind, **block}, context={"registries": plugins.registries})
        return read.build(BuildContext(path="data.x", folder=tmp_path))

    return built


@pytest.fixture
def said() -> Callable[..., list[Any]]:
    """Return a function from a source and a row to what user and assistant say."""

    def contents(source: Source, index: int, seed: int = 0) -> list[Any]:
        row = source.row(index, np.random.default_rng(seed))
        return [message["content"] for message in row["messages"]]

    return contents


@pytest.fixture
def png(picture: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def write(tmp_path: Path, png: bytes) -> Callable[..., Path]:
    """Write a file: bytes, text, a picture where nothing is given, or JSON."""

    def written(name: str, content: Any = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None and not isinstance(content, str | bytes):
            content = json.dumps(content)
        path.write_bytes(png if content is None else content.encode() if isinstance(content, str) else content)
        return path

    return written
