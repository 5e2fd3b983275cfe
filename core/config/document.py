"""One YAML file and its parents as plain data in which every value still knows where it was written."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from polyjanus.core.config.merging import anchor_paths, apply_override, fill_environment, merge, read_override
from polyjanus.core.config.nodes import Node, Origin, UnreadableError, nodes_of, read_nodes
from polyjanus.core.errors import ConfigError, Fault, suggest

Place = tuple[str | int, ...]
"""Where a value is: keys and list indices from the top."""

MAX_BYTES = 1_000_000
"""Size of one file, at most."""
MAX_PARENTS = 20
"""Files that extend each other, at most."""
BUILTIN = "builtin:"
SHIPPED = "polyjanus.examples"


@dataclass(frozen=True)
class Document:
    """The data of a file, its parents, overrides and environment, and the origin of every value."""

    path: Path
    file: str
    data: dict[str, Any]
    origins: dict[Place, Origin]
    faults: tuple[Fault, ...] = ()

    @property
    def folder(self) -> Path:
        """Return the folder that relative paths start from."""
        return self.path.parent

    def origin(self, place: Sequence[str | int]) -> Origin:
        """Return where a value, or the nearest block around it, was written."""
        for length in range(len(place), 0, -1):
            found = self.origins.get(tuple(place[:length]))
            if found is not None:
                return found
        return self.origins.get((), Origin(self.file, 1))

    def value(self, place: Sequence[str | int]) -> Any:
        """Return the value at a place, or None where there is none."""
        value: Any = self.data
        for key in place:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def place(self, component: str) -> Place:
        """Return the place of a component path such as `image.generate.head`."""
        names = component.split(".")
        if names == ["marks"]:
            return ("modalities",)
        return tuple(names) if names[0] in ("backbone", "text", "pretrained") else ("modalities", *names)


def read_document(
    path: Path | str, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Document:
    """Return the data of a YAML file; a ConfigError lists everything that is wrong in it.

    `extends` puts the file over a parent, `overrides` (`key.path=value`) come last, and `${env:NAME}` is
    filled from `environ`, which is the process's environment when absent.
    """
    document = try_document(path, overrides, environ)
    if document.faults:
        raise ConfigError(document.faults)
    return document


def try_document(path: Path | str, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Document:
    """Return what could be read of a YAML file, with its faults beside it; a file without any data raises."""
    shown, resolved = str(path), Path(path).expanduser().resolve()
    faults: list[Fault] = []
    try:
        root = _Family(resolved.parent, faults).read(_Member(resolved, shown), ())
    except UnreadableError as error:
        raise ConfigError([*faults, error.fault]) from None
    root = fill_environment(_changed(root, overrides, faults), os.environ if environ is None else environ, faults)
    data, origins = flatten(root)
    return Document(resolved, shown, data, origins, tuple(faults))


def document_of(data: Mapping[str, Any], path: Path, overrides: Sequence[str]) -> Document:
    """Return plain data, read from something at `path` that is no YAML, as a document with `overrides` over it."""
    faults: list[Fault] = []
    root = _changed(nodes_of(data, Origin(str(path), None)), overrides, faults)
    return Document(path, str(path), *flatten(root), tuple(faults))


def _changed(root: Node, overrides: Sequence[str], faults: list[Fault]) -> Node:
    for text in overrides:
        try:
            root = apply_override(root, read_override(text), faults)
        except UnreadableError as error:
            faults.append(error.fault)
    return root


def flatten(root: Node) -> tuple[dict[str, Any], dict[Place, Origin]]:
    """Return a tree as plain data, and the origin of each place in it."""
    origins: dict[Place, Origin] = {}

    def plain(node: Node, place: Place) -> Any:
        origins[place] = node.origin
        if isinstance(node.value, dict):
            return {key: plain(inner, (*place, key)) for key, inner in node.value.items()}
        if isinstance(node.value, list):
            return [plain(inner, (*place, i)) for i, inner in enumerate(node.value)]
        return node.value

    return plain(root, ()), origins


@dataclass(frozen=True)
class _Member:
    """One file of a chain of parents: where it is, and how messages call it."""

    path: Path
    shown: str
    extended_at: Origin | None = None


class _Family:
    """Reads a file and its parents; all of them lie in or below `folder`, or ship with polyjanus."""

    def __init__(self, folder: Path, faults: list[Fault]) -> None:
        self.folder = folder
        self.faults = faults

    def read(self, member: _Member, chain: tuple[_Member, ...]) -> Node:
        """Return the tree of one file over those of its parents."""
        chain = (*chain, member)
        root, faults = read_nodes(_read_text(member), member.shown, kind="extends" if chain[1:] else "file")
        self.faults += faults
        if root is None:
            if faults:
                raise UnreadableError(self.faults.pop())
            raise UnreadableError(Fault(member.shown, None, "", "is empty; a pipeline starts with `polyjanus: 1`"))
        if not isinstance(root.value, dict):
            message = "holds no keys; a pipeline starts with `polyjanus: 1`"
            raise UnreadableError(Fault(member.shown, root.origin.line, "", message))
        parent = root.value.pop("extends", None)
        return root if parent is None else self._extend(root, parent, chain)

    def _extend(self, root: Node, parent: Node, chain: tuple[_Member, ...]) -> Node:
        if len(chain) > MAX_PARENTS:
            raise UnreadableError(self._fault(parent, f"more than {MAX_PARENTS} files extend each other"))
        member = self._find(parent, chain[-1])
        paths = [each.path for each in chain]
        if member.path in paths:
            names = " → ".join(each.shown for each in (*chain[paths.index(member.path) :], member))
            raise UnreadableError(self._fault(parent, f"files extend each other in a circle: {names}"))
        family = self
        if str(parent.value).startswith(BUILTIN):
            family = _Family(member.path.parent, self.faults)
        base = family.read(member, chain)
        return merge(anchor_paths(base, member.path.parent, chain[-1].path.parent), root)

    def _find(self, parent: Node, child: _Member) -> _Member:
        name = parent.value
        if not isinstance(name, str) or not name:
            raise UnreadableError(self._fault(parent, "expected the name of one file, or builtin:NAME"))
        if name.startswith(BUILTIN):
            return self._shipped(parent, name.removeprefix(BUILTIN))
        if "://" in name:
            message = f"{name!r} is an address; only files beside this one and builtin:NAME can be extended"
            raise UnreadableError(self._fault(parent, message))
        path = (child.path.parent / name).resolve()
        if not path.is_relative_to(self.folder):
            message = (
                f"{name!r} lies outside {str(self.folder)!r}; a parent lies in the folder of the first file or below"
            )
            raise UnreadableError(self._fault(parent, message))
        if not path.is_file():
            known = (
                [file.name for file in path.parent.glob("*.yaml") if file != child.path] if path.parent.is_dir() else []
            )
            message = f"there is no file {name!r}{suggest(path.name, known, noun='beside it') if known else ''}"
            raise UnreadableError(self._fault(parent, message))
        shown = os.path.normpath(Path(child.shown).parent / name)
        return _Member(path, shown, parent.origin)

    def _shipped(self, parent: Node, name: str) -> _Member:
        known = shipped()
        if name not in known:
            raise UnreadableError(
                self._fault(parent, f"no pipeline {name!r} ships{suggest(name, known, noun='shipped')}")
            )
        return _Member(known[name].resolve(), f"{BUILTIN}{name}", parent.origin)

    def _fault(self, parent: Node, message: str) -> Fault:
        return Fault(parent.origin.file, parent.origin.line, "extends", message)


def shipped() -> dict[str, Path]:
    """Return the pipelines that ship with polyjanus: name and file."""
    folder = files(SHIPPED)
    return {
        Path(file.name).stem: Path(str(file))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".yaml")
    }


def _read_text(member: _Member) -> str:
    """Return the text of a file, which is small and UTF-8."""
    where = member.extended_at or Origin(member.shown, None)
    try:
        with member.path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UnreadableError(Fault(where.file, where.line, "", f"cannot read {member.shown!r}: {reason}")) from None
    if len(raw) > MAX_BYTES:
        raise UnreadableError(Fault(member.shown, None, "", f"is larger than {MAX_BYTES // 1_000_000} MB; is it YAML?"))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        message = f"byte {raw[error.start]:#04x} is not UTF-8 (column {column}); save the file as UTF-8"
        raise UnreadableError(Fault(member.shown, line, "", message)) from None


def write_yaml(data: Any, path: Path) -> None:
    """Write plain data as YAML, keys in their order."""
    from ruamel.yaml import YAML as Writer

    writer = Writer(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    with path.open("w", encoding="utf-8") as file:
        writer.dump(data, file)  # type: ignore[no-untyped-call]
