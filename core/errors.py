"""The errors a user can meet: what went wrong, where, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class PolyjanusError(Exception):
    """A fault that the user can mend; the command line prints it without a traceback and exits with 2."""

    code = "error"

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        """Return the whole message: where, what, and the remedy."""
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  {self.hint}" if self.hint else text


class UsageError(PolyjanusError):
    """A call or a command line that asks for something that does not exist."""

    code = "usage"


class RegistryError(PolyjanusError):
    """A name that no plugin offers, or that two plugins claim."""

    code = "registry"


class PluginError(PolyjanusError):
    """A plugin that could not be loaded, or that broke its contract."""

    code = "plugin"


class MediaError(PolyjanusError):
    """A file or an object that is not what it claims to be, or that is over a limit."""

    code = "media"


class SequenceError(PolyjanusError):
    """Messages that cannot become a sequence: unknown parts, wrong counts, too long."""

    code = "sequence"


class WiringError(PolyjanusError):
    """Two parts of a pipeline that do not fit each other; `paths` are their component paths."""

    code = "wiring"

    def __init__(self, message: str, *, paths: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.paths = tuple(paths)


class CheckpointError(PolyjanusError):
    """A checkpoint that is damaged, incomplete or of another shape."""

    code = "checkpoint"


class DataError(PolyjanusError):
    """A data set that cannot be read or that has nothing to give."""

    code = "data"


class EvaluationError(PolyjanusError):
    """An evaluation that cannot be built or measured."""

    code = "evaluation"


class TrainingError(PolyjanusError):
    """A training run that cannot go on."""

    code = "training"


class PolyjanusWarning(UserWarning):
    """What a user should know though all goes on; the command line prints it as one line."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a file; `line` counts from one, `path` is the dotted key."""

    file: str
    line: int | None
    path: str
    message: str

    def __str__(self) -> str:
        """Return `file:line: path: message`."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigError(PolyjanusError):
    """Everything that is wrong in a pipeline file, at once."""

    code = "config"

    def __init__(self, faults: Iterable[Fault], *, hint: str | None = None) -> None:
        self.faults = tuple(faults)
        if len(self.faults) == 1:
            message = str(self.faults[0])
        else:
            file = self.faults[0].file if self.faults else "pipeline"
            lines = "".join(f"\n  {fault}" for fault in self.faults)
            message = f"{file} has {len(self.faults)} faults:{lines}"
        super().__init__(message, hint=hint)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that looks most like `name`, if one does."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def suggest(name: str, known: Iterable[str], *, noun: str = "known") -> str:
    """Return `; did you mean 'x'?`, or the list of what there is."""
    names = sorted(set(known))
    match = nearest(name, names)
    if match:
        return f"; did you mean {match!r}?"
    if not names:
        return f"; nothing is {noun}"
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"; {noun}: {shown}"
