"""`polyjanus run`: one message in, its reply out; pictures and the like are written to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.common import Session, echo, echo_json, log
from polyjanus.core.errors import UsageError, suggest

if TYPE_CHECKING:
    from polyjanus.core.pipeline import Pipeline
    from polyjanus.core.reply import Reply


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
@click.option("--max-tokens", default=512, show_default=True, type=click.IntRange(1), help="Text tokens, at most.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option("--json", "as_json", is_flag=True, help="Print replies as JSON.")
@click.pass_obj
def command(session: Session, pipeline: str, words: tuple[str, ...], **options: Any) -> None:
    """Answer one message.

    PIPELINE is a checkpoint or run folder, a trained YAML, a shipped name or a hub id. Media come before the text:
    `polyjanus run digits --image a.png "Which digit is this?"`.
    """
    parts = read_parts(words)
    if not parts:
        raise UsageError("there is nothing to answer", hint='polyjanus run digits "Draw a seven." --output image')
    from polyjanus.core.pipeline import Pipeline

    output = [name.strip() for name in options["output"].split(",") if name.strip()]
    inputs = [part["type"] for part in parts if not isinstance(part, str)]
    model = Pipeline.from_pretrained(
        pipeline, plugins=session.plugins(), device=options["device"], inputs=inputs, outputs=output
    )
    check_parts(model, parts)
    replies = model.run_many([parts] * options["count"], output, seed=options["seed"], max_tokens=options["max_tokens"])
    rows = [_row(model, reply, index, options["out"], len(replies)) for index, reply in enumerate(replies)]
    if options["as_json"]:
        echo_json({"replies": rows})
        return
    for row in rows:
        for part in row["parts"]:
            echo(part["text"] if part["type"] == "text" else part["path"])


def read_parts(words: Sequence[str]) -> list[Any]:
    """Return the message of the words on a command line: `--NAME FILE` is a part, all else is text."""
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
    return [*parts, " ".join(texts)] if texts else parts


def check_parts(pipeline: Pipeline, parts: Sequence[Any]) -> None:
    """Refuse an option that is no modality of the pipeline, and a file that is not there."""
    known = [name for name, modality in pipeline.whole.modalities.items() if modality.understand]
    for part in parts:
        if isinstance(part, str):
            continue
        if part["type"] not in known:
            raise UsageError(f"no option --{part['type']}{suggest(part['type'], known, noun='modalities understood')}")
        if not Path(part["path"]).is_file():
            raise UsageError(f"there is no file {part['path']!r}")


def save_media(pipeline: Pipeline, modality: str, media: Any, path: Path) -> Path:
    """Write one medium and return where it went."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pipeline.compiler.modalities[modality].save(media, path)
    return path


def _row(pipeline: Pipeline, reply: Reply, index: int, out: Path | None, count: int) -> dict[str, Any]:
    """Return a reply as plain data, its media written to files."""
    parts: list[dict[str, str]] = []
    several = count > 1 or sum(part["type"] != "text" for part in reply.parts) > 1
    for place, part in enumerate(reply.parts):
        if part["type"] == "text":
            parts.append({"type": "text", "text": part["text"].strip()})
            continue
        path = _path(pipeline, part["type"], f"{index}-{place}" if several else "", out)
        save_media(pipeline, part["type"], part["media"], path)
        log(f"wrote {path}")
        parts.append({"type": part["type"], "path": str(path)})
    return {"parts": parts}


def _path(pipeline: Pipeline, modality: str, number: str, out: Path | None) -> Path:
    """Return where an item goes: the file that was named, numbered if there are several, or one in a folder."""
    suffix = pipeline.compiler.modalities[modality].suffixes[0]
    if out is None or not out.suffix:
        return (out or Path()) / f"{modality}{f'-{number}' if number else ''}{suffix}"
    return out.with_name(f"{out.stem}-{number}{out.suffix}") if number else out
