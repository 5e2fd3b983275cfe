"""From trees of nodes to one tree: children over parents, overrides on top, `${env:NAME}` filled."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from polyjanus.core.config.nodes import Node, Origin, UnreadableError, read_nodes
from polyjanus.core.config.scalars import Scalar, ScalarError, read_scalar
from polyjanus.core.errors import Fault, suggest

_ENV = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def merge(parent: Node, child: Node, name: str = "") -> Node:
    """Return the child over the parent: mappings merge, all else is the child's; another `type` replaces the block."""
    if isinstance(parent.value, dict) and "type" in parent.value:
        child = _as_block(child)
    if isinstance(child.value, dict):
        parent = _as_block(parent)
    if not isinstance(parent.value, dict) or not isinstance(child.value, dict):
        return child
    if "type" in child.value and child.value["type"].value != _type_of(parent.value, name):
        return child
    blocks = dict(parent.value)
    for key, node in child.value.items():
        blocks[key] = merge(blocks[key], node, key) if key in blocks else node
    return Node(blocks, child.origin)


def _as_block(node: Node) -> Node:
    """Write `sampler: greedy` out as `sampler: {type: greedy}`."""
    return Node({"type": node}, node.origin) if isinstance(node.value, str) else node


def _type_of(blocks: Mapping[str, Node], name: str) -> object:
    return blocks["type"].value if "type" in blocks else name


def change(node: Node, function: Callable[[Node, str], Node], path: str = "") -> Node:
    """Return the tree with every scalar replaced by what `function(node, path)` says."""
    if isinstance(node.value, dict):
        blocks = {key: change(inner, function, f"{path}.{key}" if path else key) for key, inner in node.value.items()}
        return replace(node, value=blocks)
    if isinstance(node.value, list):
        items = [change(inner, function, f"{path}.{i}" if path else str(i)) for i, inner in enumerate(node.value)]
        return replace(node, value=items)
    return function(node, path)


def anchor_paths(node: Node, old: Path, new: Path) -> Node:
    """Return the tree with its `./` and `../` strings, which were relative to `old`, made relative to `new`."""

    def anchored(scalar: Node, path: str) -> Node:
        text = scalar.value
        if not isinstance(text, str) or not (text.startswith(("./", "../")) or text in (".", "..")):
            return scalar
        moved = Path(os.path.relpath(old / text, new)).as_posix()
        return replace(scalar, value=moved if moved.startswith("..") else f"./{moved}")

    return node if old == new else change(node, anchored)


def fill_environment(node: Node, environ: Mapping[str, str], faults: list[Fault]) -> Node:
    """Return the tree with `${env:NAME}` and `${env:NAME:-default}` filled; missing names become faults."""

    def filled(scalar: Node, path: str) -> Node:
        if not isinstance(scalar.value, str) or "${env:" not in scalar.value:
            return scalar
        origin = scalar.origin
        uses = list(_ENV.finditer(scalar.value))
        if not uses:
            faults.append(Fault(origin.file, origin.line, path, f"{scalar.value!r} is not of the form ${{env:NAME}}"))
        for name in sorted({use[1] for use in uses if use[1] not in environ and use[2] is None}):
            message = f"no environment variable {name!r}; set it, or write ${{env:{name}:-default}}"
            faults.append(Fault(origin.file, origin.line, path, message))
        text = _ENV.sub(lambda use: environ.get(use[1], use[2] or ""), scalar.value)
        kind = "env" if any(use[1] in environ for use in uses) else origin.kind
        return replace(scalar, value=_read_again(scalar, text), origin=replace(origin, kind=kind))

    return change(node, filled)


def _read_again(scalar: Node, text: str) -> Scalar:
    """Give an unquoted `${env:BATCH}` the type that its value would have had in the file."""
    try:
        return read_scalar(text) if scalar.is_plain else text
    except ScalarError:
        return text


@dataclass(frozen=True)
class Override:
    """One `key.path=value` from the command line."""

    text: str
    keys: tuple[str, ...]
    value: Node

    @property
    def label(self) -> str:
        """Return how faults name this override."""
        return override_label(self.text)


def override_label(text: str) -> str:
    """Return how faults name an override."""
    return f"override {text!r}"


def read_override(text: str) -> Override:
    """Return a parsed override; UnreadableError says what is wrong with it."""
    label = override_label(text)
    key, equals, written = text.partition("=")
    keys = tuple(part.strip() for part in key.split("."))
    if not equals or not all(keys):
        raise UnreadableError(Fault(label, None, "", "an override is written key.path=value"))
    if keys[0] == "extends":
        raise UnreadableError(Fault(label, None, "", "`extends` cannot be overridden; name another file"))
    node, faults = read_nodes(written, label, kind="override")
    if faults:
        raise UnreadableError(replace(faults[0], path=key))
    empty = Node(None, Origin(label, None, kind="override"))
    return Override(text, keys, node if node is not None else empty)


def apply_override(root: Node, override: Override, faults: list[Fault]) -> Node:
    """Return the tree with one value put in; lists are entered by index or by the `name` of an item.

    A component path, which starts with the name of a modality, is one below `modalities`.
    """
    modalities = root.value.get("modalities") if isinstance(root.value, dict) else None
    if modalities is not None and isinstance(modalities.value, dict) and isinstance(root.value, dict):
        first = override.keys[0]
        if first in modalities.value and first not in root.value:
            override = replace(override, keys=("modalities", *override.keys))
    try:
        return _put(root, override, override.keys)
    except UnreadableError as error:
        faults.append(error.fault)
        return root


def _put(node: Node, override: Override, keys: Sequence[str]) -> Node:
    if not keys:
        return override.value
    key, rest = keys[0], keys[1:]
    if isinstance(node.value, list):
        index = _index(node.value, override, key, len(override.keys) - len(keys))
        items = list(node.value)
        items[index] = _put(items[index], override, rest)
        return replace(node, value=items)
    block = _as_block(node)
    if block.value is None:
        block = Node({}, override.value.origin)
    if not isinstance(block.value, dict):
        place = ".".join(override.keys[: len(override.keys) - len(keys)])
        raise UnreadableError(Fault(override.label, None, place, f"is no block, so it has no {key!r}"))
    inner = block.value.get(key, Node({}, override.value.origin))
    return replace(block, value={**block.value, key: _put(inner, override, rest)})


def _index(items: Sequence[Node], override: Override, key: str, depth: int) -> int:
    names = [_name_of(item) for item in items]
    if key in names:
        return names.index(key)
    if key.isascii() and key.isdecimal() and int(key[:9]) < len(items):
        return int(key[:9])
    place = ".".join(override.keys[:depth])
    known = [name for name in names if name]
    message = f"has {len(items)} items, and none is {key!r}{suggest(key, known, noun='named') if known else ''}"
    raise UnreadableError(Fault(override.label, None, place, message))


def _name_of(item: Node) -> str:
    name = item.value.get("name") if isinstance(item.value, dict) else None
    return str(name.value) if name is not None else ""
