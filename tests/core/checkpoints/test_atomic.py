"""Folders that are there whole or not at all, whatever happens while they are written or kept."""

import builtins
import errno
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.checkpoints.atomic import MANIFEST, atomic_dir, is_complete, read_manifest, sealed, verify
from polyjanus.core.checkpoints.finding import newest
from polyjanus.core.errors import CheckpointError
from polyjanus.core.pipeline import Pipeline


def _make(folder: Path, step: int, content: str = "hello") -> Path:
    with atomic_dir(folder, step=step) as draft:
        (draft / "inner").mkdir()
        (draft / "a.txt").write_text(content)
        (draft / "inner" / "b.bin").write_bytes(bytes(range(256)))
    return folder


@pytest.fixture(scope="module")
def saved(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("saved") / "whole")


def test_a_folder_appears_whole_with_its_manifest(tmp_path: Path) -> None:
    folder = _make(tmp_path / "x", 3)
    manifest = verify(folder)
    assert manifest["step"] == 3
    assert set(manifest["files"]) == {"a.txt", "inner/b.bin"}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_dir(tmp_path / "x") as draft:
        (draft / "a").write_text("a")
        _ = 1 / 0
    assert not list(tmp_path.iterdir())


def test_a_new_folder_replaces_the_old_one(tmp_path: Path) -> None:
    _make(tmp_path / "x", 1, "old")
    _make(tmp_path / "x", 2, "new")
    assert (tmp_path / "x" / "a.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_error_keeps_the_old_folder(tmp_path: Path) -> None:
    _make(tmp_path / "x", 1, "old")
    with pytest.raises(KeyboardInterrupt), atomic_dir(tmp_path / "x"):
        raise KeyboardInterrupt
    assert verify(tmp_path / "x")["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_byte_anywhere_is_found(saved: Path, tmp_path: Path, seed: int) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    numbers = random.Random(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    file = files[seed % len(files)]
    content = bytearray(file.read_bytes())
    place = numbers.randrange(len(content))
    content[place] ^= 1 << numbers.randrange(8)
    file.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        Pipeline.from_pretrained(folder, device="cpu")
    assert file.name in str(caught.value)


def test_every_file_is_under_the_manifest(saved: Path) -> None:
    on_disk = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert set(read_manifest(saved)["files"]) == on_disk - {MANIFEST}
    assert {"polyjanus.yaml", "config.json", "model.safetensors.index.json", "tokenizer.json"} <= on_disk
    assert not any(name.endswith((".bin", ".pt", ".pkl", ".pickle")) for name in on_disk)


def test_missing_and_cut_files_are_named(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    file = folder / "components" / "backbone.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=r"components/backbone\.safetensors is damaged"):
        verify(folder)
    assert not is_complete(folder)
    file.unlink()
    with pytest.raises(CheckpointError, match=r"components/backbone\.safetensors is missing"):
        verify(folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        verify(folder)


def _edit(folder: Path, **changes: Any) -> None:
    """Change entries as one who knows how manifests are sealed."""
    path = folder / MANIFEST
    manifest = {**json.loads(path.read_text()), **changes}
    del manifest["digest"]
    path.write_text(sealed(json.dumps(manifest, indent=1).removesuffix("\n}")))


def test_a_newer_format_says_what_to_install(tmp_path: Path) -> None:
    folder = _make(tmp_path / "x", 1)
    _edit(folder, format=3)
    with pytest.raises(CheckpointError, match="format 3; this polyjanus reads 2(.|\n)*install"):
        verify(folder)


def test_a_manifest_of_the_first_format_is_still_read(tmp_path: Path) -> None:
    folder = _make(tmp_path / "x", 1)
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["digest"]
    (folder / MANIFEST).write_text(json.dumps({**manifest, "format": 1}))
    assert verify(folder)["step"] == 1


def test_any_byte_of_a_manifest_that_becomes_any_other_is_found(tmp_path: Path) -> None:
    folder = _make(tmp_path / "x", 1)
    whole = (folder / MANIFEST).read_bytes()
    noise = random.Random(0)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= noise.randrange(1, 256)
        (folder / MANIFEST).write_bytes(changed)
        with pytest.raises(CheckpointError, match="manifest.json is damaged|has checkpoint format"):
            read_manifest(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "inner/../../outside", "..\\outside"])
def test_a_manifest_naming_outside_files_is_refused(tmp_path: Path, name: str) -> None:
    folder = _make(tmp_path / "x", 1)
    (tmp_path / "outside").write_text("x")
    _edit(folder, files={name: {"bytes": 1, "sha256": "0"}})
    with pytest.raises(CheckpointError, match="names files outside"):
        verify(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"format": 1}', '{"format": 1, "files": 3}', '{"format": 1, "files": {"a.txt": 1}}']
)
def test_a_damaged_manifest_is_a_fault_not_a_crash(tmp_path: Path, text: str) -> None:
    folder = _make(tmp_path / "x", 1)
    (folder / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match="damaged"):
        verify(folder)
    assert not is_complete(folder)
    assert newest(tmp_path) is None


class _Full:
    """A disk on which one write fails: the one after the first `room`."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.calls = 0

    def spend(self) -> None:
        self.calls += 1
        if self.calls == self.room + 1:
            raise OSError(errno.ENOSPC, "No space left on device")


def _fill_disk(monkeypatch: pytest.MonkeyPatch, disk: _Full) -> None:
    import polyjanus.core.checkpoints.components as components

    real_open, real_mkdir, real_fsync, real_rename = builtins.open, Path.mkdir, os.fsync, Path.rename
    real_save, real_path_open = components.save_file, Path.open

    def spending(function: Any, *, when: Any = lambda *_: True) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if when(*arguments, *options.values()):
                disk.spend()
            return function(*arguments, **options)

        return call

    def writes(_: Any, mode: Any = "r", *__: Any) -> bool:
        return isinstance(mode, str) and any(letter in mode for letter in "wax+")

    monkeypatch.setattr(builtins, "open", spending(real_open, when=writes))
    monkeypatch.setattr(Path, "open", spending(real_path_open, when=writes))
    monkeypatch.setattr(Path, "mkdir", spending(real_mkdir))
    monkeypatch.setattr(Path, "rename", spending(real_rename))
    monkeypatch.setattr(os, "fsync", spending(real_fsync))
    monkeypatch.setattr(components, "save_file", spending(real_save))


def test_a_disk_that_is_full_at_any_write_keeps_the_older_checkpoint(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "checkpoints"
    tiny.save(home / "step-1", notes={"step": 1})
    room, is_over = 0, False
    while not is_over:
        with monkeypatch.context() as patch:
            disk = _Full(room)
            _fill_disk(patch, disk)
            try:
                tiny.save(home / "step-2", notes={"step": 2})
                is_over = True
            except CheckpointError as error:
                assert "could not be written: [Errno 28] No space left" in str(error)
        if not is_over:
            assert verify(home / "step-1")["step"] == 1
            found = newest(home)
            assert found is not None and verify(found)  # the last write that can fail comes after the new one is whole
            assert {path.name for path in home.iterdir()} <= {"step-1", "step-2"}
            shutil.rmtree(home / "step-2", ignore_errors=True)
        room += 1
    assert room > 20
    assert newest(home) == home / "step-2"


def test_a_disk_that_is_full_while_replacing_keeps_one_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(tmp_path / "x", 1, "old")
    room, is_over = 0, False
    while not is_over:
        with monkeypatch.context() as patch:
            _fill_disk(patch, _Full(room))
            try:
                _make(tmp_path / "x", 2, "new")
                is_over = True
            except CheckpointError:
                pass
        assert verify(tmp_path / "x")["step"] in {1, 2}
        assert [path.name for path in tmp_path.iterdir()] == ["x"]
        room += 1
    assert verify(tmp_path / "x")["step"] == 2


def test_a_pipeline_may_be_saved_over_the_files_that_it_is_mapped_from(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "x"))
    whole = Pipeline.from_pretrained(saved, device="cpu").model.state_dict()
    before = {name: value.clone() for name, value in whole.items()}
    loaded = Pipeline.from_pretrained(folder, device="cpu")
    loaded.save(folder)
    for pipeline in (loaded, Pipeline.from_pretrained(folder, device="cpu")):
        state = pipeline.model.state_dict()
        assert all(bool((state[name] == value).all()) for name, value in before.items())
