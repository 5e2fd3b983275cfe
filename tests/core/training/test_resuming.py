"""What a run goes on from: never a damaged checkpoint, and never silently an older one."""

import json
import os
import platform
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.checkpoints.atomic import read_manifest, remove, verify, write_manifest, write_whole
from polyjanus.core.checkpoints.finding import BEST, CHECKPOINTS, complete
from polyjanus.core.errors import CheckpointError, TrainingError
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.training.holding import LOCK, held
from polyjanus.core.training.resuming import find_resumable


@pytest.fixture(scope="module")
def trained(make_tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with checkpoints of two steps."""
    run = tmp_path_factory.mktemp("runs") / "x"
    for step in (1, 2):
        folder = make_tiny().save(run / CHECKPOINTS / f"step-{step:07d}", notes={"step": step})
        assert folder.is_dir()
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "x"))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _flip(place: Callable[[int], int]) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[place(len(content))] ^= 1 << random.Random(path.name).randrange(8)
        path.write_bytes(content)

    return flip


DAMAGE: dict[str, Callable[[Path], None]] = {
    "first byte": _flip(lambda size: 0),
    "middle byte": _flip(lambda size: size // 2),
    "last byte": _flip(lambda size: size - 1),
    "some byte": _flip(lambda size: random.Random(size).randrange(size)),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-3]) and None,
    "empty": lambda path: path.write_bytes(b"") and None,
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"\n") and None,
    "gone": Path.unlink,
}


def test_what_is_damaged_keeps_nobody_from_what_does_not_read_it(run: Path, plugins: Any) -> None:
    newer, older = run / CHECKPOINTS / "step-0000002", run / CHECKPOINTS / "step-0000001"
    (newer / "manifest.json").unlink()
    (newer / "training").mkdir()
    (newer / "training" / "optimizer.safetensors").write_bytes(b"moments")
    write_manifest(newer, {"step": 2})
    (newer / "training" / "optimizer.safetensors").write_bytes(b"m0ments")
    assert Pipeline.from_pretrained(run, plugins=plugins, device="cpu").source == newer
    (newer / "components" / "image.generate.codec.safetensors").write_bytes(b"")
    only = Pipeline.from_pretrained(newer, plugins=plugins, device="cpu", outputs=["text"])
    assert only.outputs == ["text"]
    with pytest.raises(CheckpointError, match="image.generate.codec.safetensors is damaged"):
        Pipeline.from_pretrained(newer, plugins=plugins, device="cpu")
    found = find_resumable(run)
    assert found.checkpoint == older and "is damaged" in found.passed_over[0]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_any_file_is_told_by_its_name_and_the_one_before_is_taken(
    run: Path, plugins: Any, damage: str
) -> None:
    newer, older = run / CHECKPOINTS / "step-0000002", run / CHECKPOINTS / "step-0000001"
    names = [path.relative_to(newer) for path in _files(newer)]
    assert len(names) > 10
    for name in names:
        whole = (newer / name).read_bytes()
        DAMAGE[damage](newer / name)
        with pytest.raises(CheckpointError) as refused:
            Pipeline.from_pretrained(newer, plugins=plugins, device="cpu")
        assert name.name in str(refused.value)
        found = find_resumable(run)
        assert found.checkpoint == older
        (told,) = found.passed_over
        assert str(newer) in told and name.name in told
        (kept,) = (path for path in newer.parent.iterdir() if ".damaged-" in path.name)
        assert kept.name in told
        kept.rename(newer)
        (newer / name).write_bytes(whole)
    assert find_resumable(run).checkpoint == newer and find_resumable(run).passed_over == ()


def test_a_run_without_a_sound_checkpoint_keeps_all_and_says_what_is_wrong_with_each(run: Path) -> None:
    for folder in (run / CHECKPOINTS).iterdir():
        (folder / "config.json").unlink()
    before = _files(run)
    with pytest.raises(TrainingError, match=r"step-0000002: config\.json is missing.*without|step-0000001") as told:
        find_resumable(run)
    assert str(told.value).count("config.json is missing") == 2
    assert {*_files(run)} - {run / LOCK} == {*before}


def test_a_folder_of_the_user_is_left_where_it_is(run: Path) -> None:
    (run / CHECKPOINTS / "notes").mkdir()
    assert find_resumable(run).checkpoint.name == "step-0000002"
    assert (run / CHECKPOINTS / "notes").is_dir()


def test_a_best_that_stepped_aside_when_its_writer_was_killed_is_found_again(run: Path) -> None:
    home = run / CHECKPOINTS
    shutil.rmtree(home / "step-0000001")
    (home / "step-0000002").rename(home / f".{BEST}.old-12345678")
    (home / f".{BEST}.tmp-12345678").mkdir()
    found = find_resumable(run)
    assert found.checkpoint == home / BEST and verify(home / BEST)["step"] == 2
    assert found.passed_over == (f"{home / f'.{BEST}.tmp-12345678'}: was not written to the end; removed",)
    assert [path.name for path in home.iterdir()] == [BEST]


def test_a_folder_that_is_half_removed_is_no_checkpoint(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = run / CHECKPOINTS

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        remove(home / "step-0000001")
    assert [step for step, _ in complete(home)] == [2]
    find_resumable(run)
    assert [path.name for path in home.iterdir()] == ["step-0000002"]


def test_after_falling_back_the_damaged_step_is_written_again_and_losses_are_the_same(runs: Any) -> None:
    runs.training("unbroken", "training.save={every: 1, keep: 2}").run()
    runs.training("x", "training.save={every: 1, keep: 2}").run()
    newer = runs.home / "x" / CHECKPOINTS / "step-0000008"
    _flip(lambda size: size // 2)(newer / "training" / "optimizer.safetensors")
    shutil.rmtree(newer.parent / BEST)
    found = find_resumable(runs.home / "x")
    assert (
        found.checkpoint.name == "step-0000007" and "training/optimizer.safetensors is damaged" in found.passed_over[0]
    )
    runs.training("x", "training.save={every: 1, keep: 1}", resume=True).run()
    assert runs.log("x") == runs.log("unbroken")
    weights = [
        {name: entry["sha256"] for name, entry in read_manifest(folder)["files"].items() if "safetensors" in name}
        for folder in (newer, runs.home / "unbroken" / CHECKPOINTS / newer.name)
    ]
    assert weights[0] == weights[1] and verify(newer)


def test_a_log_is_whole_whenever_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("old\n")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        write_whole(log, "new\n")
    assert log.read_text() == "old\n" and [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
    write_whole(log, "new\n")
    assert log.read_text() == "new\n"


HOLDER = """
import sys
from pathlib import Path
from polyjanus.core.training.holding import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_in_one_folder_is_told_which_process_on_which_host_has_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(TrainingError, match=f"another process .*: process {holder.pid} on {platform.node()}"):
            find_resumable(tmp_path)
        holder.kill()
    with held(tmp_path):  # the lock went with its process
        assert (tmp_path / LOCK).read_text() == f"process {os.getpid()} on {platform.node()}\n"


def test_a_run_whose_folder_takes_nothing_is_refused_before_it_begins(
    runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = runs.training("x")
    (runs.home / "x" / LOCK).mkdir()  # what a folder that is read-only is to all but root
    with pytest.raises(TrainingError, match=r"nothing can be written there: Is a directory(.|\n)*--run"):
        training.run()
    shutil.rmtree(runs.home / "x")
    with pytest.raises(TrainingError, match="nothing can be written there: No such file"):
        training.run()


def test_a_name_with_blanks_and_letters_of_any_script_holds_a_run(runs: Any) -> None:
    name = "ein Lauf – прогон 试验"
    runs.training(name).run()
    lines = runs.log(name)
    assert find_resumable(runs.home / name).checkpoint.is_dir()
    runs.training(name, resume=True).run()
    assert runs.log(name) == lines


def test_a_folder_that_vanishes_ends_the_run_in_one_message(runs: Any, quiet: Any) -> None:
    training = runs.training("x", display=quiet({3: lambda: shutil.rmtree(runs.home / "x")}))
    with pytest.raises(TrainingError, match=r"log\.jsonl: could not be written(.|\n)*--resume"):
        training.run()


def test_there_is_nothing_to_go_on_from_where_no_run_is(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no such run"):
        find_resumable(tmp_path / "x")
    (tmp_path / "x").mkdir()
    with pytest.raises(TrainingError, match="holds no checkpoint to go on from"):
        find_resumable(tmp_path / "x")
    assert [path.name for path in (tmp_path / "x").iterdir()] == [LOCK]


def test_samples_of_steps_that_are_done_again_are_listed_once(runs: Any, quiet: Any) -> None:
    samples = "training.samples=[{prompt: hi, max_tokens: 2}]"

    def die() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        runs.training("x", samples, "training.save.every=3", display=quiet({5: die})).run()
    shutil.rmtree(runs.home / "x" / CHECKPOINTS / BEST)
    runs.training("x", samples, resume=True).run()
    lines = (runs.home / "x" / "samples" / "samples.jsonl").read_text().splitlines()
    totals = [json.loads(line)["total"] for line in lines]
    assert totals == sorted(set(totals)) and {4, 8} <= set(totals)


def test_a_run_that_is_refused_touches_nothing_of_the_one_that_is_going_on(runs: Any) -> None:
    runs.training("x").run()
    (runs.home / "x" / "bad_rows.jsonl").write_text("what the other has just written")
    with (runs.home / "x" / "log.jsonl").open("a") as file:
        file.write('{"total": 9}\n')
    second = runs.training("x", resume=True)
    before = {path: path.read_bytes() for path in _files(runs.home / "x") if path.name != LOCK}
    with held(runs.home / "x"), pytest.raises(TrainingError, match="another process"):
        second.run()
    assert before == {path: path.read_bytes() for path in _files(runs.home / "x") if path.name != LOCK}
