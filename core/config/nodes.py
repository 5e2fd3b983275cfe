"""YAML text to a tree in which every value knows its line.

It reads events one by one, so that nothing large is built before it is checked.
"""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from polyjanus.core.config.scalars import Scalar, ScalarError, read_scalar
from polyjanus.core.errors import Fault

MAX_VALUES = 100_000
"""Values of one file, each use of an alias counted."""
MAX_DEPTH = 100
"""Blocks inside blocks."""

_DEEP = re.compile(rf"(?:[\[{{]\s*){{{MAX_DEPTH + 1}}}")

OriginKind = Literal["file", "extends", "override", "env"]


@dataclass(frozen=True)
class Origin:
    """Where a value was written; `line` and `column` count from one, `line` is that of its key."""

    file: str
    line: int | None
    column: int | None = None
    text: str = ""
    kind: OriginKind = "file"

    def __str__(self) -> str:
        """Return `file:line`."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Node:
    """One value: a scalar, a mapping or a list of nodes; `is_plain` says that a scalar was not quoted."""

    value: "Scalar | dict[str, Node] | list[Node]"
    origin: Origin
    is_plain: bool = False
    size: int = 1
    depth: int = 0


def nodes_of(value: Any, origin: Origin) -> Node:
    """Return plain data as a tree whose every value comes from one place."""
    if isinstance(value, Mapping):
        blocks = cast("Mapping[str, Any]", value)
        return Node({str(key): nodes_of(inner, origin) for key, inner in blocks.items()}, origin)
    if isinstance(value, list | tuple):
        return Node([nodes_of(inner, origin) for inner in cast("list[Any]", value)], origin)
    return Node(value, origin)


class UnreadableError(Exception):
    """Text that cannot be read any further."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def read_nodes(text: str, file: str, *, kind: OriginKind = "file") -> tuple[Node | None, list[Fault]]:
    """Return the tree of one YAML document, and everything that is wrong in it; no text gives no tree."""
    reader = _Reader(file, kind)
    try:
        return reader.read(text), reader.faults
    except UnreadableError as error:
        return None, [*reader.faults, error.fault]


class _Reader:
    """Builds nodes from the events of ruamel's parser."""

    def __init__(self, file: str, kind: OriginKind) -> None:
        self.file = file
        self.kind: OriginKind = kind
        self.faults: list[Fault] = []
        self.anchors: dict[str, Node] = {}
        self.count = 0
        self.events: Iterator[Any] = iter(())

    def read(self, text: str) -> Node | None:
        deep = _DEEP.search(text)
        if deep:
            raise self._too_deep(text.count("\n", 0, deep.start()) + 1)
        parser: Any = YAML(typ="safe", pure=True)
        self.events = iter(parser.parse(io.StringIO(text)))
        try:
            return self._read_document()
        except MarkedYAMLError as error:
            raise UnreadableError(self._syntax_fault(error)) from None
        except ReaderError as error:
            raise UnreadableError(self._character_fault(error, text)) from None
        except (YAMLError, ValueError, IndexError, AttributeError, AssertionError) as error:  # ruamel's own slips
            raise UnreadableError(Fault(self.file, None, "", f"is no YAML: {error}")) from None

    def _read_document(self) -> Node | None:
        next(self.events)
        start = next(self.events)
        if type(start).__name__ == "StreamEndEvent":
            return None
        if start.version not in (None, (1, 2)):
            self._fault(start, "", "files are read as YAML 1.2; remove the %YAML line")
        root = self._node(next(self.events), "", 0)
        next(self.events)
        if type(after := next(self.events)).__name__ != "StreamEndEvent":
            self._fault(after, "", "a second document starts here; one file holds one pipeline")
        return root

    def _node(self, event: Any, path: str, depth: int) -> Node:
        self.count += 1
        if self.count > MAX_VALUES:
            raise UnreadableError(Fault(self.file, self._line(event), path, f"more than {MAX_VALUES:,} values"))
        if depth > MAX_DEPTH:
            raise self._too_deep(self._line(event))
        name = type(event).__name__
        if name == "AliasEvent":
            return self._alias(event, path, depth)
        if event.tag is not None:
            self._fault(event, path, f"the tag {_shown_tag(str(event.tag))} is not allowed; only plain YAML is read")
        if name == "ScalarEvent":
            node = self._scalar(event, path)
        elif name == "MappingStartEvent":
            node = self._mapping(event, path, depth)
        else:
            node = self._list(event, path, depth)
        if event.anchor is not None:
            self.anchors[str(event.anchor)] = node
        return node

    def _alias(self, event: Any, path: str, depth: int) -> Node:
        name = str(event.anchor)
        node = self.anchors.get(name)
        if node is None:
            self._fault(event, path, _alias_message(f"*{name}"))
            return Node(f"*{name}", self._origin(event, f"*{name}"))
        self.count += node.size - 1
        if self.count > MAX_VALUES:
            message = f"the alias *{name} makes more than {MAX_VALUES:,} values"
            raise UnreadableError(Fault(self.file, self._line(event), path, message))
        if depth + node.depth > MAX_DEPTH:
            raise self._too_deep(self._line(event))
        return node

    def _scalar(self, event: Any, path: str) -> Node:
        text = str(event.value)
        is_plain = not event.style and event.implicit[0]
        value: Scalar = text
        if is_plain:
            try:
                value = read_scalar(text)
            except ScalarError as error:
                self._fault(event, path, str(error))
        return Node(value, self._origin(event, text), is_plain)

    def _mapping(self, start: Any, path: str, depth: int) -> Node:
        blocks: dict[str, Node] = {}
        while type(event := next(self.events)).__name__ != "MappingEndEvent":
            key = self._key(event, path, depth)
            inner = f"{path}.{key}" if path else key
            node = self._node(next(self.events), inner, depth + 1)
            node = replace(node, origin=self._origin(event, node.origin.text))
            if key in blocks:
                first = blocks[key].origin.line
                self._fault(event, inner, f"is written twice, on lines {first} and {self._line(event)}; keep one")
            elif key == "<<":
                self._fault(event, inner, "merge keys are not read; use `extends:`, or an alias for a whole block")
            else:
                blocks[key] = node
        return self._block(start, blocks, list(blocks.values()))

    def _key(self, event: Any, path: str, depth: int) -> str:
        node = self._node(event, path, depth + 1)
        if isinstance(node.value, str) and type(event).__name__ == "ScalarEvent":
            return node.value
        text = node.origin.text if not isinstance(node.value, dict | list) else ""
        hint = f"write it in quotes: '{text}'" if text else "a list or a block is no key"
        self._fault(event, path, f"a key must be text; {hint}")
        return text or "?"

    def _list(self, start: Any, path: str, depth: int) -> Node:
        items: list[Node] = []
        while type(event := next(self.events)).__name__ != "SequenceEndEvent":
            node = self._node(event, f"{path}.{len(items)}" if path else str(len(items)), depth + 1)
            items.append(replace(node, origin=self._origin(event, node.origin.text)))
        return self._block(start, items, items)

    def _block(self, start: Any, value: "dict[str, Node] | list[Node]", children: list[Node]) -> Node:
        size = 1 + sum(child.size for child in children)
        depth = 1 + max((child.depth for child in children), default=0)
        return Node(value, self._origin(start, ""), size=size, depth=depth)

    def _origin(self, event: Any, text: str) -> Origin:
        return Origin(self.file, self._line(event), int(event.start_mark.column) + 1, text, self.kind)

    def _line(self, event: Any) -> int | None:
        return None if self.kind == "override" else int(event.start_mark.line) + 1

    def _fault(self, event: Any, path: str, message: str) -> None:
        self.faults.append(Fault(self.file, self._line(event), path, message))

    def _too_deep(self, line: int | None) -> UnreadableError:
        return UnreadableError(Fault(self.file, line, "", f"more than {MAX_DEPTH} blocks inside each other"))

    def _syntax_fault(self, error: MarkedYAMLError) -> Fault:
        raw: Any = error
        mark, start = raw.problem_mark or raw.context_mark, raw.context_mark
        message = _syntax_message(str(raw.problem or raw.context), str(raw.context))
        if mark is None or self.kind == "override":
            return Fault(self.file, None, "", message)
        begun = f", begun on line {start.line + 1}" if start is not None and start.line != mark.line else ""
        return Fault(self.file, mark.line + 1, "", f"{message} (column {mark.column + 1}{begun})")

    def _character_fault(self, error: ReaderError, text: str) -> Fault:
        raw: Any = error
        before = text[: raw.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"character {raw.character:#06x} is not allowed in YAML (column {column})"
        return Fault(self.file, None if self.kind == "override" else line, "", message)


def _shown_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _alias_message(text: str) -> str:
    return f"{text} reads as a YAML alias, and nothing is named &{text[1:]}; quote it: '{text}'"


def _syntax_message(problem: str, context: str) -> str:
    if "'\\t'" in problem:
        return "a tab where YAML wants spaces; indent with spaces"
    if "scanning an alias" in context or "scanning an anchor" in context:
        return "an unquoted '*' or '&' starts an alias; quote the text that it belongs to"
    if "mapping values are not allowed" in problem:
        return "a ':' that YAML cannot place; check the indentation, or quote the text that it belongs to"
    return f"broken YAML: {problem}" + ("" if context in ("None", "") else f" ({context})")
