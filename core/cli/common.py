"""What every command shares: the plugins, and where output goes (results to stdout, all else to stderr)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.errors import PluginError, UsageError

if TYPE_CHECKING:
    from polyjanus.core.config.reading import Loaded
    from polyjanus.core.manager import Plugins
    from polyjanus.core.registry import Registries

PLUGINS_VARIABLE = "POLYJANUS_PLUGINS"
"""Environment variable that names one-file plugins, separated like the paths of PATH."""


_KEY = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)*")


@dataclass
class Session:
    """One call of the command line: its global options, and the plugins, which are loaded when first needed."""

    is_debug: bool = False
    plugin_files: tuple[str, ...] = ()
    third_party: bool = True
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def plugins(self) -> Plugins:
        """Return the plugins; the first call loads them and names the broken ones on stderr."""
        return self._plugins

    def registries(self) -> Registries:
        """Return the registries that the plugins filled."""
        return self.plugins().registries

    def read(self, file: Path | str, overrides: Sequence[str] = (), *, is_saved: bool = False) -> Loaded:
        """Return a validated pipeline; `is_saved` where a run or a checkpoint holds it, not a person."""
        from polyjanus.core.config.reading import read_pipeline

        return read_pipeline(file, self.registries(), overrides, self.environ, is_saved=is_saved)

    @cached_property
    def _plugins(self) -> Plugins:
        from polyjanus.core.manager import load_plugins

        named = self.environ.get(PLUGINS_VARIABLE, "") if self.third_party else ""
        files = [*filter(None, named.split(os.pathsep)), *self.plugin_files]
        plugins = load_plugins(files, third_party=self.third_party)
        for name, reason in plugins.broken.items():
            if any(Path(name) == Path(file).expanduser().resolve() for file in self.plugin_files):
                raise PluginError(f"--plugin {name} could not be loaded: {reason}")
            log(f"warning: plugin {name} could not be loaded: {reason}")
        for registry in plugins.registries:
            for sentence in registry.conflicts():
                log(f"warning: {sentence}")
        return plugins


def echo(text: str) -> None:
    """Write a line of a result to stdout."""
    click.echo(text)


def echo_json(value: Any) -> None:
    """Write a result to stdout as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def log(text: str) -> None:
    """Write a line that is not a result to stderr."""
    click.echo(text, err=True)


@contextmanager
def progress_bar(name: str, total: int, *, is_quiet: bool = False) -> Generator[Callable[[], None]]:
    """Show a bar on stderr, where that is a terminal, and yield what moves it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=is_quiet or not console.is_terminal) as progress:
        task = progress.add_task(name, total=total)
        yield lambda: progress.advance(task)


def note_source(named: str, folder: Path | None) -> None:
    """Say on stderr which checkpoint a YAML stands for, and if its training stopped before its end."""
    if folder is None:
        return
    if Path(named).is_file():
        from polyjanus.core.checkpoints.atomic import read_manifest

        log(f"{folder.parent.parent}, step {read_manifest(folder).get('step', 0)}")
    _note_unfinished(folder)


def _note_unfinished(folder: Path) -> None:
    try:
        training = json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get("training")
    except (OSError, ValueError):
        return
    if training and training["step"] < training["steps"]:
        place = f"step {training['step']} of {training['steps']}, in stage {training['stage']!r}"
        log(f"note: the training of {folder} stopped at {place}")


def only_overrides(arguments: Sequence[str]) -> list[str]:
    """Return the arguments, each of which must be `key.path=value`."""
    for argument in arguments:
        if "=" not in argument:
            raise UsageError(f"{argument!r} is no override", hint="write key.path=value, such as training.seed=1")
    return list(arguments)


def is_override(word: str) -> bool:
    """Tell whether a word of a prompt is `key.path=value`; only after a dotted key may the value hold blanks.

    So `x=1` is a setting and `x=1 is it?` a prompt.
    """
    key, equals, value = word.partition("=")
    if not equals or not _KEY.fullmatch(key):
        return False
    return not re.search(r"\s", value) or "." in key


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the files and the `key=value` overrides among the arguments."""
    files = [argument for argument in arguments if "=" not in argument or Path(argument).exists()]
    return files, [argument for argument in arguments if argument not in files]
