"""Filling in the templates: which files a new plugin has, and what stands in them."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from polyjanus.core.errors import UsageError
from polyjanus.core.registry import Registries, can_import

PATHWAYS = ("understand", "generate")
MARK = "#: "
"""Begins a line of a template that says for which pathways the lines after it are."""
WORDS = {"understand": "understood", "generate": "generated"}
SINGLE = {"{name}.py": "single.py", "{name}.yaml": "pipeline.yaml", "make_{name}.py": "make_data.py"}
PACKAGE = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "{name}.yaml": "pipeline.yaml",
    "make_data.py": "make_data.py",
    "{package}/__init__.py": "init.py",
    "{package}/media.py": "media.py",
    "tests/test_contracts.py": "test_contracts.py",
}
KINDS = {
    "grid": {"suffix": "npy", "question": "Where is it warm?", "wish": "Make it warm", "wished": "left"},
    "sequence": {"suffix": "", "question": "How does it go?", "wish": "Write one that goes", "wished": "up"},
}
"""What the templates of each kind of modality say: arrays of one shape, or text files of any number of lines."""
OF_PATHWAY = {"understand": "encoder.py", "generate": "codec.py"}


def write_plugin(name: str, pathways: Sequence[str], into: Path, *, is_single: bool, kind: str = "grid") -> list[Path]:
    """Write a plugin that works at once, and return its files; nothing that exists is written over."""
    package = f"polyjanus_{name}"
    home = into if is_single else into / package.replace("_", "-")
    table = dict(SINGLE) if is_single else dict(PACKAGE)
    if not is_single:
        table |= {f"{{package}}/{OF_PATHWAY[each]}": OF_PATHWAY[each] for each in pathways}
    words = words_of(kind, name) | _words(name, package, pathways, is_single=is_single)
    targets = {home / path.format(name=name, package=package): template for path, template in table.items()}
    taken = [path for path in targets if path.exists()]
    if taken:
        raise UsageError(f"{taken[0]} is there already", hint="choose another name, or another folder with --into")
    for path, template in targets.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(filled(template, words, pathways, kind), encoding="utf-8")
    return list(targets)


def check_name(name: str, registries: Registries) -> None:
    """Refuse a name that cannot be a type, a module and a package at once, or that is taken."""
    hint = "choose a name of small letters, digits and _, such as 'thermal'"
    if not name.isidentifier() or not name.isascii() or name != name.lower() or name.startswith("_"):
        raise UsageError(f"{name!r} cannot be the name of a modality", hint=hint)
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in ("text", "polyjanus"):
        raise UsageError(f"{name!r} means something else already", hint=hint)
    for registry in registries:
        for type_name in (name, f"{name}_patches", f"{name}_symbols", f"{name}_codes"):
            if type_name in registry and (registry.kind == "modality" or type_name != name):
                place = registry.entry(type_name).location
                raise UsageError(f"the {registry.kind} {type_name!r} is there already: {place}", hint=hint)
    if can_import(f"polyjanus_{name}"):
        raise UsageError(f"a package polyjanus_{name} is installed already", hint=hint)


def words_of(kind: str, name: str) -> dict[str, str]:
    """Return what the templates of a kind say of a modality: its files, and what is asked about them."""
    return {**KINDS[kind], "suffix": KINDS[kind]["suffix"] or name}


def filled(template: str, words: dict[str, str], pathways: Sequence[str], kind: str = "grid") -> str:
    """Return the text of a template for some pathways; a kind may have its own."""
    folder = files("polyjanus.core.scaffold")
    own = folder.joinpath(f"{kind}_{template}.tmpl")
    text = (own if own.is_file() else folder.joinpath(f"{template}.tmpl")).read_text(encoding="utf-8")
    return Template("".join(_chosen(text, pathways))).substitute(words)


def _chosen(text: str, pathways: Sequence[str]) -> Iterator[str]:
    """Yield the lines that are for these pathways: `#: if both`, `#: if generate`, `#: if generate only`, `#: end`."""
    is_on = True
    for line in text.splitlines(keepends=True):
        if not line.strip().startswith(MARK):
            if is_on:
                yield line
            continue
        condition = line.strip().removeprefix(MARK).removeprefix("if ")
        wanted = PATHWAYS if condition == "both" else (condition.removesuffix(" only"),)
        is_on = condition == "end" or set(wanted) <= set(pathways)
        if condition.endswith(" only"):
            is_on = set(wanted) == set(pathways)


def _words(name: str, package: str, pathways: Sequence[str], *, is_single: bool) -> dict[str, str]:
    title = name.replace("_", " ").capitalize()
    return {
        "name": name,
        "Name": "".join(word.capitalize() for word in name.split("_")),
        "Title": title,
        "package": package,
        "distribution": package.replace("_", "-"),
        "pathways_words": " and ".join(WORDS[each] for each in pathways),
        "python_make": f"python make_{name}.py" if is_single else "python make_data.py",
        "train": f"polyjanus --plugin {name}.py train {name}.yaml" if is_single else f"polyjanus train {name}.yaml",
    }
