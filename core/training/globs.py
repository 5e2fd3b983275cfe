"""Which components a stage trains."""

from collections.abc import Sequence

from polyjanus.core.config.schema import selects


def chosen(globs: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Return the component paths that any of the globs selects."""
    return [path for path in paths if any(selects(glob, path) for glob in globs)]
