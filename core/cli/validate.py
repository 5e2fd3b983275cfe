"""`polyjanus validate`: everything that is wrong in pipeline files, before anything is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.common import Session, echo, echo_json, log, split_overrides
from polyjanus.core.errors import ConfigError, Fault, UsageError, WiringError

if TYPE_CHECKING:
    from polyjanus.core.config.reading import Loaded

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(|[KMGT]i?)B?", re.IGNORECASE)
_PARTS = ("weights", "gradients", "optimizer", "activations", "gathered")
TOO_LARGE = 1


@dataclass
class _Report:
    """What was found out about one file."""

    file: str
    faults: list[Fault] = field(default_factory=list[Fault])
    components: list[str] = field(default_factory=list[str])
    stages: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    unseen: str = ""
    """What was not looked at, and what does."""
    memory: str | None = None
    sizes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "valid": not self.faults,
            "faults": [asdict(fault) for fault in self.faults],
            "components": self.components,
            "stages": self.stages,
            "notes": self.notes,
            "memory": self.memory,
            "sizes": self.sizes,
        }


@click.command(name="validate")
@click.argument("arguments", nargs=-1, required=True, metavar="FILE... [KEY=VALUE]...")
@click.option("--wiring", is_flag=True, help="Also check that the parts fit each other; reads no weights.")
@click.option("--memory", metavar="SIZE", help="Also estimate memory against a limit such as 24GB.")
@click.option("--devices", type=click.IntRange(1), default=1, help="How many devices train together, for --memory.")
@click.option("--json", "is_json", is_flag=True, help="Print a list of reports as JSON.")
@click.pass_obj
def command(
    session: Session, arguments: tuple[str, ...], wiring: bool, memory: str | None, devices: int, is_json: bool
) -> int:
    """Check pipeline files and say everything that is wrong, each with its line.

    Exits with 2 where something is wrong, and with 1 where a stage needs more than --memory.
    """
    limit = read_size(memory) if memory else None
    files, overrides = split_overrides(arguments)
    if not files:
        raise UsageError("validate needs a file", hint="polyjanus validate pipeline.yaml")
    reports = [_check(session, file, overrides, wiring or memory is not None, limit, devices) for file in files]
    if is_json:
        echo_json([report.as_json() for report in reports])
    else:
        _print(reports)
    if any(report.faults for report in reports):
        return 2
    return TOO_LARGE if any(not size["fits"] for report in reports for size in report.sizes) else 0


def _print(reports: list[_Report]) -> None:
    for report in reports:
        if report.faults:
            log(report.message)
            continue
        stages = f", stages: {', '.join(report.stages)}" if report.stages else ""
        echo(f"{report.file}: valid; {len(report.components)} components{stages}{report.unseen}")
        for note in report.notes:
            echo(f"note: {note}")
        if report.memory:
            echo(report.memory)


def _check(session: Session, file: str, overrides: list[str], wiring: bool, limit: int | None, devices: int) -> _Report:
    report = _Report(file)
    try:
        loaded = session.read(file, overrides)
    except ConfigError as error:
        report.faults, report.message = list(error.faults), str(error)
        return report
    report.components = loaded.config.component_paths()
    training = loaded.config.training
    report.stages = [stage.name for stage in training.stages] if training else []
    report.notes = list(_missing(loaded))
    unseen = [] if wiring else ["how parts fit and what is in 'architecture' (--wiring)"]
    unseen += ["rows (polyjanus data check)"] if loaded.config.data else []
    report.unseen = f"; not looked at: {', '.join(unseen)}" if unseen else ""
    if wiring:
        _check_wiring(session, loaded, report, limit, devices)
    return report


def _missing(loaded: Loaded) -> Iterator[str]:
    """Yield where a data set or an evaluation names a file or a folder that is not there."""
    from polyjanus.core.data.missing import missing_files

    document = loaded.document
    for place, source in missing_files(loaded.config, Path(document.file).absolute().parent):
        yield f"{document.origin(place)}: {'.'.join(place)}: there is no {source!r} yet"


def _check_wiring(session: Session, loaded: Loaded, report: _Report, limit: int | None, devices: int) -> None:
    from polyjanus.core.model.wiring import check_wiring

    wiring = check_wiring(loaded, session.registries())
    report.faults = [wiring_fault(loaded, fault) for fault in wiring.faults]
    if report.faults:
        report.message = str(ConfigError(report.faults))
    else:
        report.memory = wiring.memory_report(limit, devices)
        if limit is None:
            return
        for stage in wiring.stages(devices):
            parts = {name: getattr(stage, name) for name in _PARTS}
            report.sizes.append({"stage": stage.name, "bytes": stage.total, **parts, "fits": stage.total <= limit})


def wiring_fault(loaded: Loaded, error: WiringError) -> Fault:
    """Return a wiring error as a fault at its first component, which names the lines of the others too."""
    document = loaded.document
    path = error.paths[0] if error.paths else ""
    origin = document.origin(document.place(path))
    others = [f"{other} is at {document.origin(document.place(other))}" for other in error.paths[1:]]
    message = error.message + (f" ({'; '.join(others)})" if others else "")
    return Fault(origin.file, origin.line, path, f"{message}; {error.hint}" if error.hint else message)


def read_size(text: str) -> int:
    """Return the bytes in a size such as 24GB, 512MiB or 80G."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no size", hint="write it like 24GB or 512MiB")
    unit = match[2].upper()
    base = 1024 if unit.endswith("I") else 1000
    return int(float(match[1]) * base ** (" KMGT".index(unit[0]) if unit else 0))
