"""A run as one HTML page that opens offline: losses per head and stage, and what the model wrote along the way."""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from polyjanus.core.errors import UsageError
from polyjanus.core.training.log import LOG
from polyjanus.core.training.samples import SAMPLES

Record = dict[str, Any]
Points = list[tuple[float, float]]
WIDTH, HEIGHT, LEFT, BOTTOM = 720, 260, 64, 28
"""Pixels of a chart, and of its margins."""
COLOURS = ("#1f5aa6", "#c2452d", "#3b8f4c", "#8a54a8", "#b8860b", "#2b8f98", "#7a5c3e", "#d0629a")
MOST_POINTS = 600
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
h2 { margin-top: 2em; border-bottom: 1px solid #ddd } svg { max-width: 100%; height: auto }
table { border-collapse: collapse } td, th { padding: .2em .8em; border-bottom: 1px solid #eee; text-align: left }
.key { display: inline-block; margin-right: 1.5em } .key i { display: inline-block; width: 1em; height: .7em }
.samples td { vertical-align: top } .samples img { max-width: 220px; display: block } small { color: #777 }
"""


def report(run: Path) -> str:
    """Return the page of a run folder; a folder without a log is a UsageError."""
    log = run / LOG
    if not log.is_file():
        raise UsageError(f"{run} is no run: it has no {LOG}", hint="`polyjanus train` prints the folder of its run")
    records = read_lines(log)
    steps = [record for record in records if "stage" in record]
    validations = [record for record in records if "validation" in record]
    blocks = [_summary(run, steps), "<h2>Losses</h2>", *_stage_charts(steps)]
    if validations:
        series = _by_name([(record["total"], record["validation"]) for record in validations])
        blocks += ["<h2>Held-out rows</h2>", chart(series)]
    for title, names in (("Learning rate", ["lr"]), ("Norm of the gradient", ["grad_norm"])):
        series = {name: [(float(r["total"]), float(r[name])) for r in steps if name in r] for name in names}
        blocks += [f"<h2>{title}</h2>", chart(series)]
    blocks.append(_samples(run))
    title = html.escape(f"{run.resolve().parent.name} {run.name}")
    body = "\n".join(blocks)
    return (
        f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>\n{body}\n'
    )


def read_lines(file: Path) -> list[Record]:
    """Return the records of a file of JSON lines; the last one may be cut off."""
    found: list[Record] = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(cast(Record, record))
    return found


def chart(series: Mapping[str, Points]) -> str:
    """Return lines over steps as SVG with a key, their least and greatest values named."""
    known = {name: thinned(points) for name, points in series.items() if points}
    values = [value for points in known.values() for _, value in points]
    if not values:
        return "<p><small>nothing was logged</small></p>"
    low, high = min(values), max(values)
    first = min(step for points in known.values() for step, _ in points)
    last = max(step for points in known.values() for step, _ in points)

    def place(step: float, value: float) -> str:
        across = LEFT + (step - first) / max(last - first, 1) * (WIDTH - LEFT - 8)
        up = 8 + (high - value) / max(high - low, 1e-12) * (HEIGHT - BOTTOM - 16)
        return f"{across:.1f},{up:.1f}"

    lines: list[str] = []
    for name, colour in zip(known, _colours(len(known)), strict=True):
        points = " ".join(place(*point) for point in known[name])
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
    labels = [(4, 16, f"{high:.4g}"), (4, HEIGHT - BOTTOM, f"{low:.4g}")]
    labels += [(LEFT, HEIGHT - 6, f"step {first:g}"), (WIDTH - 90, HEIGHT - 6, f"step {last:g}")]
    texts = [f'<text x="{x}" y="{y}" font-size="12" fill="#777">{words}</text>' for x, y, words in labels]
    key = "".join(
        f'<span class="key"><i style="background:{colour}"></i> {html.escape(name)}: {known[name][-1][1]:.4g}</span>'
        for name, colour in zip(known, _colours(len(known)), strict=True)
    )
    drawing = "".join([*lines, *texts])
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">{drawing}</svg><div>{key}</div>'


def thinned(points: Points) -> Points:
    """Return at most some hundred points: means of neighbours."""
    share = -(-len(points) // MOST_POINTS)
    groups = [points[start : start + share] for start in range(0, len(points), share)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _by_name(records: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[str, Points]:
    series: dict[str, Points] = {}
    for total, values in records:
        for name, value in values.items():
            if isinstance(value, int | float):
                series.setdefault(name, []).append((float(total), float(value)))
    return series


def _stage_charts(steps: Sequence[Record]) -> list[str]:
    """Return one chart of losses per stage, in the order in which they ran."""
    stages = list(dict.fromkeys(str(record["stage"]) for record in steps))
    blocks: list[str] = []
    for stage in stages:
        mine = [record for record in steps if record["stage"] == stage]
        losses = [(int(r["total"]), {k: v for k, v in r.items() if k.endswith("loss")}) for r in mine]
        blocks += [f"<h3>{html.escape(stage)}</h3>", chart(_by_name(losses))]
    return blocks


def _summary(run: Path, steps: Sequence[Record]) -> str:
    seconds = sum(float(record.get("seconds", 0)) for record in steps)
    positions = sum(int(record.get("positions", 0)) for record in steps)
    rows = [("steps", f"{len(steps):,}"), ("time in steps", f"{seconds / 60:.1f} min")]
    rows += [("positions", f"{positions:,} ({positions / max(seconds, 1e-9):,.0f} per second)")]
    rows += [(words, value) for words, value in _costs(steps, max(seconds, 1e-9)) if value]
    for name, words in (("bad_rows.jsonl", "bad rows"), ("nonfinite.jsonl", "steps that were not finite")):
        if (run / name).is_file():
            rows.append((words, str(len(read_lines(run / name)))))
    cells = "".join(f"<tr><th>{words}</th><td>{value}</td></tr>" for words, value in rows)
    return f"<table>{cells}</table>"


def _costs(steps: Sequence[Record], seconds: float) -> list[tuple[str, str]]:
    """Return positions per second by modality, and how well the device was used."""
    tokens: dict[str, int] = {}
    for record in steps:
        for name, count in cast("dict[str, int]", record.get("tokens", {})).items():
            tokens[name] = tokens.get(name, 0) + count
    measured = [record for record in steps if "mfu" in record]
    memory = max((int(record["memory"]) for record in measured), default=0)
    return [
        ("positions per second", ", ".join(f"{name} {count / seconds:,.0f}" for name, count in tokens.items())),
        ("padding", f"{_mean(measured, 'padding'):.1%}" if measured else ""),
        ("model FLOPs utilisation", f"{_mean(measured, 'mfu'):.1%}" if measured else ""),
        ("peak memory", f"{memory / 1e9:.2f} GB" if memory else ""),
    ]


def _mean(records: Sequence[Record], name: str) -> float:
    return sum(float(record[name]) for record in records) / len(records)


def _samples(run: Path) -> str:
    """Return what was written on the way: a row per step, a column per prompt."""
    file = run / SAMPLES / "samples.jsonl"
    records = read_lines(file) if file.is_file() else []
    if not records:
        return ""
    prompts = list(dict.fromkeys(str(record["prompt"]) for record in records))
    totals = sorted({int(record["total"]) for record in records})
    head = "".join(f"<th>{html.escape(prompt)}</th>" for prompt in prompts)
    rows: list[str] = []
    for total in totals:
        cells = [
            "".join(
                _part(run, part)
                for r in records
                if r["total"] == total and r["prompt"] == prompt
                for part in r["parts"]
            )
            for prompt in prompts
        ]
        rows.append(f"<tr><th>{total}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f'<h2>Samples</h2><table class="samples"><tr><th>step</th>{head}</tr>{"".join(rows)}</table>'


def _part(run: Path, part: Mapping[str, Any]) -> str:
    if "text" in part:
        return f"<p>{html.escape(str(part['text']))}</p>"
    preview = run / SAMPLES / str(part["preview"])
    if not preview.is_file():
        return "<p><small>its picture is gone</small></p>"
    words = html.escape(str(part["type"]))
    return f'<img alt="{words}" src="data:image/png;base64,{b64encode(preview.read_bytes()).decode()}">'
