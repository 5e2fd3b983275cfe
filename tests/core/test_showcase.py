"""The picture of scores: every input beside what came of it, else a row per score."""

from typing import Any

import numpy as np
from PIL import Image

from polyjanus.core.evaluation import Sample, Score
from polyjanus.core.showcase import CAPTION, HEIGHT, TITLE, WIDTH, picture


def score(given: str, made: str) -> Score:
    source = None if given == "text" else Sample("seven", given, Image.new("RGB", (32, 32), "red"))
    shown = Image.new("RGB", (32, 32), "blue")
    sample = Sample("seven", made, None if made == "text" else shown, source)
    return Score.of(1, 1, input=given, output=made, judge="nobody", samples=(sample,) * 4)


def colours(sheet: Image.Image, row: int, column: int) -> tuple[int, ...]:
    x, y = TITLE + column * WIDTH + WIDTH // 2, row * (HEIGHT + CAPTION) + CAPTION + HEIGHT // 2
    return tuple(np.asarray(sheet)[y, x])


def test_a_matrix_shows_what_was_given_beside_what_was_made(tiny: Any) -> None:
    senses = ("text", "image")
    found = {f"all.{a} to {b}": score(a, b) for a in senses for b in senses}
    sheet = picture(found, tiny.compiler.modalities)
    assert sheet.size == (TITLE + 3 * WIDTH, 2 * (HEIGHT + CAPTION))
    assert colours(sheet, 0, 0) == (255, 255, 255)
    assert colours(sheet, 0, 2) == colours(sheet, 1, 2) == (0, 0, 255)
    assert colours(sheet, 1, 0) == (255, 0, 0)


def test_a_single_score_is_a_row_of_samples(tiny: Any) -> None:
    sheet = picture({"drawn": score("text", "image")}, tiny.compiler.modalities)
    assert sheet.size == (TITLE + 4 * WIDTH, HEIGHT + CAPTION)
    assert colours(sheet, 0, 3) == (0, 0, 255)
