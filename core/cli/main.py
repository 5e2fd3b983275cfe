"""The `polyjanus` command: global options, a table of commands, and how errors are shown; it imports little else."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import click

from polyjanus.core.cli.common import Session
from polyjanus.core.errors import PolyjanusError, PolyjanusWarning, nearest

COMMANDS = {
    "run": "Answer one message, which may hold media.",
    "chat": "Talk to a model in the terminal.",
    "init": "Write a pipeline for the data in a folder.",
    "train": "Train a pipeline.",
    "precompute": "Compute codes and features once, before training.",
    "eval": "Score a trained model.",
    "sweep": "Train and score several pipelines with the same seeds, and compare them.",
    "report": "Draw a run as one HTML page.",
    "convert": "Write a checkpoint anew in another format.",
    "verify": "Compare a model with what was published about its outputs.",
    "demo": "Show the shipped model reading and writing five senses.",
    "samples": "Write held-out files of the shipped model, to try it on.",
    "validate": "Check pipeline files and say everything that is wrong.",
    "data": "Check data sets before a run, and show what a row becomes.",
    "trace": "Follow one row through every step to its loss.",
    "inspect": "Show the parts of a pipeline, their sizes and shapes.",
    "config": "Show a pipeline in full, and where each value comes from.",
    "schema": "Write the JSON Schema of pipeline files, for editors.",
    "doctor": "Say what is installed, what is missing, and whether it works.",
    "explain": "Say what an error code means, and what helps.",
    "plugins": "List what is installed, and what each part can be told.",
}
"""Every command and its one line of help; the module of the same name is imported when it is called."""

INTERRUPTED = 130
USAGE = 2


class _Commands(click.Group):
    """A group that knows its commands by name and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return import_module(f"polyjanus.core.cli.{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            match = nearest(args[0], COMMANDS)
            hint = f"did you mean {match!r}?" if match else f"commands: {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _show_version(context: click.Context, _: click.Parameter, is_asked: bool) -> None:
    if is_asked and not context.resilient_parsing:
        from polyjanus import __version__

        click.echo(f"polyjanus {__version__}")
        context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--plugin", "files", multiple=True, metavar="FILE", help="Load a one-file plugin; may be repeated.")
@click.option("--no-plugins", is_flag=True, help="Load only what ships with polyjanus.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show it.")
@click.pass_obj
def _polyjanus(session: Session, debug: bool, files: tuple[str, ...], no_plugins: bool) -> None:
    """Plug any signal into one autoregressive transformer: understood, generated, from one YAML file."""
    session.is_debug = debug
    session.plugin_files = files
    session.third_party = not no_plugins


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; a user's fault is one message on stderr and status 2."""
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, warnings.showwarning)
        return _main(arguments)


def _show_warning(other: Callable[..., None], message: Warning | str, category: type[Warning], *more: Any) -> None:
    """Show a warning of ours as one line, and any other as Python does."""
    if issubclass(category, PolyjanusWarning):
        sys.stderr.write(f"warning: {message}\n")
    else:
        other(message, category, *more)


def _main(arguments: Sequence[str] | None) -> int:
    session = Session()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _polyjanus.main(_plugins_first(words), prog_name="polyjanus", standalone_mode=False, obj=session)
    except click.ClickException as error:
        if session.environ.get("LOCAL_RANK", "0") == "0":  # of many processes on a machine one says it
            error.show()
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except PolyjanusError as error:
        _show(session, f"{error}\n  (polyjanus explain {error.code})")
        return USAGE
    except OSError as error:
        _show(session, f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return USAGE
    return status if isinstance(status, int) else 0


def _plugins_first(words: list[str]) -> list[str]:
    """Return the words of a command line with `--plugin FILE` before the command, wherever it was written."""
    first: list[str] = []
    rest: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--plugin" and words:
            first += [word, words.pop(0)]
        else:
            (first if word.startswith("--plugin=") else rest).append(word)
    return first + rest


def _show(session: Session, message: str) -> None:
    if session.is_debug:
        traceback.print_exc()
    sys.stderr.write(f"{message}\n")
