"""Folders that are there whole or not at all, with a manifest that proves it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any, cast
from uuid import uuid4

from safetensors import SafetensorError

from polyjanus.core.errors import CheckpointError

MANIFEST = "manifest.json"
FORMAT = 2
READ = (1, FORMAT)
"""Formats that are read: the manifests of the first do not prove themselves."""
_SEAL = ',\n "digest": "'


@contextmanager
def atomic_dir(target: Path, **manifest: Any) -> Generator[Path]:
    """Yield a new folder beside `target` that takes its place when the block ends; after an error nothing is left.

    On the way out the manifest is written last, with `manifest` and the size and SHA-256 of every file; files and
    folder are flushed to disk before the rename. A disk that does not take it is a CheckpointError.
    """
    target = target.absolute()
    draft = _aside(target, "tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        yield draft
        write_manifest(draft, manifest)
        _replace(draft, target)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, (OSError, SafetensorError)):
            raise CheckpointError(
                f"could not be written: {error}",
                where=str(target),
                hint="what was saved before is untouched; make room, or write elsewhere",
            ) from error
        raise


def write_manifest(folder: Path, entries: dict[str, Any]) -> None:
    """Write the manifest of a folder whose other files are complete, and flush all of it to disk."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    text = json.dumps({"format": FORMAT, **entries, "files": files}, indent=1)
    (folder / MANIFEST).write_text(sealed(text.removesuffix("\n}")), encoding="utf-8")
    for path in folder.rglob("*"):
        flush(path)
    flush(folder)


def sealed(body: str) -> str:
    """Return the text of a manifest, given all but its closing brace, with the digest of that as its last entry."""
    return f'{body}{_SEAL}{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


def _aside(target: Path, why: str) -> Path:
    """Return a name beside a folder that no one takes for a checkpoint."""
    return target.with_name(f".{target.name}.{why}-{uuid4().hex[:8]}")


def set_aside(folder: Path) -> Path:
    """Rename a damaged folder so that nothing counts or overwrites it, and return where it is kept."""
    kept = _aside(folder, "damaged")
    folder.rename(kept)
    return kept


def remove(folder: Path) -> None:
    """Remove a folder; what a killed process leaves of it is not taken for a checkpoint, and is tidied."""
    doomed = _aside(folder, "tmp")
    try:
        folder.rename(doomed)
    except OSError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file that is the old one or the new one at any moment."""
    draft = path.with_name(f".{path.name}.tmp-{uuid4().hex[:8]}")
    try:
        draft.write_text(text, encoding="utf-8")
        flush(draft)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _replace(draft: Path, target: Path) -> None:
    """Rename the draft to its target; an older folder of that name steps aside first and goes last."""
    old = _aside(target, "old")
    if target.exists():
        target.rename(old)
    try:
        draft.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
    try:
        flush(target.parent)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def tidy(home: Path) -> list[str]:
    """Remove what killed writers left under a folder, and return the names of what they had not finished.

    What stepped aside for a folder that never came goes back.
    """
    for old in home.glob(".*.old-*"):
        target = home / old.name[1:].rpartition(".old-")[0]
        if not target.exists() and is_complete(old):
            old.rename(target)
    unfinished = sorted(path.name for path in home.glob(".*.tmp-*"))
    for left in [*home.glob(".*.old-*"), *home.glob(".*.tmp-*")]:
        shutil.rmtree(left, ignore_errors=True)
    return unfinished


def flush(path: Path) -> None:
    """Flush a file or a folder to disk; a system that cannot flush folders is left alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_complete(folder: Path) -> bool:
    """Tell whether a folder has a manifest and every file in it, at its size; contents are not read."""
    try:
        files = read_manifest(folder)["files"]
    except CheckpointError:
        return False
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == entry["bytes"] for name, entry in files.items()
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder; a CheckpointError says why there is none."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(f"there is no {MANIFEST}: the folder is not a whole checkpoint", where=str(folder))
    try:
        text = path.read_bytes().decode()
        manifest: Any = json.loads(text)
        version = manifest["format"]
        names = [name for name, entry in manifest["files"].items() if (entry["bytes"], entry["sha256"])]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{MANIFEST} is damaged: {error}", where=str(folder)) from error
    is_sealed = text == sealed(text.rpartition(_SEAL)[0])
    if ("digest" in manifest or version == FORMAT) and not is_sealed:
        raise CheckpointError(f"{MANIFEST} is damaged: it is not what its own digest says", where=str(folder))
    if version not in READ:
        raise CheckpointError(
            f"has checkpoint format {version}; this polyjanus reads {FORMAT}",
            where=str(folder),
            hint="install the polyjanus that wrote it",
        )
    if any(PureWindowsPath(name).anchor or ".." in PureWindowsPath(name).parts for name in names):  # of any system
        raise CheckpointError(f"{MANIFEST} names files outside the folder", where=str(folder))
    return cast("dict[str, Any]", manifest)


def verify(folder: Path, wanted: Callable[[str], bool] | None = None) -> dict[str, Any]:
    """Return the manifest after comparing every file with it, or those whose names are wanted.

    The first that differs is named in a CheckpointError.
    """
    manifest = read_manifest(folder)
    for name, entry in manifest["files"].items():
        if wanted is not None and not wanted(name):
            continue
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{name} is missing", where=str(folder))
        if path.stat().st_size != entry["bytes"] or digest(path) != entry["sha256"]:
            raise CheckpointError(
                f"{name} is damaged: it is not what its checksum in {MANIFEST} says",
                where=str(folder),
                hint="copy the checkpoint again, or use an older one",
            )
    return manifest
