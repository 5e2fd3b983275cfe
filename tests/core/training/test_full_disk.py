"""A disk that is full, at any operation of a save: one message, all that was saved untouched, and the run goes on."""

import errno
import os
import resource
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from polyjanus.core.checkpoints.atomic import verify
from polyjanus.core.checkpoints.finding import CHECKPOINTS, complete
from polyjanus.core.errors import PolyjanusError
from polyjanus.core.training.resuming import find_resumable

WORDS = """
polyjanus: 1
backbone:
  type: causal_lm
  architecture: {model_type: llama, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1,
                 num_attention_heads: 2, max_position_embeddings: 128}
template: {type: janus, user: User, assistant: Assistant}
text: {tokenizer: bytes}
data:
  words: {type: jsonl, path: ./words.jsonl, validation: 0.2}
training:
  validation: {every: 1}
  save: {every: 1, keep: 1}
  stages:
    - {name: s, train: [backbone, text], mix: {words: 1}, steps: 4, batch: 2, lr: 1e-3}
"""


class Disk:
    """Sees every operation that needs room on the disk, and lets the one of some number fail."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.calls: list[str] = []

    def fail_at(self, room: int | None) -> None:
        """Let the operation after the next `room` ones fail; None lets all be."""
        self.room, self.calls = room, []

    def spend(self, what: str) -> None:
        if self.room is None:
            return
        self.calls.append(what)
        if len(self.calls) == self.room + 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    def audit(self, event: str, given: tuple[Any, ...]) -> None:
        """Take part in what Python tells of every call; files that are only read need no room."""
        if self.room is None or event not in {"open", "os.mkdir", "os.rename", "os.truncate", "os.link"}:
            return
        if event == "open":
            mode, flags = given[1], given[2]
            if not (any(letter in mode for letter in "wax+") if mode else flags & (os.O_WRONLY | os.O_RDWR)):
                return
        self.spend(f"{event} {given[0]}")


DISK = Disk()


@pytest.fixture(scope="module", autouse=True)
def _watched() -> None:
    sys.addaudithook(DISK.audit)  # it stays for good, and does nothing unless told


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Generator[Disk]:
    """Return the disk; what Python tells no one of is wrapped."""
    sync, serialize = os.fsync, safetensors.torch.serialize_file

    def syncing(descriptor: int) -> None:
        DISK.spend("fsync")
        sync(descriptor)

    def serializing(tensors: Any, file: Any, *more: Any, **named: Any) -> None:
        DISK.spend(f"safetensors {file}")
        serialize(tensors, file, *more, **named)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(safetensors.torch, "serialize_file", serializing)
    yield DISK
    DISK.fail_at(None)


class _Stop:
    """A display that arms the disk after a step, and disarms it after the next."""

    def __init__(self, disk: Disk, at: int, room: int | None) -> None:
        self.disk, self.at, self.room, self.calls = disk, at, room, list[str]()

    def stage(self, stage: Any, done: int) -> None:
        pass

    def step(self, record: dict[str, Any]) -> None:
        if "loss" not in record:
            return
        if record["total"] == self.at:
            if self.room is None:
                raise KeyboardInterrupt
            self.disk.fail_at(self.room)
        elif self.disk.room is not None:
            self.calls = self.disk.calls
            self.disk.fail_at(None)


@pytest.mark.slow
def test_whatever_fails_in_a_save_nothing_is_lost_and_the_run_goes_on_bit_by_bit(runs: Any, disk: Disk) -> None:
    """Operations are counted, not listed: those of a step's log, of its best and its own checkpoint, and of tidying."""
    runs.yaml = WORDS
    runs.training("unbroken").run()
    with pytest.raises(KeyboardInterrupt):
        runs.training("stopped", display=_Stop(disk, 3, None)).run()
    seen, failed = set[str](), 0
    for room in range(300):
        folder = Path(shutil.copytree(runs.home / "stopped", runs.home / "x"))
        display = _Stop(disk, 3, room)
        try:
            runs.training("x", resume=True, display=display).run()
        except PolyjanusError as error:
            disk.fail_at(None)
            failed += 1
            assert "could not be written: [Errno 28] No space left on device" in str(error)
            assert "untouched" in str(error)
            for _, path in complete(folder / CHECKPOINTS):
                verify(path)
            assert verify(find_resumable(folder).checkpoint)["step"] >= 2
            if room % 10 == 3:
                runs.training("x", resume=True).run()
        seen |= {call.split()[0] for call in display.calls}
        if len(runs.log("x")) == len(runs.log("unbroken")):
            assert runs.log("x") == runs.log("unbroken")
        shutil.rmtree(folder)
        if 0 < len(display.calls) <= room:  # there was no other operation to fail
            break
    assert failed > 40 and room < 299 and seen >= {"open", "os.mkdir", "os.rename", "fsync", "safetensors"}


@contextmanager
def _largest_file(size: int) -> Generator[None]:
    """Let no file grow beyond a size; the system itself refuses, whatever language writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_the_system_refuses_is_one_message_whoever_wrote(tiny: Any, tmp_path: Path) -> None:
    first = tiny.save(tmp_path / "home" / "first", notes={"step": 1})
    sizes = sorted({path.stat().st_size for path in first.rglob("*") if path.is_file()})
    assert len(sizes) > 8
    for size in sizes:
        with _largest_file(size - 1), pytest.raises(PolyjanusError, match="could not be written"):
            tiny.save(tmp_path / "home" / "second", notes={"step": 2})
        assert [path.name for path in first.parent.iterdir()] == ["first"] and verify(first)
    with _largest_file(sizes[-1]):
        tiny.save(tmp_path / "home" / "second", notes={"step": 2})
