"""Comparing pipelines: the same seeds for every arm, differences paired by seed, with their intervals."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from polyjanus.core.errors import UsageError
from polyjanus.core.reporting import COLOURS, STYLE

T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t that 95 % lie within, for 1 to 15 degrees of freedom."""
T_MANY = 2.13
"""For more: a little too wide."""
HELD_OUT = "held out, "
"""Begins the names of losses; all other metrics are shares, which are shown in percent."""
WIDTH, ROW, LEFT = 760, 26, 300
"""Pixels of a chart: all of it, one arm, the names on the left."""

Results = Mapping[str, Mapping[str, Sequence[float]]]
"""By metric and arm, a value per seed, in the order of the seeds."""


@dataclass(frozen=True)
class Arm:
    """One pipeline of a comparison."""

    name: str
    yaml: Path
    overrides: tuple[str, ...]

    def overrides_of(self, seed: int) -> list[str]:
        """Return the settings of its run with a seed."""
        return [*self.overrides, f"training.seed={seed}"]

    @property
    def folder(self) -> str:
        """Return its name as that of a folder."""
        return re.sub(r"[^A-Za-z0-9._=-]+", "_", self.name)[:120]


@dataclass(frozen=True)
class Difference:
    """By how much an arm differs from the first one: the mean over seeds, and its 95 % interval (paired, Student)."""

    mean: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Tell whether there is an interval, which needs seeds that differ, and it leaves out zero."""
        return self.low < self.high and (self.low > 0 or self.high < 0)


def arms_of(files: Sequence[Path], settings: Sequence[str]) -> list[Arm]:
    """Return every file with every choice of `path=first,second`; a setting without a choice goes to all."""
    fixed, axes = list[str](), list[tuple[str, list[str]]]()
    for setting in settings:
        path, _, text = setting.partition("=")
        values = split_choices(text)
        if len(values) > 1:
            axes.append((path, values))
        else:
            fixed.append(setting)
    arms: list[Arm] = []
    for file in files:
        for chosen in product(*(values for _, values in axes)):
            words = [f"{path}={value}" for (path, _), value in zip(axes, chosen, strict=True)]
            stem = [file.stem] if len(files) > 1 or not axes else []
            arms.append(Arm(", ".join([*stem, *words]), file, (*fixed, *words)))
    if len({arm.folder for arm in arms}) < max(len(arms), 2):
        raise UsageError(
            "a sweep compares two arms or more, each of its own name",
            hint="name several files, or a choice such as image.understand.encoder=siglip,codec_features",
        )
    return arms


def split_choices(text: str) -> list[str]:
    """Return what stands between commas that are inside no bracket."""
    pieces, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in ")}]")
        if letter == "," and not depth:
            pieces.append("")
        else:
            pieces[-1] += letter
    return [piece.strip() for piece in pieces]


def difference(first: Sequence[float], other: Sequence[float]) -> Difference:
    """Return by how much `other` differs from `first`, value by value; one pair alone has no interval."""
    pairs = [b - a for a, b in zip(first, other, strict=True)]
    middle = mean(pairs)
    if len(pairs) < 2:
        return Difference(middle, float("-inf"), float("inf"))
    freedom = len(pairs) - 1
    reach = (T_95[freedom - 1] if freedom <= len(T_95) else T_MANY) * stdev(pairs) / sqrt(len(pairs))
    return Difference(middle, middle - reach, middle + reach)


def lines_of(results: Results) -> list[str]:
    """Return a table for a terminal: per metric, each arm's mean, its spread over seeds, and how it differs."""
    lines: list[str] = []
    for metric, arms in results.items():
        lines.append(metric)
        first = next(iter(arms))
        wide = max(map(len, arms))
        for name, values in arms.items():
            words = f"  {name:{wide}}  {shown(metric, mean(values)):>9}  ({_spread(metric, values)})"
            lines.append(words if name == first else f"{words}  {told(metric, difference(arms[first], values))}")
    return lines


def _spread(metric: str, values: Sequence[float]) -> str:
    if len(values) == 1:
        return "1 seed"
    return f"{shown(metric, min(values))} to {shown(metric, max(values))}, {len(values)} seeds"


def shown(metric: str, value: float, sign: str = "") -> str:
    """Return a value of a metric as text: a share in percent, a loss with four digits."""
    return format(value, f"{sign}.4f" if metric.startswith(HELD_OUT) else f"{sign}.1%")


def told(metric: str, found: Difference) -> str:
    """Return a difference of a metric in words."""
    middle, low, high = (shown(metric, value, "+") for value in (found.mean, found.low, found.high))
    if found.low == float("-inf"):
        return f"{middle}, one seed has no interval"
    if found.low == found.high:
        return f"{middle}, the same with every seed: no interval"
    return f"{middle} [{low}, {high}]{'' if found.is_clear else ', not clear'}"


def page(title: str, results: Results, notes: Sequence[str]) -> str:
    """Return the comparison as an HTML page that opens offline: a chart and a table per metric."""
    blocks = [f"<p>{html.escape(note)}</p>" for note in notes]
    for metric, arms in results.items():
        first = next(iter(arms))
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{shown(metric, mean(values))}</td>"
            f"<td>{', '.join(shown(metric, value) for value in values)}</td>"
            f"<td>{'' if name == first else told(metric, difference(arms[first], values))}</td></tr>"
            for name, values in arms.items()
        )
        head = "<tr><th>arm</th><th>mean</th><th>by seed</th><th>beside the first, 95 % interval</th></tr>"
        blocks.append(f"<h2>{html.escape(metric)}</h2>{_dots(arms)}<table>{head}{rows}</table>")
    body = "\n".join(blocks)
    name = html.escape(title)
    return f'<!doctype html><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style><h1>{name}</h1>\n{body}\n'


def _dots(arms: Mapping[str, Sequence[float]]) -> str:
    """Return a dot per seed and a line at the mean, one row per arm, as SVG."""
    every = [value for values in arms.values() for value in values]
    low, high = min(every), max(every)

    def across(value: float) -> float:
        return LEFT + (value - low) / max(high - low, 1e-12) * (WIDTH - LEFT - 40) + 10

    marks: list[str] = []
    for row, (name, values) in enumerate(arms.items()):
        middle, colour = row * ROW + ROW // 2, COLOURS[row % len(COLOURS)]
        marks.append(f'<text x="4" y="{middle + 4}" font-size="12">{html.escape(name[-46:])}</text>')
        marks += [f'<circle cx="{across(v):.1f}" cy="{middle}" r="4" fill="{colour}" opacity=".6"/>' for v in values]
        x = across(mean(values))
        marks.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{middle - 9}" y2="{middle + 9}" stroke="{colour}"/>')
    foot = len(arms) * ROW + 14
    for value in (low, high):
        marks.append(f'<text x="{across(value) - 14:.1f}" y="{foot}" font-size="12" fill="#777">{value:.4g}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {foot + 8}" width="{WIDTH}" height="{foot + 8}">{"".join(marks)}</svg>'
