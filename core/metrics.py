"""The evaluations of a pipeline, built before they are needed; an error names `evaluation.NAME`. No torch in here."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.errors import EvaluationError, PolyjanusError, UsageError, suggest
from polyjanus.core.registry import home_of
from polyjanus.core.settings import BuildContext, MetricConfig


def build_metrics(config: PipelineConfig, folder: Path, only: Sequence[str] = ()) -> dict[str, Any]:
    """Return the evaluations by name, all or those in `only`; relative paths start at `folder`."""
    for name in only:
        if name not in config.evaluation:
            raise UsageError(f"no evaluation {name!r}{suggest(name, config.evaluation, noun='in the YAML')}")
    return {
        name: _build(name, settings, folder) for name, settings in config.evaluation.items() if not only or name in only
    }


def metric_faults(config: PipelineConfig, folder: Path) -> list[PolyjanusError]:
    """Return why evaluations cannot be built: an error for each that cannot."""
    faults: list[PolyjanusError] = []
    for name, settings in config.evaluation.items():
        try:
            _build(name, settings, folder)
        except PolyjanusError as error:
            faults.append(error)
    return faults


def _build(name: str, settings: MetricConfig, folder: Path) -> Any:
    with told(name, settings):
        return settings.build(BuildContext(path=f"evaluation.{name}", folder=folder))


@contextmanager
def told(name: str, settings: MetricConfig) -> Generator[None]:
    """Let what a metric raises name its evaluation, in one message; the remedy of an error of ours is kept."""
    where = f"evaluation.{name}"
    try:
        yield
    except PolyjanusError as error:
        error.where = f"{where}: {error.where}" if error.where and error.where != where else where
        raise
    except ImportError as error:
        extra = type(settings).extra
        hint = f'pip install "polyjanus[{extra}]"' if extra else f"install the package that has {error.name!r}"
        text = f"{settings.type!r} needs {error.name}, which is not installed"
        raise EvaluationError(text, where=where, hint=hint) from error
    except FileNotFoundError as error:
        hint = "relative paths start at the folder of the YAML"
        raise EvaluationError(f"there is no {str(error.filename)!r}", where=where, hint=hint) from error
    except Exception as error:
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        hint = f"it comes from {home_of(type(settings))}; `polyjanus --debug eval …` shows the traceback"
        raise EvaluationError(f"metric {settings.type!r} failed: {said}", where=where, hint=hint) from error
