"""A pipeline cut down to the inputs and outputs of a run."""

from collections.abc import Callable

import pytest

from polyjanus.core.config.narrowing import narrow
from polyjanus.core.config.reading import Loaded

Read = Callable[..., Loaded]


@pytest.mark.parametrize(
    ("inputs", "outputs", "left"),
    [
        (None, None, {"image.understand", "image.generate", "imu.understand"}),
        ([], ["image"], {"image.generate"}),
        ([], ["text"], set[str]()),
        (["image"], ["text"], {"image.understand"}),
        (["imu"], ["text"], {"imu.understand", "image.generate"}),
        (["nothing"], ["nowhere"], set[str]()),
    ],
)
def test_what_is_not_needed_is_left_out_but_what_is_shared_stays(
    read: Read, rich: str, inputs: list[str] | None, outputs: list[str] | None, left: set[str]
) -> None:
    config = read(rich).config
    found = {
        f"{name}.{pathway}"
        for name, modality in narrow(config, inputs, outputs).modalities.items()
        for pathway in ("understand", "generate")
        if getattr(modality, pathway) is not None
    }
    assert found == left
    assert narrow(config, None, None) == config


def test_modalities_stay_so_that_a_missing_part_is_told_by_name(read: Read, rich: str) -> None:
    assert list(narrow(read(rich).config, [], []).modalities) == ["image", "imu"]
