"""Items that are lines of text: what is no line of theirs is refused with its place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyjanus.core.errors import MediaError
from polyjanus.encoders.shared.lines import Lines, LinesModality, LinesSettings
from polyjanus.encoders.shared.networks import LinesEncoder


class Numbers(LinesModality):
    suffixes = (".num",)

    def read_line(self, line: str) -> float:
        return int(line)

    def write_line(self, value: Any) -> str:
        return str(value)

    def examples(self) -> list[Lines]:
        return [Lines(np.array([5, 9, 2000])), Lines(np.array([7]))]


class NumbersConfig(LinesSettings):
    type: str = "num"


@pytest.fixture
def numbers() -> Numbers:
    return Numbers("num", NumbersConfig(type="num", max_length=4))


def test_a_file_is_its_values(numbers: Numbers, tmp_path: Path) -> None:
    numbers.save(numbers.example(), tmp_path / "a.num")
    assert numbers.load(tmp_path / "a.num").values.tolist() == [5, 9, 2000]
    assert numbers.load(b" 1 \r\n2").values.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1\nx\n", "num:2: invalid literal for int"),
        (b"1\n\n2\n", "num:2: invalid literal"),
        (b"1\n" * 5, "5 lines; there may be 1 to 4"),
        (b"1\n\xff", "byte 2 is no UTF-8"),
        (b"", "0 bytes"),
        (3, "a int holds no lines"),
    ],
)
def test_what_is_no_line_is_refused_with_its_place(numbers: Numbers, content: Any, words: str) -> None:
    with pytest.raises(MediaError, match=words):
        numbers.load(content)


def test_noise_has_values_of_the_examples_and_large_values_are_shown_small(numbers: Numbers) -> None:
    drawn = numbers.noise(numbers.example(), np.random.default_rng(0))
    assert len(drawn.values) == 3 and set(drawn.values.tolist()) <= {5, 7, 9, 2000}
    assert len(numbers.preview(numbers.example())) < 2000


def test_a_network_over_lines_takes_items_of_any_length(numbers: Numbers) -> None:
    encoder = LinesEncoder(torch.nn.Embedding(2001, 6), 6)
    items = [encoder.prepare(item) for item in numbers.examples()]
    assert encoder(items).lengths == (3, 1) == tuple(encoder.num_tokens(item)[0] for item in items)
