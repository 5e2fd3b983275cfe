"""One picture of what a model was given and what it made of it: samples of scores, as their modalities show them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from polyjanus.core.evaluation import Sample, Score
from polyjanus.core.modality import Modality
from polyjanus.core.scoresheet import axes, groups, is_square

WIDTH, HEIGHT = 208, 104
CAPTION = 18
TITLE = 110
"""Pixels of a cell, of what is written above it, and of the titles of rows."""

Modalities = Mapping[str, Modality[Any, Any]]
Cell = Sample | None


def picture(scores: Mapping[str, Score], modalities: Modalities) -> Image.Image:
    """Return one picture: every input beside what was made of it in each output, else a row of samples per score."""
    rows: list[tuple[str, Sequence[Cell]]] = []
    for group in groups(scores).values():
        rows += _matrix(group) if is_square(group) else [(_direction(score), score.samples) for score in group]
    columns = max((len(cells) for _, cells in rows), default=1)
    sheet = Image.new("RGB", (TITLE + columns * WIDTH, max(len(rows), 1) * (HEIGHT + CAPTION)), "white")
    for number, (title, cells) in enumerate(rows):
        top = number * (HEIGHT + CAPTION)
        _write(sheet, (6, top + CAPTION + HEIGHT // 2), title, anchor="lm")
        for column, cell in enumerate(cells):
            _draw(sheet, (TITLE + column * WIDTH, top), cell, modalities)
    return sheet


def _direction(score: Score) -> str:
    return f"{score.input} to {score.output}"


def _matrix(group: list[Score]) -> list[tuple[str, Sequence[Cell]]]:
    """Return a row per input: the medium that was given, and what came of it in each output."""
    inputs, outputs = axes(group)
    known = {(score.input, score.output): score.samples for score in group}
    rows: list[tuple[str, Sequence[Cell]]] = []
    for number, given in enumerate(inputs):
        answers = [next(iter(known[given, output][number:]), None) for output in outputs]
        read = next((answer.given for answer in answers if answer and answer.given), None)
        rows.append((f"from {given}", [read, *answers]))
    return rows


def _draw(sheet: Image.Image, corner: tuple[int, int], cell: Cell, modalities: Modalities) -> None:
    """Draw a sample and its caption; words are shown alone, where a picture would be."""
    if cell is None:
        return
    left, top = corner
    if cell.modality not in modalities:
        _write(sheet, (left + WIDTH // 2, top + CAPTION + HEIGHT // 2), f"“{cell.caption}”", size=18)
        return
    _write(sheet, (left + WIDTH // 2, top + CAPTION // 2), f"{cell.modality}: {cell.caption}")
    drawn = Image.open(io.BytesIO(modalities[cell.modality].preview(cell.media))).convert("RGB")
    scale = min((WIDTH - 12) / drawn.width, (HEIGHT - 4) / drawn.height)
    size = (max(round(drawn.width * scale), 1), max(round(drawn.height * scale), 1))
    shown = drawn.resize(size, Image.Resampling.LANCZOS)
    sheet.paste(shown, (left + (WIDTH - size[0]) // 2, top + CAPTION + (HEIGHT - size[1]) // 2))


def _write(sheet: Image.Image, place: tuple[int, int], words: str, *, size: int = 11, anchor: str = "mm") -> None:
    font = ImageFont.load_default(size)
    ImageDraw.Draw(sheet).text(place, words[:40], fill="black", anchor=anchor, font=font)
