"""`polyjanus plugins new`: a plugin that works at once, to be changed into one's own."""

from __future__ import annotations

from pathlib import Path

import click

from polyjanus.core.cli.common import Session, echo, echo_json
from polyjanus.core.errors import UsageError, suggest


@click.command(name="new")
@click.argument("name")
@click.option("--pathways", "text", default="understand,generate", show_default=True, help="One of them, or both.")
@click.option(
    "--kind", default="grid", show_default=True, help="grid: arrays of one shape; sequence: lines of text files."
)
@click.option("--single-file", "is_single", is_flag=True, help="One Python file, a YAML and toy data; no package.")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Folder to write in.")
@click.option("--json", "is_json", is_flag=True, help="Print the files as JSON.")
@click.pass_obj
def new_command(session: Session, name: str, text: str, kind: str, is_single: bool, into: Path, is_json: bool) -> None:
    """Write a new modality that works at once: settings, media, encoder, codec, data, pipeline, tests."""
    from polyjanus.core.scaffold.writing import KINDS, PATHWAYS, check_name, write_plugin

    asked = [word.strip() for word in text.split(",")]
    for word in asked:
        if word not in PATHWAYS:
            raise UsageError(f"no pathway {word!r}{suggest(word, PATHWAYS, noun='pathways')}")
    if kind not in KINDS:
        raise UsageError(f"no kind {kind!r}{suggest(kind, KINDS, noun='kinds')}")
    pathways = [each for each in PATHWAYS if each in asked]
    check_name(name, session.registries())
    written = write_plugin(name, pathways, into, is_single=is_single, kind=kind)
    if is_json:
        echo_json([str(path) for path in written])
        return
    echo("\n".join(str(path) for path in written))
    echo("\n" + "\n".join(next_steps(name, pathways, written, is_single=is_single, kind=kind)))


def next_steps(name: str, pathways: list[str], written: list[Path], *, is_single: bool, kind: str) -> list[str]:
    """Return the commands that check, train and run a new plugin."""
    from polyjanus.core.scaffold.writing import words_of

    words = words_of(kind, name)
    home = written[0].parent
    lines = [f"cd {home}"] if home != Path() else []
    program = f"polyjanus --plugin {name}.py" if is_single else "polyjanus"
    lines += [f"python make_{name}.py"] if is_single else ["pip install -e .", "python make_data.py"]
    lines += [f"polyjanus plugins check {name}{'.py' if is_single else ''}", f"{program} train {name}.yaml"]
    if "understand" in pathways:
        lines.append(f'{program} run {name}.yaml --{name} data/0.{words["suffix"]} "{words["question"]}"')
    if "generate" in pathways:
        asked, file = f"{words['wish']}: {words['wished']}.", f"{words['wished']}.{words['suffix']}"
        lines.append(f'{program} run {name}.yaml "{asked}" --output {name} -o {file}')
    return lines
