"""The data sets of a pipeline, opened and split, before any model is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.data.mixing import pattern
from polyjanus.core.data.rows import Source, Split, split
from polyjanus.core.errors import DataError, PolyjanusError
from polyjanus.core.settings import BuildContext, SourceConfig

Splits = dict[str, tuple[Split, Split]]
"""Training and held-out rows by data set."""


def open_splits(config: PipelineConfig, folder: Path) -> Splits:
    """Return the training and held-out rows of every data set; relative paths start at `folder`."""
    seed = config.training.seed if config.training else 0
    return {
        name: split(name, open_source(name, settings, folder), settings.validation, seed)
        for name, settings in config.data.items()
    }


def open_source(name: str, settings: SourceConfig, folder: Path) -> Source:
    """Return one data set; whatever keeps it from being opened is an error that names it."""
    where = f"data.{name}"
    try:
        source: Source = settings.build(BuildContext(path=where, folder=folder))
        size = len(source)
    except ImportError as error:
        extra = type(settings).extra
        hint = f'pip install "polyjanus[{extra}]"' if extra else f"install the package that has {error.name!r}"
        raise DataError(
            f"{settings.type!r} needs {error.name}, which is not installed", where=where, hint=hint
        ) from error
    except PolyjanusError as error:
        raise DataError(
            error.message, where=f"{where}: {error.where}" if error.where else where, hint=error.hint
        ) from error
    except Exception as error:
        raise DataError(f"cannot be opened: {type(error).__name__}: {error}", where=where) from error
    if not size:
        raise DataError("has no rows", where=where, hint="is its path right, and is anything in it?")
    return source


def repeats(config: PipelineConfig, sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each stage whose steps draw more rows of a data set than it has."""
    for stage in config.training.stages if config.training else ():
        period = pattern(stage.mix)
        for name in sorted(set(period)):
            drawn = -(-stage.batch * period.count(name) // len(period))
            if drawn > sizes[name]:
                yield (
                    f"a step of stage {stage.name!r} takes {drawn} rows of {name!r}, which has {sizes[name]}:"
                    " rows come more than once in a step"
                )
