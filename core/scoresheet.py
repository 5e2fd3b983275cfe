"""Scores for people: lines of text, tables of inputs by outputs, and one HTML page with samples that opens offline."""

from __future__ import annotations

import html
import io
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from PIL import Image

from polyjanus.core.evaluation import Sample, Score
from polyjanus.core.modality import Modality
from polyjanus.core.reporting import STYLE

Scores = Mapping[str, Score]
SQUARE = 4
"""Scores from which those of every input with every output are shown as a table."""
CELL = 9
"""Characters of a table's cell."""
SHOWN = 3
"""Samples of a score on a page, at most."""
SIDE = 180
"""Pixels of a sample on a page, at most."""


def listed(scores: Scores) -> str:
    """Return scores as lines of text, those of every input with every output as a table."""
    blocks: list[str] = []
    for name, group in groups(scores).items():
        blocks.append(_table(name, group) if is_square(group) else "\n".join(map(_line, group)))
    return "\n".join(blocks)


def groups(scores: Scores) -> dict[str, list[Score]]:
    """Return the scores of each evaluation, in order; one that gives many names them `evaluation.part`."""
    found: dict[str, list[Score]] = {}
    for name, score in scores.items():
        found.setdefault(name.partition(".")[0], []).append(score)
    return found


def is_square(group: list[Score]) -> bool:
    """Tell whether a group has one score for every input with every output."""
    inputs, outputs = axes(group)
    return len(group) >= SQUARE and len({(s.input, s.output) for s in group}) == len(group) == len(inputs) * len(
        outputs
    )


def axes(group: list[Score]) -> tuple[list[str], list[str]]:
    """Return the inputs and the outputs of scores, in order."""
    return list(dict.fromkeys(s.input for s in group)), list(dict.fromkeys(s.output for s in group))


def _line(score: Score) -> str:
    interval = f"{score.score:6.1%}  ({score.low:.1%} to {score.high:.1%}, n = {score.n})"
    lines = [f"{score.input} → {score.output}: {interval}  by {score.judge}"]
    lines += [f"    {name}: {value:.3f}" for name, value in score.details.items()]
    for name, control in score.controls.items():
        lines.append(f"    control, {name}: {control.score:6.1%}  ({control.low:.1%} to {control.high:.1%})")
    if not score.is_above_controls:
        lines.append("    not above control")
    return "\n".join(lines)


def _table(name: str, group: list[Score]) -> str:
    inputs, outputs = axes(group)
    known = {(score.input, score.output): score for score in group}
    wide = max(map(len, (*inputs, name))) + 2
    cells = max(CELL, *(len(output) + 2 for output in outputs))
    lines = [name.ljust(wide) + "".join(output.rjust(cells) for output in outputs)]
    for given in inputs:
        found = (known[given, output] for output in outputs)
        marks = ((f"{s.score:.1%}" + ("" if s.is_above_controls else "!")).rjust(cells) for s in found)
        lines.append(given.ljust(wide) + "".join(marks))
    lines += [f"    {output} by {known[inputs[0], output].judge}" for output in outputs]
    far = max(max(score.high - score.score, score.score - score.low) for score in group)
    lines.append(f"    rows are inputs, n = {group[0].n} each; 95 % intervals reach {far:.1%} at most")
    if not all(score.is_above_controls for score in group):
        lines.append("    !: not above control")
    return "\n".join(lines)


def page(scores: Scores, modalities: Mapping[str, Modality[Any, Any]], title: str) -> str:
    """Return scores with intervals, judges and samples as one HTML page."""
    blocks = [
        f"<h2>{html.escape(name)}</h2>{_html_table(group) if is_square(group) else ''}{_html_rows(group, modalities)}"
        for name, group in groups(scores).items()
    ]
    name = html.escape(title)
    head = f'<!doctype html><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style><h1>{name}</h1>'
    return head + "<p>Scores with 95 % intervals (Wilson).</p>\n" + "\n".join(blocks) + "\n"


def _html_table(group: list[Score]) -> str:
    inputs, outputs = axes(group)
    known = {(score.input, score.output): score for score in group}
    head = "".join(f"<th>{html.escape(output)}</th>" for output in outputs)
    rows: list[str] = []
    for given in inputs:
        cells = "".join(f"<td>{_cell(known[given, output])}</td>" for output in outputs)
        rows.append(f"<tr><th>{html.escape(given)}</th>{cells}</tr>")
    return f"<table><tr><th>from, to</th>{head}</tr>{''.join(rows)}</table>"


def _cell(score: Score) -> str:
    return f"{score.score:.1%}<br><small>{score.low:.1%} to {score.high:.1%}</small>"


def _html_rows(group: list[Score], modalities: Mapping[str, Modality[Any, Any]]) -> str:
    rows: list[str] = []
    for score in group:
        details = [f"{name} {value:.3f}" for name, value in score.details.items()]
        details += [f"control, {name}: {control.score:.1%}" for name, control in score.controls.items()]
        words = html.escape("; ".join([f"n = {score.n}", f"judge: {score.judge}", *details]))
        shown = "".join(_sample(sample, modalities) for sample in score.samples[:SHOWN])
        asked = html.escape(f"{score.input} → {score.output}")
        rows.append(f"<tr><th>{asked}</th><td>{_cell(score)}</td><td><small>{words}</small><br>{shown}</td></tr>")
    return f'<details open><summary>Samples</summary><table class="samples">{"".join(rows)}</table></details>'


def _sample(sample: Sample, modalities: Mapping[str, Modality[Any, Any]]) -> str:
    shown = [each for each in (sample.given, sample) if each is not None]
    figures = "→".join(_figure(each, modalities) for each in shown)
    return f'<span style="display:inline-block;margin:4px 12px 4px 0">{figures}</span>'


def _figure(sample: Sample, modalities: Mapping[str, Modality[Any, Any]]) -> str:
    caption, picture = html.escape(sample.caption), ""
    if sample.modality in modalities:
        data = b64encode(_small(modalities[sample.modality].preview(sample.media))).decode()
        picture = f'<img alt="{caption}" src="data:image/webp;base64,{data}">'
    return (
        f'<figure style="display:inline-block;margin:4px">{picture}'
        f"<figcaption><small>{caption}</small></figcaption></figure>"
    )


def _small(png: bytes) -> bytes:
    """Return a picture as WebP of the size that a page shows."""
    written = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        shown = picture.convert("RGB")
        shown.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        shown.save(written, "WEBP", quality=70)
    return written.getvalue()
