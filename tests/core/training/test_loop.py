"""Runs: what they train, what stops them, and that they go on as if they had never stopped."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch

from polyjanus.core.checkpoints.atomic import verify
from polyjanus.core.checkpoints.finding import CHECKPOINTS, complete, newest
from polyjanus.core.data.mixing import Schedule
from polyjanus.core.errors import DataError, TrainingError
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.training import stopping
from polyjanus.core.training.stages import set_modes
from polyjanus.core.training.state import Progress, changes, read_progress


def _interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def _weights(runs: Any, name: str) -> dict[str, torch.Tensor]:
    found = newest(runs.home / name / CHECKPOINTS)
    return Pipeline.from_pretrained(found, plugins=runs.plugins, device="cpu").model.state_dict()


@pytest.fixture
def unbroken(runs: Any) -> Any:
    runs.training("unbroken").run()
    return runs


def _assert_same(runs: Any, name: str) -> None:
    assert runs.log(name) == runs.log("unbroken")
    mine, theirs = _weights(runs, name), _weights(runs, "unbroken")
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("total", [0, 1, 2, 3, 4, 7])
def test_a_run_that_was_stopped_goes_on_bit_by_bit(unbroken: Any, quiet: Any, total: int) -> None:
    """Before the first step, inside the first stage, at its end (3), inside the second, before its last step."""
    runs = unbroken
    with pytest.raises(KeyboardInterrupt):
        runs.training("x", display=quiet({total: _interrupt})).run()
    assert read_progress(newest(runs.home / "x" / CHECKPOINTS))[0].total == total  # type: ignore[arg-type]
    runs.training("x", resume=True).run()
    _assert_same(runs, "x")


def test_a_run_killed_between_saves_repeats_the_steps_since(unbroken: Any, quiet: Any) -> None:
    runs = unbroken

    def die() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        runs.training("x", display=quiet({5: die})).run()
    assert read_progress(newest(runs.home / "x" / CHECKPOINTS))[0].total == 4  # type: ignore[arg-type]
    with (runs.home / "x" / "log.jsonl").open("a") as log:
        log.write('{"total": 5, "lo')  # cut off
    runs.training("x", resume=True).run()
    _assert_same(runs, "x")


def test_a_finished_run_has_nothing_left_to_do(unbroken: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in (unbroken.home / "unbroken").rglob("*") if path.is_file()}
    lines = unbroken.log("unbroken")
    unbroken.training("unbroken", resume=True).run()
    assert unbroken.log("unbroken") == lines
    after = {path for path in (unbroken.home / "unbroken").rglob("*") if path.is_file()}
    assert after == set(before)


def test_two_runs_of_one_seed_are_equal_and_of_another_not(unbroken: Any) -> None:
    torch.manual_seed(1234)  # whatever the process did before
    unbroken.training("x").run()
    _assert_same(unbroken, "x")
    unbroken.training("y", "training.seed=1").run()
    assert unbroken.log("y")[0]["loss"] != unbroken.log("unbroken")[0]["loss"]


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("training.stages.1.batch=5", "training.stages"),
        ("training.seed=3", "training.seed"),
        ("text.loss_weight=0.5", "text.loss_weight"),
        ("modalities.image.generate.codec.resize=pad", "modalities.image.generate.codec.resize"),
        ("data.words.validation=0.2", "data.words.validation"),
    ],
)
def test_changed_settings_are_refused_by_name(runs: Any, quiet: Any, override: str, path: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        runs.training("x", display=quiet({1: _interrupt})).run()
    with pytest.raises(TrainingError, match=f"other settings: .*{path}"):
        runs.training("x", override, resume=True)


@pytest.mark.parametrize(
    "override",
    ["training.save.keep=1", "training.validation.every=3", "text.sampler=greedy", "training.bad_rows.rate=0.5"],
)
def test_settings_that_change_no_loss_may_change(runs: Any, quiet: Any, override: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        runs.training("x", display=quiet({1: _interrupt})).run()
    runs.training("x", override, resume=True)


def test_changed_rows_are_refused(runs: Any, quiet: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        runs.training("x", display=quiet({1: _interrupt})).run()
    with (runs.home / "words.jsonl").open("a") as file:
        file.write('\n{"text": "one more"}')
    with pytest.raises(TrainingError, match=r"sizes\.words"):
        runs.training("x", resume=True)


def test_two_signals_at_once_are_one(runs: Any, quiet: Any) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        runs.training("x", display=quiet({1: twice})).run()
    assert newest(runs.home / "x" / CHECKPOINTS) is not None


def test_the_first_signal_saves_once_and_the_second_does_not_wait(
    runs: Any, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "ONE", 0.0)
    saved: list[int] = []
    training = runs.training("x", display=quiet({1: lambda: os.kill(os.getpid(), signal.SIGTERM)}))
    write = training.saving._write
    training.saving._write = lambda *given: (saved.append(training.progress.total), write(*given))
    with pytest.raises(SystemExit) as caught:
        training.run()
    assert caught.value.code == 143
    assert saved == [1]

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        runs.training("y", display=quiet({1: twice})).run()
    assert newest(runs.home / "y" / CHECKPOINTS) is None
    assert signal.getsignal(signal.SIGINT) is before


def test_only_the_newest_checkpoints_and_the_best_stay(runs: Any) -> None:
    runs.training("x", "training.save={every: 1, keep: 2}").run()
    home = runs.home / "x" / CHECKPOINTS
    assert {path.name for path in home.iterdir()} == {"best", "step-0000007", "step-0000008"}
    assert [step for step, path in complete(home) if path.name != "best"] == [8, 7]
    for _, path in complete(home):
        verify(path)


def test_what_a_killed_run_left_is_tidied_and_a_checkpoint_that_stepped_aside_comes_back(runs: Any) -> None:
    runs.training("x").run()
    home = runs.home / "x" / CHECKPOINTS
    (home / "best").rename(home / ".best.old-12345678")
    (home / ".step-0000009.tmp-12345678").mkdir()
    runs.training("x", resume=True).run()
    assert not [path for path in home.iterdir() if path.name.startswith(".")]
    verify(home / "best")


# what is trained


def _states(runs: Any, *overrides: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    training = runs.training("x", *overrides)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    training.run()
    return before, training.model.state_dict()


def _stage(train: str, objective: str = "next", mix: str = "captions: 1, words: 0", **more: Any) -> str:
    extra = "".join(f", {key}: {value}" for key, value in more.items())
    return (
        f"training.stages=[{{name: s, objective: {objective}, train: {train}, mix: {{{mix}}}, steps: 2, batch: 6,"
        f" lr: 1e-2{extra}}}]"
    )


@pytest.mark.parametrize(
    ("globs", "moved"),
    [
        ('["*.adaptor"]', ["image.understand.adaptor", "image.generate.adaptor"]),
        ("[image.generate.head, marks]", ["image.generate.head", "marks"]),
        ("[text]", ["text.embedding", "text.head"]),
        ("[backbone]", ["backbone"]),
    ],
)
def test_a_stage_trains_what_it_names_and_nothing_else(runs: Any, globs: str, moved: list[str]) -> None:
    lines = [json.loads(line) for line in (runs.home / "captions.jsonl").read_text().splitlines()]
    for line in lines:
        line["messages"][0]["content"] = [{"type": "image", "path": "0.png"}, line["messages"][0]["content"]]
    (runs.home / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    before, after = _states(runs, _stage(globs, weight_decay=0.1))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(any(name.startswith(path) for path in moved) for name in changed)
    assert all(any(name.startswith(path) for name in changed) for path in moved)


def test_statistics_move_only_where_codecs_are_reconstructed(runs: Any) -> None:
    before, after = _states(runs, _stage("[image.generate.codec]", "reconstruct"))
    assert not torch.equal(
        before["image.generate.codec.norm.running_mean"], after["image.generate.codec.norm.running_mean"]
    )
    before, after = _states(runs, _stage('["*"]').replace("name: s", "name: t"), "training.caption_dropout=0.0")
    statistics = [name for name in before if "running" in name or "num_batches" in name]
    assert statistics and all(torch.equal(before[name], after[name]) for name in statistics)


def test_only_what_is_trained_is_in_training_mode(make_tiny: Any) -> None:
    model = make_tiny().model
    set_modes(model, ["image.understand.adaptor", "image.generate.codec"], moves_statistics=False)
    modes = {path: model.part(path).training for path in ("backbone", "image.understand.encoder", "marks")}
    assert not any(modes.values())
    assert model.part("image.understand.adaptor").training and model.part("image.generate.codec").training
    assert not model.part("image.generate.codec").norm.training
    set_modes(model, ["image.generate.codec"], moves_statistics=True)
    assert model.part("image.generate.codec").norm.training and not model.part("image.understand.adaptor").training


def test_a_stage_whose_rows_never_use_what_it_trains_says_so(runs: Any) -> None:
    with pytest.raises(TrainingError, match=r"no row of stage 's' uses what it trains: image\.understand\.adaptor"):
        runs.training("x", _stage("[image.understand.adaptor]")).run()


def test_a_tied_tensor_is_wholly_in_or_wholly_out(runs: Any) -> None:
    with pytest.raises(TrainingError, match=r"text\.head and text\.embedding share a tensor, but only the first"):
        runs.training("x", _stage("[text.head]"), "backbone.architecture.tie_word_embeddings=true").run()


def test_captions_are_dropped_as_often_as_the_settings_say(runs: Any) -> None:
    training = runs.training("x", "training.caption_dropout=0.25")
    schedule = Schedule(0, 1, ["captions"], {"captions": len(training.splits["captions"][0])}, 20)
    draws = [draw for step in range(40) for draw in schedule.draws(step)]
    dropped = [training.feed.sequence(draw).ids[1:5] == [training.feed.pad] * 4 for draw in draws]
    assert 0.2 < sum(dropped) / len(dropped) < 0.3
    assert dropped == [training.feed.sequence(draw).ids[1:5] == [training.feed.pad] * 4 for draw in draws]


def test_rows_too_long_are_cut_and_a_row_left_without_targets_is_named(runs: Any) -> None:
    (runs.home / "words.jsonl").write_text(json.dumps({"text": "long " * 100}))
    short = "training.max_tokens=16"
    stage = _stage("[text]", mix="captions: 0, words: 1")
    runs.training("x", stage, short, "data.captions.validation=0.0").run()
    with pytest.raises(
        DataError,
        match=r"captions: .*captions\.jsonl:\d+: the row has \d+ positions, training.max_tokens is \d+: .*image",
    ):
        runs.training("y", _stage("[text]"), short).run()


# what goes wrong


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_rows(runs: Any, where: str) -> None:
    training = runs.training("x", _stage("[backbone, text]", mix="captions: 0, words: 1"))
    head = training.model.part("text.head")
    if where == "loss":
        head.register_forward_hook(lambda *given: given[2] * float("nan"))
    else:
        head.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    with pytest.raises(TrainingError, match=rf"the {where}.* of step 1 of stage 's' is (nan|inf).*words\.jsonl:\d"):
        training.run()
    assert all(torch.equal(value, before[name]) for name, value in training.model.state_dict().items())
    assert newest(runs.home / "x" / CHECKPOINTS) is None


def test_a_row_that_cannot_be_read_is_named_with_its_line(runs: Any) -> None:
    (runs.home / "words.jsonl").write_text('{"text": "a"}\n{"messages": [{"role": "usr", "content": "x"}]}\n')
    strict = "training.bad_rows.rate=0.0"
    with pytest.raises(DataError, match=r"words: .*words\.jsonl:2: messages\[0\]: has the role 'usr'"):
        runs.training("x", _stage("[text]", mix="captions: 0, words: 1"), strict).run()


def test_changes_are_told_by_path() -> None:
    assert list(changes({"a": {"b": 1, "c": [1]}}, {"a": {"b": 1, "c": [2]}, "d": None})) == ["a.c.0"]
    assert list(changes({"a": 1}, {})) == ["a"]
    assert Progress().total == 0


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import importlib.util
spec = importlib.util.spec_from_file_location("conftest_of_runs", Path(sys.argv[2]) / "conftest.py")
module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
import torch; torch.set_num_threads(1)
from polyjanus.core.manager import load_plugins
home = Path(sys.argv[1])
runs = module.Runs(home, load_plugins(third_party=False), (home / "tiny.yaml").read_text())
print("ready", flush=True)
runs.training("x", resume=True).run()
"""


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_with_the_same_losses(unbroken: Any) -> None:
    runs = unbroken
    script = runs.home / "killed.py"
    script.write_text(dedent(KILLED))
    command = [sys.executable, str(script), str(runs.home), str(Path(__file__).parent)]
    numbers = random.Random(0)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"ready\n", process.stderr.read().decode()
        time.sleep(numbers.uniform(0.1, 1.2))
        process.kill()
        process.communicate()
    finished = subprocess.run(command, capture_output=True, env=environment, timeout=120)
    assert finished.returncode == 0, finished.stderr.decode()
    _assert_same(runs, "x")
