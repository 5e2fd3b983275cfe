"""Files as users name them: found, measured and read within a limit, before any library sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polyjanus.core.errors import MediaError

REMOTE = ("http://", "https://", "ftp://", "s3://")


def name_of(source: Any, otherwise: str) -> str:
    """Return what a message calls a source: its path, or the name of its modality."""
    return str(source) if isinstance(source, str | Path) else otherwise


def find_file(source: str | Path, *, max_bytes: int, noun: str = "file") -> Path:
    """Return the path of a file that exists, is not empty and has at most `max_bytes`; else a MediaError."""
    where = str(source)
    if isinstance(source, str) and source.startswith(REMOTE):
        raise MediaError(f"{noun} is not downloaded", where=where, hint="download it and give the path")
    path = Path(source).expanduser()
    try:
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "does not exist"
            raise MediaError(f"the {noun} {found}", where=where, hint="relative paths start where you are")
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise MediaError(f"the {noun} cannot be read: {error}", where=where) from error
    check_size(size, max_bytes=max_bytes, where=where, noun=noun)
    return path


def read_file(source: str | Path, *, max_bytes: int, noun: str = "file") -> bytes:
    """Return the bytes of a file, at most `max_bytes` of them; else a MediaError."""
    path = find_file(source, max_bytes=max_bytes, noun=noun)
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError(f"the {noun} cannot be read: {error}", where=str(source)) from error


def check_size(size: int, *, max_bytes: int, where: str, noun: str = "file") -> None:
    """Refuse nothing at all, and more than `max_bytes`."""
    if not size:
        raise MediaError(f"the {noun} is empty: 0 bytes", where=where, hint="was the download cut off?")
    if size > max_bytes:
        raise MediaError(f"{size} bytes are more than {max_bytes}", where=where, hint=over_limit("max_bytes"))


def over_limit(key: str) -> str:
    """Return the remedy for a medium that is over a limit of its modality."""
    return f"make it smaller, or raise '{key}' of its modality"


def guess_content(content: bytes, otherwise: str) -> str:
    """Return what content that no library of its modality knows seems to be."""
    start = content[:200].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is a web page; the download went wrong"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; run `git lfs pull`"
    if b"<svg" in start:
        return "it is a vector drawing; export it as PNG"
    return otherwise
