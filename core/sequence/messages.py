"""Messages as a user gives them, read into typed parts; a part is never a placeholder inside text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from polyjanus.core.errors import SequenceError, suggest
from polyjanus.core.modality import Modality

Role = Literal["system", "user", "assistant", "raw"]
Pathway = Literal["understand", "generate"]
ROLES = ("system", "user", "assistant", "raw")
PATHWAYS = ("understand", "generate")


@dataclass(frozen=True)
class TextPart:
    """A piece of text, taken as it is: nothing in it can become a special token."""

    text: str


@dataclass(frozen=True)
class MediaPart:
    """One item of a modality: its source (a path, bytes or an object), and the pathway that reads it."""

    modality: str
    pathway: Pathway
    source: Any
    start: float | None = None
    duration: float | None = None


Part = TextPart | MediaPart


@dataclass(frozen=True)
class Message:
    """What one side said. A message of role `raw` stands outside any template and is learned whole."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Pathways:
    """Which pathways each modality of a pipeline has."""

    understood: frozenset[str]
    generated: frozenset[str]


def read_messages(
    raw: Sequence[Mapping[str, Any]], modalities: Mapping[str, Modality[Any, Any]], pathways: Pathways
) -> list[Message]:
    """Return the messages with their parts typed; a SequenceError names the message and the part at fault."""
    return [_read_message(message, f"messages[{i}]", modalities, pathways) for i, message in enumerate(raw)]


def readable(text: str) -> str:
    """Return text that UTF-8 can hold: a surrogate without its other half becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _read_message(
    raw: Mapping[str, Any], where: str, modalities: Mapping[str, Modality[Any, Any]], pathways: Pathways
) -> Message:
    if not isinstance(cast(object, raw), Mapping):
        raise SequenceError(f"is a {type(raw).__name__}; a message has 'role' and 'content'", where=where)
    unknown = set(raw) - {"role", "content"}
    if unknown or "role" not in raw or "content" not in raw:
        raise SequenceError(f"has the keys {sorted(raw)}; a message has 'role' and 'content'", where=where)
    role = raw["role"]
    if role not in ROLES:
        raise SequenceError(f"has the role {role!r}{suggest(str(role), ROLES, noun='roles')}", where=where)
    content = raw["content"]
    if isinstance(content, str):
        return Message(role, (TextPart(readable(content)),))
    if not isinstance(content, Sequence):
        raise SequenceError(f"content is a {type(content).__name__}, not text or a list of parts", where=where)
    parts = cast("Sequence[Any]", content)
    return Message(
        role,
        tuple(_read_part(part, f"{where}.content[{i}]", role, modalities, pathways) for i, part in enumerate(parts)),
    )


def _read_part(
    part: Any, where: str, role: str, modalities: Mapping[str, Modality[Any, Any]], pathways: Pathways
) -> Part:
    if isinstance(part, str):
        return TextPart(readable(part))
    if not isinstance(part, Mapping) or "type" not in part:
        raise SequenceError(f"a part is a mapping with a 'type', not {part!r:.80}", where=where)
    block = cast("Mapping[str, Any]", part)
    name = block["type"]
    if name == "text":
        if set(block) != {"type", "text"} or not isinstance(block["text"], str):
            raise SequenceError("a text part has 'type' and 'text' alone", where=where)
        return TextPart(readable(block["text"]))
    if not isinstance(name, str) or name not in modalities:
        known = [*modalities, "text"]
        raise SequenceError(f"no modality {name!r} in this pipeline{suggest(str(name), known)}", where=where)
    pathway = _pathway(block, name, role, pathways, where)
    return _media_part(block, modalities[name], name, pathway, where)


def _pathway(block: Mapping[str, Any], name: str, role: str, pathways: Pathways, where: str) -> Pathway:
    """Return the pathway that a part asks for, or that follows from who sends it."""
    pathway = block.get("pathway", "generate" if role == "assistant" else "understand")
    if pathway not in PATHWAYS:
        raise SequenceError(f"no pathway {pathway!r}{suggest(str(pathway), PATHWAYS)}", where=where)
    offered = pathways.generated if pathway == "generate" else pathways.understood
    if name not in offered:
        verb = "generated" if pathway == "generate" else "understood"
        raise SequenceError(
            f"{name!r} cannot be {verb} in this pipeline",
            where=where,
            hint=f"add a {pathway!r} block under modalities.{name}, or say which pathway the part takes",
        )
    return pathway


def _media_part(
    block: Mapping[str, Any], modality: Modality[Any, Any], name: str, pathway: Pathway, where: str
) -> MediaPart:
    known = list(dict.fromkeys([name, *modality.keys]))  # a medium may stand under the name that the YAML gives it
    keys = [key for key in known if key in block]
    unknown = set(block) - {"type", "pathway", "start", "duration", *known}
    if unknown:
        key = sorted(unknown)[0]
        raise SequenceError(f"unknown key {key!r}{suggest(key, [*known, 'start', 'duration'])}", where=where)
    if len(keys) != 1:
        raise SequenceError(f"needs exactly one of {', '.join(map(repr, known))}, has {keys}", where=where)
    return MediaPart(name, pathway, block[keys[0]], block.get("start"), block.get("duration"))
