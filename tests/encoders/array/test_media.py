"""Arrays: of the declared shape, finite, in physical units, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from polyjanus.core.errors import MediaError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.array import ArrayConfig
from polyjanus.encoders.array.media import ArrayModality, GridArray


def modality(shape: tuple[int, int, int] = (2, 3, 4), **settings: Any) -> ArrayModality:
    return ArrayConfig(type="array", shape=shape, **settings).build(BuildContext(path="radar"))


@pytest.mark.parametrize("suffix", ArrayModality.suffixes)
def test_what_is_saved_is_loaded(tmp_path: Path, suffix: str) -> None:
    path, example = tmp_path / f"a{suffix}", modality().example()
    modality().save(example, path)
    for source in (path, str(path), path.read_bytes(), example, example.values.astype(np.float64)):
        np.testing.assert_array_equal(modality().load(source).values, example.values)


def test_axes_of_one_may_be_left_out() -> None:
    assert modality((1, 3, 4)).load(np.zeros((3, 4))).values.shape == (1, 3, 4)
    assert modality((1, 1, 4)).load(np.zeros(4, np.int16)).values.shape == (1, 1, 4)


@pytest.mark.parametrize("shape", [(2, 3, 5), (3, 4), (1, 2, 3, 4), (24,)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MediaError, match="declares"):
        modality().load(np.zeros(shape))


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.npz"
    np.savez(path, a=np.zeros(3), b=np.zeros(3))
    for source, words in ((path, "holds 2 arrays"), (b"hello", "no NumPy file"), ("none.npy", "does not exist")):
        with pytest.raises(MediaError, match=words):
            modality().load(source)
    with pytest.raises(MediaError, match="'start'"):
        modality().load(np.zeros((2, 3, 4)), start=1.0)
    with pytest.raises(MediaError, match=r"\.png"):
        modality().save(modality().example(), tmp_path / "a.png")


def test_a_preview_shows_the_channels_under_each_other() -> None:
    import io

    values = np.zeros((2, 3, 4), np.float32)
    values[1] = 1
    picture = np.asarray(Image.open(io.BytesIO(modality(low=0.0).preview(GridArray(values)))))
    half = len(picture) // 2
    assert picture[:half].max() == 0 and picture[half:].min() == 255
