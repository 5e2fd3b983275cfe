"""What an item is known by: a digest of its file's bytes, or of its medium in memory, with start and duration."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from polyjanus.core.decoding.wire import send
from polyjanus.core.modality import Modality
from polyjanus.core.sequence.messages import MediaPart
from polyjanus.core.sequence.spans import Load

RACY_NS = 2_000_000_000
"""A file changed so recently may change again without its time telling; its digest is not remembered."""
MOST_FILES = 100_000
"""Files whose digests are remembered."""

Stamp = tuple[int, ...]


class ItemDigests:
    """Knows items by what is in them, never by their names."""

    def __init__(self, modalities: Mapping[str, Modality[Any, Any]]) -> None:
        self.modalities = modalities
        self._files: dict[Path, tuple[Stamp, bytes]] = {}

    def of(self, part: MediaPart, load: Load) -> tuple[bytes | None, Any]:
        """Return the digest of an item, None where it has none, and its medium where that had to be loaded."""
        modality = self.modalities[part.modality]
        content, media = self._of_source(modality, part.source), None
        if content is None:
            media = load(part.modality, part.source, part.start, part.duration)
            content = _of_media(modality, media)
        times = [None if value is None else float(value) for value in (part.start, part.duration)]
        return None if content is None else hashlib.sha256(content + repr(times).encode()).digest(), media

    def _of_source(self, modality: Modality[Any, Any], source: Any) -> bytes | None:
        """Return the digest of a file or of bytes; None for objects, and for files that name others."""
        if isinstance(source, bytes | bytearray | memoryview):
            return b"bytes" + hashlib.sha256(cast(bytes, source)).digest()
        if not isinstance(source, str | Path):
            return None
        path = Path(source).expanduser()
        try:
            files = modality.files_of(path)
            if files is None:
                return None
            whole = hashlib.sha256(b"".join(self._of_file(file) for file in files))
        except (OSError, ValueError):  # whoever loads it says what is wrong
            return None
        return b"file" + path.suffix.lower().encode("utf-8", "replace") + whole.digest()

    def _of_file(self, file: Path) -> bytes:
        """Return the digest of a file, which is read once as long as it is not touched."""
        stamp = _stamp(file)
        known = self._files.get(file)
        if known is not None and known[0] == stamp:
            return known[1]
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").digest()
        if _stamp(file) == stamp and max(stamp[-2:]) < time.time_ns() - RACY_NS:
            if len(self._files) >= MOST_FILES:
                self._files.clear()
            self._files[file] = stamp, found
        return found


class _Hashing:
    """A stream that keeps a digest of what is written to it."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, content: Any) -> None:
        self.hash.update(content)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


def _stamp(file: Path) -> Stamp:
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _of_media(modality: Modality[Any, Any], media: Any) -> bytes | None:
    """Return the digest of a medium as its modality packs it; None where it does not say how."""
    stream = _Hashing()
    try:
        send(cast(BinaryIO, stream), dict(modality.pack(media)))
    except (NotImplementedError, TypeError):
        return None
    return b"media" + stream.hash.digest()
