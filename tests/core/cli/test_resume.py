"""`polyjanus train --resume`: what it goes on from, what it refuses, and what it says."""

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.cli import main
from polyjanus.core.cli.train import _Bar
from polyjanus.core.training.holding import held

YAML = """
polyjanus: 1
backbone:
  type: causal_lm
  architecture: {model_type: llama, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1,
                 num_attention_heads: 2, max_position_embeddings: 128}
template: {type: janus, user: User, assistant: Assistant}
text: {tokenizer: bytes}
data:
  words: {type: jsonl, path: ./words.jsonl}
training:
  save: {every: 2}
  stages:
    - {name: one, train: [text], mix: {words: 1}, steps: 3, batch: 4, accumulate: 2, lr: 1e-3}
    - {name: two, train: [backbone, text], mix: {words: 1}, steps: 4, batch: 3, accumulate: 3, lr: 1e-3, warmup: 2}
"""
RUN = Path("runs/tiny/1")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(YAML)
    Path("words.jsonl").write_text("\n".join(json.dumps({"text": f"word {i}" * 2}) for i in range(7)))
    return tmp_path


def _train(*words: str) -> int:
    return main(["train", "tiny.yaml", "--quiet", "--device", "cpu", *words])


def _resume(run: str, *words: str) -> int:
    return main(["train", run, "--resume", "--quiet", "--device", "cpu", *words])


def _stop_at(monkeypatch: pytest.MonkeyPatch, total: int, *signals: int) -> None:
    """Send this process signals right after a step."""

    def step(_: Any, record: dict[str, Any]) -> None:
        if record["total"] == total and "loss" in record:
            for number in signals:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(_Bar, "step", step)


def _log(run: str) -> list[dict[str, Any]]:
    lines = (Path("runs/tiny") / run / "log.jsonl").read_text().splitlines()
    return [{key: json.loads(line)[key] for key in ("stage", "step", "total", "loss", "grad_norm")} for line in lines]


@pytest.mark.parametrize("total", range(1, 8))
def test_a_run_in_several_passes_that_was_stopped_after_any_step_goes_on_bit_by_bit(
    home: Path, total: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Inside a stage, at its last step (3), before the first of the next, and after the last of all (7)."""
    assert _train() == 0
    with pytest.MonkeyPatch.context() as patch:
        _stop_at(patch, total, signal.SIGINT)
        assert _train() == (130 if total < 7 else 0)
    assert _train("--resume") == 0
    assert _log("2") == _log("1")
    assert ("all 7 steps were done; there is nothing left to train" in capsys.readouterr().err) == (total == 7)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["training.stages.1.batch=6"], ["training.stages.1.batch was 3, is 6"]),
        (["training.stages.1.accumulate=1"], ["training.stages.1.accumulate was 3, is 1"]),
        (["backbone.architecture.hidden_size=32"], ["backbone.architecture.hidden_size was 16, is 32"]),
        (["backbone.architecture.num_hidden_layers=2"], ["num_hidden_layers was 1, is 2"]),
        (["training.seed=5", "training.stages.0.lr=2e-3"], ["training.seed was 0, is 5", "training.stages.0.lr was"]),
    ],
)
def test_what_would_change_a_loss_is_refused_with_every_field_that_changed(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    named: list[str],
) -> None:
    _stop_at(monkeypatch, 3, signal.SIGINT)
    assert _train() == 130
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file() and path.name != ".lock"}
    assert _train(*change, "--resume") == 2
    told = capsys.readouterr().err
    assert "the run was made with other settings" in told and all(words in told for words in named)
    assert before == {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_run_goes_on_by_its_folder_with_the_settings_that_it_was_started_with(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["training.stages.1.batch=5", "training.seed=${env:SEED}"]
    monkeypatch.setenv("SEED", "4")
    assert _train(*words) == 0
    with pytest.MonkeyPatch.context() as patch:
        _stop_at(patch, 4, signal.SIGINT)
        assert _train(*words) == 130
    Path("tiny.yaml").write_text(YAML.replace("1e-3", "2e-3"))  # what was changed since is no part of the run
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert _resume("../runs/tiny/2") == 0
    monkeypatch.chdir("..")
    assert _log("2") == _log("1")
    capsys.readouterr()
    assert _resume("runs/tiny/2", "--run", "runs/tiny/1") == 2
    assert main(["train", "runs/tiny/2"]) == 2
    assert "go on with it: polyjanus train runs/tiny/2 --resume" in capsys.readouterr().err
    assert _resume("runs/tiny") == 2
    assert "runs/tiny: is no run" in capsys.readouterr().err
    Path("runs/tiny/2/run.json").unlink()
    assert _resume("runs/tiny/2") == 2
    assert "name the YAML: polyjanus train my.yaml --run runs/tiny/2 --resume" in capsys.readouterr().err


@pytest.mark.parametrize("ema", [(), ("training.ema=0.9",)])
def test_a_finished_run_made_longer_is_the_run_that_was_long_from_the_start(home: Path, ema: tuple[str, ...]) -> None:
    more = "training.stages=[{name: one, train: [text], mix: {words: 1}, steps: 3, batch: 4, accumulate: 2, lr: 1e-3}"
    last = ", {name: two, train: [backbone, text], mix: {words: 1}, steps: 6, batch: 3, accumulate: 3, lr: 1e-3,"
    last += " warmup: 2}"
    new = ", {name: three, train: [text], mix: {words: 1}, steps: 2, batch: 2, lr: 1e-3}]"
    assert _train(more + last + new, *ema) == 0
    assert _train(*ema) == 0
    assert _resume("runs/tiny/2", "training.stages.two.steps=6") == 0
    assert _log("2") == _log("1")[:9]
    assert _resume("runs/tiny/2") == 0  # the new length is that of the run from now on
    assert _resume("runs/tiny/2", more + last + new) == 0
    assert _log("2") == _log("1")
    paths = [Path(f"runs/tiny/{run}/checkpoints/step-0000011/components/backbone.safetensors") for run in "12"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("training.stages.0.steps=5", "stage 'one' is over after 3 steps, and 'two' began from there"),
        ("training.stages.1.steps=2", "stage 'two' has done 4 steps, and is to have 2"),
        ("training.stages.1.steps=9", "stage 'two' has 'schedule: cosine', which spreads the learning rate over its 4"),
    ],
)
def test_a_length_that_would_be_another_run_is_refused_with_what_to_do_instead(
    home: Path, capsys: pytest.CaptureFixture[str], change: str, said: str
) -> None:
    Path("tiny.yaml").write_text(YAML.replace("warmup: 2", "schedule: cosine"))
    assert _train() == 0
    assert _resume("runs/tiny/1", change) == 2
    told = capsys.readouterr().err
    assert said in told and "that would be another run" in told
    (given,) = re.findall(r"'(training.init_from=.*)'", told)
    assert _train(given, "training.stages.0.steps=1", "training.stages.1.steps=1") == 0
    assert "backbone from" in capsys.readouterr().err


def test_data_that_grew_or_shrank_is_refused_by_name(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _stop_at(monkeypatch, 1, signal.SIGINT)
    assert _train() == 130
    rows = Path("words.jsonl").read_text()
    for changed in (f'{rows}\n{{"text": "more"}}', rows.rpartition("\n")[0]):
        Path("words.jsonl").write_text(changed)
        assert _train("--resume") == 2
        assert f"sizes.words was 7, is {len(changed.splitlines())}" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_saves_once_and_two_do_not_wait_and_say_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, status: int
) -> None:
    def trained() -> int | str | None:
        try:
            return _train()
        except SystemExit as left:
            return left.code

    monkeypatch.setattr("polyjanus.core.training.stopping.ONE", 0.0)
    _stop_at(monkeypatch, 3, number)
    assert trained() == status
    told = capsys.readouterr().err
    assert (
        told.count("stopped after step 3 and saved; go on with: polyjanus train runs/tiny/1 --resume --device cpu") == 1
    )
    assert sorted(path.name for path in (RUN / "checkpoints").iterdir()) == ["step-0000002", "step-0000003"]
    _stop_at(monkeypatch, 3, number, number)
    assert trained() == status
    assert "stopped after step 3 without saving; the last checkpoint is of step 2" in capsys.readouterr().err
    assert [path.name for path in Path("runs/tiny/2/checkpoints").iterdir()] == ["step-0000002"]
    _stop_at(monkeypatch, 1, number, number)
    assert trained() == status
    assert "stopped after step 1; nothing had been saved" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_gone_on_from(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train() == 0
    lines = _log("1")
    weights = RUN / "checkpoints" / "step-0000007" / "components" / "backbone.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert _train("--resume") == 0
    told = capsys.readouterr().err
    assert "passed over: runs/tiny/1/checkpoints/step-0000007: components/backbone.safetensors is damaged" in told
    assert "resuming runs/tiny/1/checkpoints/step-0000006" in told
    assert _log("1") == lines


def test_a_run_that_cannot_go_on_or_begin_says_why_before_any_model_is_built(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("polyjanus.core.cli.train._build", None)
    Path("file").write_text("")
    words = {
        ("--resume",): "tiny.yaml has no run to resume",
        ("--resume", "--run", "nowhere"): "nowhere: there is no such run",
        ("--run", "file/x"): "file/x cannot be made: Not a directory",
        ("--run", "/proc/x"): "/proc/x cannot be made",
        ("--run", "file"): "file exists",
    }
    for given, said in words.items():
        assert _train(*given) == 2
        assert said in capsys.readouterr().err
    RUN.mkdir(parents=True)
    assert _train("--resume") == 2
    assert "holds no checkpoint to go on from" in capsys.readouterr().err
    with held(RUN):
        assert _train("--resume") == 2
    assert f"another process trains in this run: process {os.getpid()} on " in capsys.readouterr().err
    shutil.rmtree("runs")
    Path("runs").write_text("in the way")
    assert _train() == 2
    assert "runs" in capsys.readouterr().err
