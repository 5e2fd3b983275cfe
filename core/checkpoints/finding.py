"""From what a user typed to a checkpoint folder: a path, a run, a YAML, a shipped name or a hub id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

from polyjanus.core.checkpoints.atomic import MANIFEST, is_complete, read_manifest, verify
from polyjanus.core.errors import CheckpointError, UsageError, suggest
from polyjanus.core.settings import is_local

RUNS = Path("runs")
CHECKPOINTS = "checkpoints"
BEST = "best"
DEFAULT = "quintet"
"""The shipped pipeline that is shown to who names none."""


def shipped() -> dict[str, Path]:
    """Return the pipelines that come with the package, by name."""
    home = Path(str(files("polyjanus") / "models"))
    return {path.parent.name: path.parent for path in sorted(home.glob(f"*/{MANIFEST}"))}


def _never(folder: Path) -> bool:
    return False


def find_checkpoint(source: str | Path, is_foreign: Callable[[Path], bool] = _never) -> Path:
    """Return the folder of a checkpoint: what the command line calls PIPELINE.

    In order: an existing path (a checkpoint; a run, its best or else its newest; a YAML, the newest of its runs), a
    shipped name, a hub id in the local cache. `is_foreign` tells of a folder whether another library wrote it in a
    format that is known.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path if is_foreign(path) else _in_folder(path)
    if path.is_file():
        return _of_yaml(path)
    name = str(source)
    if name in shipped():
        return shipped()[name]
    if path.parent != Path() and path.parent.is_dir():
        beside = sorted(entry.name for entry in path.parent.iterdir() if entry.is_dir() and entry.name[0] != ".")
        raise UsageError(f"there is no {name!r}{suggest(path.name, beside, noun=f'in {path.parent}')}")
    if is_local(name) or name.count("/") != 1 or path.suffix in {".yaml", ".yml"}:
        raise UsageError(f"there is no pipeline {name!r}{suggest(name, shipped(), noun='shipped')}")
    return _from_hub(name)


def _in_folder(folder: Path) -> Path:
    if (folder / MANIFEST).is_file():
        return folder
    found = newest(folder / CHECKPOINTS)
    if found is None:
        raise CheckpointError(
            f"is neither a checkpoint nor a run with a complete one: there is no {MANIFEST}", where=str(folder)
        )
    return found


def _of_yaml(path: Path) -> Path:
    for run in reversed(runs_of(path)):
        found = newest(run / CHECKPOINTS)
        if found is not None:
            return found
    raise CheckpointError(f"{path} is untrained", hint=f"polyjanus train {path}")


def runs_of(yaml: Path) -> list[Path]:
    """Return the run folders of a YAML, oldest first: `runs/<stem>/<n>`."""
    home = RUNS / yaml.stem
    numbered = [path for path in home.glob("*") if path.name.isdigit() and path.is_dir()]
    return sorted(numbered, key=lambda path: int(path.name))


def newest_run(yaml: Path) -> Path | None:
    """Return the newest run of a YAML that has saved anything, else the newest of all, if there is one."""
    runs = runs_of(yaml)
    saved = [run for run in runs if any((run / CHECKPOINTS).glob("[!.]*"))]
    return next(iter(reversed(saved or runs)), None)


def complete(home: Path) -> Iterator[tuple[int, Path]]:
    """Yield the step and folder of every complete checkpoint under a folder, newest step first, of equals the best."""
    folders = [path for path in home.glob("*") if not path.name.startswith(".") and is_complete(path)]
    found = [(int(read_manifest(path).get("step", 0)), path) for path in folders]
    yield from sorted(found, key=lambda pair: (-pair[0], pair[1].name))


def newest(home: Path) -> Path | None:
    """Return the complete checkpoint of the highest step: what stands for a run, and what it goes on from."""
    return next((path for _, path in complete(home)), None)


def newest_sound(home: Path) -> tuple[Path | None, dict[Path, str]]:
    """Return the newest checkpoint of which every byte is as it was written, and why each newer one is not it."""
    faults: dict[Path, str] = {}
    steps: list[tuple[int, str, Path]] = []
    for path in sorted(home.glob("*")):
        if path.is_dir() and not path.name.startswith("."):
            try:
                steps.append((-int(read_manifest(path).get("step", 0)), path.name, path))
            except CheckpointError as error:
                faults[path] = error.message
    for _, _, path in sorted(steps):
        try:
            verify(path)
        except CheckpointError as error:
            faults[path] = error.message
        else:
            return path, faults
    return None, faults


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as error:
        said = str(error).splitlines()[0]
        if "outgoing traffic has been disabled" in said:
            said = f"nothing was asked of the network; fetch it once: hf download {repository}"
        else:
            said = f"the hub said: {said}"
        raise UsageError(
            f"{name!r} is no path, no shipped pipeline and could not be fetched from the hub",
            hint=f"shipped: {', '.join(shipped()) or 'none'}; {said}",
        ) from error
