"""`polyjanus chat`: a conversation in the terminal; replies are written as they come."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.common import Session, echo, log, note_source, only_overrides
from polyjanus.core.cli.run import check_parts, read_parts
from polyjanus.core.cli.writing import Writer
from polyjanus.core.errors import PolyjanusError, UsageError, suggest

if TYPE_CHECKING:
    from polyjanus.core.pipeline import Pipeline


@click.command(name="chat")
@click.argument("pipeline")
@click.argument("overrides", nargs=-1)
@click.option("--output", default="text", show_default=True, help="What to answer with, such as image or text,image.")
@click.option(
    "-o", "--out", default="out", show_default=True, type=click.Path(path_type=Path), help="Folder for media."
)
@click.option("--seed", default=0, show_default=True, type=int, help="Same seed and words, same replies.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.pass_obj
def command(
    session: Session, pipeline: str, overrides: tuple[str, ...], output: str, out: Path, seed: int, device: str
) -> None:
    """Talk to a model. PIPELINE is what `run` takes, OVERRIDES are `key.path=value`; /help says what can be typed."""
    from polyjanus.core.pipeline import Pipeline

    changed = only_overrides(overrides)
    model = Pipeline.from_pretrained(pipeline, overrides=changed, plugins=session.plugins(), device=device)
    note_source(pipeline, model.source)
    chat = _Chat(model, output.split(","), out, seed)
    log(f"{pipeline}: understands text, {', '.join(model.compiler.understandings)}; writes {', '.join(model.outputs)}")
    log(f"answers are {output}; /output {model.outputs[-1]} changes that; /help for help, /quit to leave")
    while (line := _read_line()) is not None and line.strip() != "/quit":
        try:
            chat.take(line.strip())
        except PolyjanusError as error:
            log(str(error))


def _read_line() -> str | None:
    """Return the next line, or None at the end of the input."""
    try:
        return input("> ")
    except EOFError:
        return None


def _words(line: str) -> list[str]:
    """Return the words of a line as on a command line; `/image "a b.png"` becomes an option, text stays as it is."""
    if not line.startswith("/"):
        return [line]
    try:
        command, file, *text = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{line.split()[0]} needs a file", hint="quote a name that has blanks") from error
    return [f"--{command[1:]}", file, *text]


def _known(output: list[str], pipeline: Pipeline) -> list[str]:
    """Return the outputs, each of which the pipeline can write."""
    for name in output:
        if name not in pipeline.outputs:
            raise UsageError(f"no output {name!r}{suggest(name, pipeline.outputs, noun='outputs')}")
    return output


class _Chat:
    """One conversation."""

    def __init__(self, pipeline: Pipeline, output: list[str], out: Path, seed: int) -> None:
        self.pipeline, self.output, self.out, self.seed = pipeline, output, out, seed
        self.messages: list[dict[str, Any]] = []
        self.written = 0

    @property
    def help(self) -> str:
        """Return what can be typed."""
        rows = [
            (f"/{name} FILE …", f"hand over {name} with the next words")
            for name in self.pipeline.compiler.understandings
        ]
        rows.append(("/output NAMES", f"what to answer with, among {', '.join(self.pipeline.outputs)}"))
        rows += [("/new", "forget the conversation"), ("/quit", "leave")]
        wide = max(len(typed) for typed, _ in rows) + 2
        return "\n".join(typed.ljust(wide) + words for typed, words in rows)

    def take(self, line: str) -> None:
        """Do what a line says, or answer it."""
        if not line:
            return
        if line == "/help":
            log(self.help)
        elif line == "/new":
            self.messages = []
        elif line.startswith("/output "):
            self.output = _known([name.strip() for name in line.removeprefix("/output ").split(",")], self.pipeline)
        else:
            command = line.split()[0][1:]
            if line.startswith("/") and command not in self.pipeline.compiler.understandings:
                raise UsageError(f"no command /{command}", hint=self.help)
            self._answer(read_parts(_words(line)))

    def _answer(self, parts: list[Any]) -> None:
        check_parts(self.pipeline, parts)
        asked = [*self.messages, {"role": "user", "content": parts}]
        with Writer(self.pipeline, self._path) as writer:
            for event in self.pipeline.stream(asked, self.output, seed=self.seed + len(asked)):
                writer.take(event)
        echo("")
        reply = writer.rows[0]
        self.messages = [*asked, {"role": "assistant", "content": [self._part(part) for part in reply]}]

    def _path(self, _: int, modality: str) -> Path:
        """Return where the next item goes."""
        self.written += 1
        suffix = self.pipeline.compiler.modalities[modality].suffixes[0]
        return self.out / f"{modality}-{self.written}{suffix}"

    def _part(self, part: dict[str, Any]) -> dict[str, Any]:
        if part["type"] == "text":
            return {"type": "text", "text": part["text"].strip()}
        return {"type": part["type"], self.pipeline.compiler.modalities[part["type"]].keys[0]: part["media"]}
