"""`polyjanus init`: a folder of data in, a pipeline out that validates and trains."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, cast

import click

from polyjanus.core.cli.common import Session, echo
from polyjanus.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from polyjanus.core.data.proposals import Block, Proposal

SMALL = """\
backbone:                              # small enough for a laptop; `polyjanus init --backbone ID` takes a published one
  type: causal_lm
  architecture: {model_type: llama, hidden_size: 128, intermediate_size: 384, num_hidden_layers: 4,
                 num_attention_heads: 4, max_position_embeddings: 2048}

template: {type: janus, user: User, assistant: Assistant}

text:
  tokenizer: bytes
"""
MAX_TOKENS = 2048
HELD_OUT = 0.1
"""Share of rows held out, where there are enough of them."""


@click.command(name="init")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder to look at.",
)
@click.option("--backbone", metavar="ID", help="A published language model, a hub id or a ./path; else a small one.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file; FOLDER.yaml else.")
@click.pass_obj
def command(session: Session, data: Path, backbone: str | None, output: Path | None) -> None:
    """Write a pipeline for the data in a folder: captioned or sorted media, conversations, Parquet, tar shards.

    Nothing is copied, and the file is yours to change.
    """
    from polyjanus.core.data.proposals import proposals

    folder = data.resolve()
    target = output or Path(f"{folder.name or 'pipeline'}.yaml")
    if target.exists():
        raise UsageError(f"{target} exists", hint="name another file with -o, or remove it")
    found = list(proposals(folder, session.plugins()))
    if not found:
        raise DataError(f"nothing in {data} is known: {_contents(folder)}", hint=_KNOWN)
    target.write_text(pipeline_text(found, backbone, target.absolute().parent), encoding="utf-8")
    session.read(target)
    for proposal in found:
        echo(f"found {proposal.found}")
    echo(f"wrote {target}; next:")
    echo(f"  polyjanus data check {quote(str(target))}")
    echo(f"  polyjanus train {quote(str(target))}")


_KNOWN = (
    "known are media with a .txt beside each or with a metadata.csv or .jsonl, folders of media as classes,\n"
    "  conversations in a .json or .jsonl, .parquet files and .tar shards; other data: docs/data.md"
)


def _contents(folder: Path) -> str:
    """Return what a folder holds, by suffix."""
    suffixes = Counter(path.suffix.lower() or "no suffix" for path in folder.rglob("*") if path.is_file())
    return ", ".join(f"{count} of {suffix}" for suffix, count in suffixes.most_common(5)) or "it is empty"


def pipeline_text(found: Sequence[Proposal], backbone: str | None, home: Path) -> str:
    """Return the YAML of a pipeline that trains on what was found; paths start at `home` where they are below it."""
    from polyjanus.core.data.proposals import merged

    data, modalities = merged(list(found))
    rows = min(proposal.rows for proposal in found)
    if round(HELD_OUT * rows) > 0:
        data = {name: {**block, "validation": HELD_OUT} for name, block in data.items()}
    lines = [
        "# yaml-language-server: $schema=.polyjanus.schema.json",
        *(f"# Made by `polyjanus init` for {proposal.found}." for proposal in found),
        "polyjanus: 1",
        "",
        SMALL if backbone is None else f"backbone: {{type: causal_lm, pretrained: {json.dumps(backbone)}}}\n",
    ]
    if modalities:
        lines += ["modalities:                            # small parts, all trained from scratch"]
        lines += [line for name, block in modalities.items() for line in _block(name, block, 2)] + [""]
    lines += ["data:                                  # `polyjanus data check` reads all of it once"]
    lines += [f"  {name}: {_flow(_relative(block, home))}" for name, block in data.items()]
    return "\n".join([*lines, "", *_training(data, modalities, rows, backbone is not None)]) + "\n"


def _training(
    data: Mapping[str, Block], modalities: Mapping[str, Block], rows: int, is_pretrained: bool
) -> Iterator[str]:
    """Yield the lines of the curriculum: codecs first, then all together."""
    generated = [name for name, block in modalities.items() if "generate" in block]
    mix = _flow({name: 1 for name in data})
    batch = min(16, max(1, rows * 4 // 5))  # some are held out
    yield "training:"
    yield f"  max_tokens: {MAX_TOKENS}"
    yield "  caption_dropout: 0.1                 # how often what is asked for is hidden, so that guidance works"
    yield "  bad_rows: {rate: 0.01}               # above it a run stops; each bad row is listed in bad_rows.jsonl"
    yield "  validation: {every: 200}"
    yield "  save: {every: 200, keep: 2}"
    yield "  stages:"
    if generated:
        codecs = _flow([f"{name}.generate.codec" for name in generated])
        yield "    - name: codecs                     # what is generated is first learned as codes"
        yield "      objective: reconstruct"
        yield f"      train: {codecs}"
        drawn = [name for name, block in data.items() if str(block.get("task", "generate")).endswith("generate")]
        yield f"      mix: {_flow({name: 1 for name in drawn})}"
        yield "      steps: 500"
        yield f"      batch: {batch}"
        yield "      lr: 2e-3"
        yield "      schedule: cosine"
        yield "      warmup: 20"
    trained = [] if is_pretrained else ["backbone", "text"]
    trained += ["marks"] if generated else []
    trained += [f"{name}.understand" for name, block in modalities.items() if "understand" in block]
    trained += [f"{name}.generate.{part}" for name in generated for part in ("embedding", "adaptor", "head")]
    trained = trained or ["backbone", "text"]
    is_frozen = is_pretrained and "backbone" not in trained
    yield f"    - name: unified{'                    # add backbone and text to train those too' if is_frozen else ''}"
    yield f"      train: {_flow(trained)}"
    yield f"      mix: {mix}"
    yield "      steps: 1500"
    yield f"      batch: {batch}"
    yield f"      lr: {'2e-4' if is_pretrained else '1e-3'}"
    yield "      schedule: cosine"
    yield "      warmup: 50"


def _relative(block: Block, home: Path) -> Block:
    """Return a block with the paths below `home` written from there."""

    def written(value: Any) -> Any:
        if isinstance(value, list):
            return [written(entry) for entry in cast("list[Any]", value)]
        if not isinstance(value, str) or not Path(value).is_absolute():
            return value
        below = os.path.relpath(value, home)
        return value if below.startswith("..") else f"./{below}" if below != "." else "./"

    return {key: written(value) for key, value in block.items()}


def _block(name: str, value: Any, indent: int) -> Iterator[str]:
    """Yield a block of YAML: the two upper levels on lines of their own, what is below in one line."""
    margin = " " * indent
    if isinstance(value, Mapping) and value and indent < 6:
        yield f"{margin}{name}:"
        for key, entry in cast("Mapping[str, Any]", value).items():
            yield from _block(key, entry, indent + 2)
    else:
        yield f"{margin}{name}: {_flow(value)}"


def _flow(value: Any) -> str:
    """Return a value in one line of YAML; texts are quoted where they are not plain words."""
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, Any]", value)
        return "{" + ", ".join(f"{_flow(key)}: {_flow(entry)}" for key, entry in entries.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(entry) for entry in cast("list[Any]", value)) + "]"
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


_PLAIN = re.compile(r"(?:\.?/)?[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
