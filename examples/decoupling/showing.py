"""What came of the ablation: a table, a page with a chart per score, and one chart for a README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from polyjanus.core.reporting import COLOURS
from polyjanus.core.sweeping import difference, page, shown, told
from polyjanus.examples.decoupling.arms import ARMS

COLUMNS: Mapping[str, str] = {"read": "read", "write.guided": "written", "write.unguided": "written, unguided"}
"""The scores of a table, and how they are headed."""
PANEL, ROW, LEFT, TOP = 300, 24, 250, 34
"""Pixels of a chart: one panel across, one arm down, the names on the left, the heading above."""

Values = Mapping[str, Mapping[str, Sequence[float]]]
"""By score and arm, a value per seed."""
Sizes = Mapping[str, tuple[int, int]]
"""By arm, the parameters that it uses, and how many of these it trains."""


def label(arm: str) -> str:
    """Return an arm's name with what it is."""
    return f"{arm}: {ARMS[arm].title}"


def table(values: Values, sizes: Sizes) -> list[str]:
    """Return a table in Markdown: means over seeds, and by how much arms differ from the first, with intervals."""
    names = [name for name in COLUMNS if name in values]
    lines = [
        f"| arm | {' | '.join(COLUMNS[name] for name in names)} | parameters | trained |",
        f"|---|{'---|' * (len(names) + 2)}",
    ]
    for arm in ARMS:
        cells = [_cell(values[name], arm) for name in names]
        total, trained = sizes[arm]
        lines.append(f"| {label(arm)} | {' | '.join(cells)} | {total / 1e6:.2f} M | {trained / 1e6:.2f} M |")
    return lines


def _cell(arms: Mapping[str, Sequence[float]], arm: str) -> str:
    if arm not in arms:
        return ""
    value, first = shown("", mean(arms[arm])), next(iter(ARMS))
    if arm == first or len(arms[arm]) < 2:
        return value
    found = difference(arms[first], arms[arm])
    low, middle, high = (f"{100 * each:+.1f}" for each in (found.low, found.mean, found.high))
    return f"{value} ({middle} [{low}, {high}])"


def report(results: Mapping[str, Values], notes: Sequence[str]) -> str:
    """Return a page that opens offline: per sense and score a chart and a table."""
    named = {
        f"{sense}, {COLUMNS[name]}": {label(arm): arms[arm] for arm in ARMS if arm in arms}
        for sense, scores in results.items()
        for name, arms in scores.items()
        if name in COLUMNS
    }
    return page("Should reading and writing share an encoder?", named, notes)


def chart(results: Mapping[str, Values]) -> str:
    """Return one SVG: arms below each other, a panel for reading and one for writing of every sense."""
    panels = [
        (f"{sense}: {COLUMNS[name]}", scores[name])
        for sense, scores in results.items()
        for name in ("read", "write.guided")
        if name in scores
    ]
    wide, high = LEFT + PANEL * len(panels), TOP + ROW * len(ARMS) + 30
    marks = [f'<rect width="{wide}" height="{high}" fill="#fff"/>']
    for row, arm in enumerate(ARMS):
        y = TOP + ROW * row + ROW // 2
        marks.append(_text(8, y + 4, label(arm)))
    for column, (title, arms) in enumerate(panels):
        marks += _panel(LEFT + PANEL * column, title, arms)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}"'
        f' font-family="sans-serif" font-size="12">{"".join(marks)}</svg>\n'
    )


def _panel(left: int, title: str, arms: Mapping[str, Sequence[float]]) -> list[str]:
    """Return a dot per seed and a line at the mean, from 0 to 100 %."""
    foot = TOP + ROW * len(ARMS)
    marks = [_text(left, 18, title, weight="bold")]
    for tick in (0, 50, 100):
        x = left + tick / 100 * (PANEL - 40)
        marks.append(f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{foot}" stroke="#ddd"/>')
        marks.append(_text(x - 8, foot + 16, f"{tick} %", fill="#777"))
    for row, arm in enumerate(ARMS):
        y, colour = TOP + ROW * row + ROW // 2, COLOURS[row % len(COLOURS)]
        for value in arms.get(arm, ()):
            x = left + value * (PANEL - 40)
            marks.append(f'<circle cx="{x:.1f}" cy="{y}" r="4" fill="{colour}" opacity=".6"/>')
        if arm in arms:
            x = left + mean(arms[arm]) * (PANEL - 40)
            marks.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9}" y2="{y + 9}" stroke="{colour}"/>')
    return marks


def _text(x: float, y: float, words: str, **style: Any) -> str:
    more = "".join(f' font-{key}="{value}"' if key == "weight" else f' {key}="{value}"' for key, value in style.items())
    return f'<text x="{x}" y="{y}"{more}>{words}</text>'


def lines_of(sense: str, values: Values) -> list[str]:
    """Return for a terminal what is clear about the differences of a sense."""
    first = next(iter(ARMS))
    return [
        f"{sense}, {COLUMNS[name]}: {label(arm)} beside {label(first)}: {told('', difference(arms[first], arms[arm]))}"
        for name, arms in values.items()
        if name in COLUMNS and first in arms
        for arm in arms
        if arm in ARMS and arm != first
    ]
