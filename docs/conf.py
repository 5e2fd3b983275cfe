"""Builds the documentation: `make docs`. The reference is written from settings and docstrings on the way."""

import inspect
from pathlib import Path
from typing import Any

from polyjanus import __version__
from polyjanus.core import hookspecs, modality, modules
from polyjanus.core.cli.plugins import fields, row
from polyjanus.core.data import rows
from polyjanus.core.explaining import codes, explain
from polyjanus.core.manager import load_plugins

project = "polyjanus"
copyright = "the polyjanus authors"
version = release = __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
myst_fence_as_directive = []
suppress_warnings = ["misc.highlighting_failure"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"polyjanus {__version__}"
nitpicky = False
SOURCE = "https://github.com/polyjanus/polyjanus/blob/main"


def types_page() -> str:
    """Return every registered type with its settings."""
    lines = ["# Types and their settings", "", "What a pipeline may name, as `polyjanus plugins info NAME` shows it."]
    registries = load_plugins(third_party=False).registries
    for registry in registries:
        entries = sorted(registry, key=lambda entry: entry.settings.type_name())
        if entries:
            lines += ["", f"## {registry.kind}"]
        for entry in entries:
            told = row(entry, registries)
            lines += ["", f"### {registry.kind} `{told['type']}`", "", told["summary"]]
            lines += [f"For {', '.join(told['modality'])}."] if told["modality"] else []
            lines += [f'Needs `pip install "polyjanus[{told["extras"][0]}]"`.'] if told["extras"] else []
            lines += ["", *_table(fields(entry))]
    return "\n".join(lines) + "\n"


def _table(settings: list[dict[str, Any]]) -> list[str]:
    if not settings:
        return ["No settings."]
    found = ["| setting | kind | default | |", "|---|---|---|---|"]
    for setting in settings:
        default = "required" if setting["required"] else f"`{setting['default']!r}`"
        cells = (f"`{setting['name']}`", setting["type"], default, setting["description"])
        found.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return found


def contracts_page() -> str:
    """Return the interfaces that plugins implement, with the docstrings of all their methods."""
    lines = ["# Contracts", "", "What a plugin implements. Shapes are said in the letters of each module."]
    parts = [("Modality", modality.Modality), ("Source", rows.Source)]
    names = ("Encoder", "Adaptor", "Codec", "Layout", "CodeEmbedding", "Backbone", "Sampler", "Head", "LogitsHead")
    parts += [(name, getattr(modules, name)) for name in names]
    for name, part in parts:
        lines += ["", f"## {name}", "", f"`{part.__module__}.{name}`: {inspect.getdoc(part)}"]
        for method, value in vars(part).items():
            function = value.fget if isinstance(value, property) else value
            if method.startswith("_") or not callable(function) or not inspect.getdoc(function):
                continue
            words = "" if isinstance(value, property) else str(inspect.signature(function)).replace("polyjanus.", "")
            kind = "abstract " if getattr(function, "__isabstractmethod__", False) else ""
            lines += ["", f"### {name}.{method}", "", f"{kind}`{method}{words}`", "", inspect.getdoc(function) or ""]
    lines += ["", "## Hooks", "", "Functions marked with `@hookimpl` from `polyjanus.core.hookspecs`."]
    for name, hook in vars(hookspecs).items():
        if hasattr(hook, "polyjanus_spec"):
            lines += ["", f"### {name}", "", f"`{name}{inspect.signature(hook)}`", "", inspect.getdoc(hook) or ""]
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """Return every code of an error with what it means."""
    lines = [
        "# Error codes",
        "",
        "A user's fault ends in one message with what, where and the remedy, and exit status 2. It",
    ]
    lines += ["names its code; `polyjanus explain CODE` says what stands here."]
    for code, part in codes().items():
        lines += ["", f"## {code}", "", f"`polyjanus.core.errors.{part.__name__}`", "", explain(code)]
    return "\n".join(lines) + "\n"


def setup(app: Any) -> None:
    """Write the reference, and let links into the sources lead to where they are."""
    home = Path(__file__).parent / "reference"
    home.mkdir(exist_ok=True)
    for name, page in (("types", types_page), ("contracts", contracts_page), ("errors", errors_page)):
        (home / f"{name}.md").write_text(page(), encoding="utf-8")
    app.connect("source-read", _lead_to_sources)


def _lead_to_sources(_: Any, __: str, source: list[str]) -> None:
    source[0] = source[0].replace("](../", f"]({SOURCE}/")
