"""`polyjanus run`: one message in, its reply out; pictures and the like are written to files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.common import Session, echo, echo_json, is_override, note_source
from polyjanus.core.cli.writing import Writer, numbered
from polyjanus.core.errors import UsageError, suggest
from polyjanus.core.generation.events import Event, MediaReady, TextDelta

if TYPE_CHECKING:
    from polyjanus.core.pipeline import Pipeline


@click.command(
    name="run",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    options_metavar="[OPTIONS] [--MODALITY FILE …]",
)
@click.argument("pipeline")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.option("--output", default="text", show_default=True, help="What to answer with, such as image or text,image.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File or folder for what is generated.")
@click.option("--n", "count", default=1, show_default=True, type=click.IntRange(1, 1024), help="Number of replies.")
@click.option("--seed", default=0, show_default=True, type=int, help="Same seed, same replies.")
@click.option(
    "--score", "question", help="A question about what is generated, or else given: how probable is the answer?"
)
@click.option("--answer", default="yes", show_default=True, help="The answer that --score asks for.")
@click.option(
    "--best-of", default=1, show_default=True, type=click.IntRange(1, 1024), help="Replies of which --score keeps one."
)
@click.option("--max-tokens", default=512, show_default=True, type=click.IntRange(1), help="Text tokens, at most.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option("--json", "as_json", is_flag=True, help="Print replies as JSON.")
@click.pass_obj
def command(session: Session, pipeline: str, words: tuple[str, ...], **options: Any) -> None:
    """Answer one message.

    PIPELINE is a checkpoint or run folder, a trained YAML, a shipped name or a hub id. Media come before the text:
    `polyjanus run digits --image a.png "Which digit is this?"`. A word of the form key.path=value changes a setting,
    such as text.sampler=greedy or image.generate.sampler.scale=5; a text with blanks is a prompt.

    The pipeline judges itself: `polyjanus run digits --image a.png --score "Which digit is this?" --answer seven`, and
    `polyjanus run digits "Draw a seven." --output image --best-of 4 --score "Which digit is this?" --answer seven`.
    """
    parts, overrides = read_words(words)
    if not parts:
        found = f"; {overrides[0]!r} is a setting, in a prompt it has a blank" if overrides else ""
        raise UsageError(
            f"there is nothing to answer{found}", hint='polyjanus run digits "Draw a seven." --output image'
        )
    from polyjanus.core.pipeline import Pipeline

    asked = _Asked(
        parts,
        [name.strip() for name in options["output"].split(",") if name.strip()],
        options["question"],
        options["answer"],
        options["best_of"],
    )
    model = Pipeline.from_pretrained(
        pipeline,
        overrides=overrides,
        plugins=session.plugins(),
        device=options["device"],
        inputs=asked.inputs,
        outputs=asked.outputs,
    )
    note_source(pipeline, model.source)
    check_parts(model, parts)
    if not asked.writes:
        _print([], [asked.rated(model, parts)], as_json=options["as_json"])
        return
    count = options["count"]
    is_live = count == 1 and not options["as_json"] and asked.best_of == 1
    paths = _Paths(model, options["out"], count)
    with Writer(model, paths, count, shows_text=is_live) as writer:
        for event in asked.events(model, count, seed=options["seed"], max_tokens=options["max_tokens"]):
            writer.take(event)
    scores = [asked.rated(model, row) for row in writer.rows] if asked.question else []
    _print(writer.rows, scores, as_json=options["as_json"], is_live=is_live)


@dataclass(frozen=True)
class _Asked:
    """What a line asks for: parts and outputs, and how replies are scored."""

    parts: list[Any]
    output: list[str]
    question: str | None
    answer: str
    best_of: int

    def __post_init__(self) -> None:
        if self.best_of > 1 and not self.question:
            hint = '--score "Is this a seven?" asks that of each, and the surest is kept'
            raise UsageError("--best-of needs a question by which the best is told", hint=hint)
        if self.best_of > 1 and not self.writes:
            raise UsageError("--best-of needs a prompt", hint='"Draw a seven." --output image --best-of 4 --score …')

    @property
    def writes(self) -> bool:
        """Tell whether there is something to answer; media alone are only scored."""
        return not self.question or any(isinstance(part, str) for part in self.parts)

    @property
    def inputs(self) -> list[str]:
        """Return the modalities that are read: those given, and what is generated where it is scored."""
        given = [part["type"] for part in self.parts if not isinstance(part, str)]
        return [*given, *(name for name in self.output if self.question and name != "text")]

    @property
    def outputs(self) -> list[str]:
        """Return what is written, words for the score among it."""
        return [*self.output, *(["text"] if self.question and "text" not in self.output else [])]

    def events(self, model: Pipeline, count: int, *, seed: int, max_tokens: int) -> Iterator[Event]:
        """Yield the events of the replies; of several to one prompt, those of the best."""
        if self.best_of == 1:
            yield from model.stream_many([self.parts] * count, self.output, seed=seed, max_tokens=max_tokens)
            return
        from polyjanus.core.rating import best_of

        how: dict[str, Any] = {"count": self.best_of, "question": self.question, "answer": self.answer}
        for row in range(count):
            reply, _ = best_of(model, self.parts, self.output, **how, seed=seed + row, max_tokens=max_tokens)
            for part in reply.parts:
                is_text = part["type"] == "text"
                yield TextDelta(row, part["text"]) if is_text else MediaReady(row, part["type"], part["media"])

    def rated(self, model: Pipeline, parts: Sequence[Any]) -> float:
        """Return the probability of the answer about media."""
        from polyjanus.core.rating import rate

        return rate(model, parts, self.question or "", self.answer)


def read_parts(words: Sequence[str]) -> list[Any]:
    """Return the message of the words of a line: `--NAME FILE` is a part, all else is text."""
    parts, texts = _split(words)
    return [*parts, " ".join(texts)] if texts else parts


def read_words(words: Sequence[str]) -> tuple[list[Any], list[str]]:
    """Return the message of the words on a command line, and the overrides among them."""
    parts, words = _split(words)
    overrides = [word for word in words if is_override(word)]
    texts = [word for word in words if not is_override(word)]
    return [*parts, " ".join(texts)] if texts else parts, overrides


def _split(words: Sequence[str]) -> tuple[list[Any], list[str]]:
    """Return the parts that options are, and the words that are left."""
    parts: list[Any] = []
    texts: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--") and len(word) > 2:
            name, _, value = word[2:].partition("=")
            if not value:
                if not rest:
                    raise UsageError(f"--{name} needs a file")
                value = rest.pop(0)
            parts.append({"type": name, "path": value})
        else:
            texts.append(word)
    return parts, texts


def check_parts(pipeline: Pipeline, parts: Sequence[Any]) -> None:
    """Refuse an option that is no modality of the pipeline, and a file that is not there."""
    known = [name for name, modality in pipeline.whole.modalities.items() if modality.understand]
    for part in parts:
        if isinstance(part, str):
            continue
        if part["type"] not in known:
            raise UsageError(f"no option --{part['type']}{suggest(part['type'], known, noun='modalities understood')}")
        if Path(part["path"]).is_dir():
            raise UsageError(f"{part['path']!r} is a folder", hint=f"--{part['type']} takes a file in it")
        if not Path(part["path"]).is_file():
            raise UsageError(f"there is no file {part['path']!r}")


class _Paths:
    """Where items go: the file that was named, or one in a folder, numbered where there are several."""

    def __init__(self, pipeline: Pipeline, out: Path | None, count: int) -> None:
        self.pipeline, self.out, self.count = pipeline, out, count
        self._seen: dict[tuple[int, str], int] = {}

    def __call__(self, row: int, modality: str) -> Path:
        """Return the path of the next item of a row."""
        suffix = self.pipeline.compiler.modalities[modality].suffixes[0]
        is_file = self.out is not None and self.out.suffix
        path = Path(self.out or modality) if is_file else (self.out or Path()) / f"{modality}{suffix}"
        place = self._seen[row, modality] = self._seen.get((row, modality), 0) + 1
        return numbered(path, *([row + 1] if self.count > 1 else []), *([place] if place > 1 else []))


def _print(rows: list[list[dict[str, Any]]], scores: list[float], *, as_json: bool, is_live: bool = False) -> None:
    """Print what was not shown yet, and how probable the answer to --score is."""
    if as_json:
        plain = [{name: value for name, value in part.items() if name != "media"} for row in rows for part in row]
        texts = [{**part, "text": part["text"].strip()} if part["type"] == "text" else part for part in plain]
        cut = iter(texts)
        replies = {"replies": [{"parts": [next(cut) for _ in row]} for row in rows]} if rows else {}
        echo_json({**replies, **({"scores": scores} if scores else {})})
        return
    for row in rows:
        for index, part in enumerate(row):
            if part["type"] != "text":
                echo(part["path"])
            elif not is_live:
                echo(part["text"].strip())
            elif index == len(row) - 1:
                echo("")  # ends the line that was written as it came
    for score in scores:
        echo(f"{score:.4f}")
