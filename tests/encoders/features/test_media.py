"""Stored embeddings: of the declared width, finite, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from polyjanus.core.errors import MediaError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.features import FeaturesModalityConfig
from polyjanus.encoders.features.media import FeaturesModality


def modality(**settings: Any) -> FeaturesModality:
    return FeaturesModalityConfig(type="features", width=4, **settings).build(BuildContext(path="clip"))


@pytest.mark.parametrize("suffix", FeaturesModality.suffixes)
def test_what_is_saved_is_loaded(tmp_path: Path, suffix: str) -> None:
    path, example = tmp_path / f"a{suffix}", modality().example()
    modality().save(example, path)
    for source in (path, path.read_bytes(), example, example.values):
        np.testing.assert_array_equal(modality().load(source).values, example.values)


def test_one_embedding_needs_no_axis_and_half_precision_is_read() -> None:
    stored = save({"x": np.ones(4, np.float16)})
    assert modality().load(stored).values.tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((3, 5)), r"expected \(N, 4\)"),
        (np.zeros((9, 4)), "9 embeddings are more than 8"),
        (np.full((1, 4), np.inf), "not finite"),
        (save({"a": np.zeros(4), "b": np.zeros(4)}), "holds 2 tensors"),
        (save({"a": np.zeros(4)})[:-3], "no safetensors"),
        (b"junk", "no safetensors"),
    ],
)
def test_what_is_no_embedding_is_refused(source: Any, words: str) -> None:
    with pytest.raises(MediaError, match=words):
        modality(max_tokens=8).load(source)
