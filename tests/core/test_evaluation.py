"""Controls: what a model says of noise, of the inputs of others, and of nothing, beside what it says of the signal."""

import json
import re
import shlex
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from polyjanus.core.checkpoints.atomic import read_manifest
from polyjanus.core.cli import main
from polyjanus.core.errors import PolyjanusWarning, RegistryError
from polyjanus.core.evaluation import CONTROLS, Controlled, Metric, Score, evaluate
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.registry import UNKNOWN_ORIGIN, Entry
from polyjanus.core.settings import MetricConfig
from polyjanus.core.training.resuming import note_settings


class Recorder:
    """A pipeline that keeps what it was asked, and answers with how bright the picture in it is."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.asked = pipeline, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pipeline, name)

    def run_many(self, prompts: Any, output: Any = ("text",), **_: Any) -> list[Any]:
        self.asked = prompts
        return ["" for _ in prompts]


def pictures(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (8, 8), (40 * i, 40 * i, 40 * i)) for i in range(count)]


def shown(messages: Any) -> list[Any]:
    """Return the pictures in messages."""
    return [part["image"] for message in messages for part in message["content"] if isinstance(part, dict)]


@pytest.fixture
def recorder(tiny: Any) -> Recorder:
    return Recorder(tiny)


def test_noise_keeps_form_and_brightness_and_says_nothing(recorder: Recorder, picture: Any) -> None:
    Controlled(recorder, "noise", 0).run_many([[picture, "what?"]])  # type: ignore[arg-type]
    (noisy,) = shown(recorder.asked[0])
    before, after = np.asarray(picture, dtype=float), np.asarray(noisy, dtype=float)
    assert before.shape == after.shape and abs(before.mean() - after.mean()) < 15
    assert abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) < 0.15
    assert recorder.asked[0][0]["content"][1] == "what?"


def test_shuffling_gives_every_prompt_the_picture_of_another(recorder: Recorder) -> None:
    given = pictures(6)
    Controlled(recorder, "shuffled", 0).run_many([[each, "what?"] for each in given])  # type: ignore[arg-type]
    for messages, own in zip(recorder.asked, given, strict=True):
        (other,) = shown(messages)
        assert other in given and other is not own


def test_nothing_leaves_the_words_alone(recorder: Recorder) -> None:
    prompt = [{"role": "user", "content": [{"type": "image", "image": pictures(1)[0]}, "what?"]}]
    asked = Controlled(recorder, "nothing", 0)  # type: ignore[arg-type]
    asked.run_many([prompt])
    assert recorder.asked[0][0]["content"] == ["what?"] and asked.replaced == 1
    assert len(prompt[0]["content"]) == 2, "the prompt itself is left as it was"


class Fake(Metric):
    """Scores that are said beforehand: the real one, then one per control."""

    def __init__(self, scores: list[float], reads: bool) -> None:
        self.scores, self.reads = list(scores), reads

    def measure(self, pipeline: Any, *, limit: int | None = None, seed: int = 0) -> Score:
        pipeline.run_many([[*pictures(1), "what?"] if self.reads else "what?"], max_tokens=1)
        return Score.of(round(self.scores.pop(0) * 100), 100, input="image", output="text", judge="none")


class Evaluated:
    def __init__(self, pipeline: Any, metric: Metric) -> None:
        self.pipeline = pipeline
        settings = type("Settings", (), {"build": lambda _, context: metric})()
        self.config = type("Config", (), {"evaluation": {"reading": settings}})()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pipeline, name)


@pytest.mark.parametrize(("control", "above"), [(0.1, True), (0.45, False), (0.9, False)])
def test_a_score_inside_the_interval_of_a_control_is_marked(tiny: Any, control: float, above: bool) -> None:
    metric = Fake([0.5, 0.1, control, 0.1], reads=True)
    ((_, score),) = evaluate(Evaluated(tiny, metric), with_controls=True)  # type: ignore[arg-type]
    assert set(score.controls) == set(CONTROLS)
    assert score.is_above_controls == score.as_row()["above_controls"] == above


def test_an_evaluation_that_reads_no_media_has_no_controls(tiny: Any) -> None:
    metric = Fake([0.5] * 4, reads=False)
    ((_, score),) = evaluate(Evaluated(tiny, metric), with_controls=True)  # type: ignore[arg-type]
    assert not score.controls and "controls" not in score.as_row()


def test_the_metric_in_the_documentation_scores_a_checkpoint(
    make_tiny: Any, tmp_path: Path, picture: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    chapter = text[text.index("## Scores") : text.index("## Comparing")]
    (code,) = re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)
    (last,) = re.findall(r"^polyjanus .*naming=.*$", chapter, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    Path("exact.py").write_text(code, encoding="utf-8")
    picture.save("a.png")
    rows = [{"prompt": [{"type": "image", "path": "a.png"}, f"what {i}?"], "answer": "?"} for i in range(3)]
    Path("held_out.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    make_tiny("backbone.architecture.max_position_embeddings=1024").save("runs/my/1")
    assert main(["plugins", "check", "exact.py"]) == 0, capsys.readouterr().out
    capsys.readouterr()
    assert main([*shlex.split(last)[1:], "--device", "cpu", "--limit", "2", "--json"]) == 0
    (score,) = json.loads(capsys.readouterr().out)["scores"]
    assert (score["score"], score["n"], score["judge"]) == (0.0, 2, "exact match")
    assert main(["eval", "runs/my/1"]) == 2
    assert "add one here, `evaluation.NAME.type=TYPE`" in capsys.readouterr().err


class NamedRows(MetricConfig):
    """Counts the lines of a file; `fails` raises while measuring."""

    type: Literal["named_rows"]
    path: str = "rows.txt"
    fails: bool = False

    def build(self, context: Any) -> Any:
        lines = context.locate_file(self.path).read_text(encoding="utf-8").splitlines()
        return Lines(len(lines), self.fails)


class Lines(Metric):
    def __init__(self, count: int, fails: bool) -> None:
        self.count, self.fails = count, fails

    def measure(self, pipeline: Any, *, limit: int | None = None, seed: int = 0) -> Score:
        if self.fails:
            raise KeyError("oh")
        return Score.of(self.count, 4, input="text", output="text", judge="lines")


@pytest.fixture
def lines_metric(plugins: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins.registries.metrics._entries, "named_rows", Entry(NamedRows, UNKNOWN_ORIGIN))
    monkeypatch.setattr("polyjanus.core.manager.load_plugins", lambda *_, **__: plugins)


@pytest.mark.usefixtures("lines_metric")
def test_paths_of_evaluations_start_at_the_yaml_and_faults_name_the_block(
    make_tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home := tmp_path / "home").mkdir()
    (home / "rows.txt").write_text("a\nb\n", encoding="utf-8")
    (home / "my.yaml").write_text("", encoding="utf-8")
    run = tmp_path / "out" / "1"
    run.mkdir(parents=True)
    note_settings(run, "", home / "my.yaml")
    make_tiny("evaluation.a.type=named_rows", "evaluation.b={type: named_rows, fails: true}").save(
        run / "checkpoints" / "step-1"
    )
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert main(["eval", str(run), "--device", "cpu"]) == 2
    out, err = capsys.readouterr()
    assert "50.0%" in out, "what was measured before the error is printed"
    assert "evaluation.b: metric 'named_rows' failed: KeyError: 'oh'" in err and "Traceback" not in err
    assert main(["eval", str(run), "--device", "cpu", "--only", "a"]) == 0
    assert main(["eval", str(run), "--device", "cpu", "--only", "aa"]) == 2
    assert "no evaluation 'aa'; did you mean 'a'?" in capsys.readouterr().err
    (home / "rows.txt").unlink()
    assert main(["eval", str(run), "--device", "cpu", "--only", "a"]) == 2
    assert f"evaluation.a: there is no '{home / 'rows.txt'}'" in capsys.readouterr().err


@pytest.mark.usefixtures("lines_metric")
def test_training_does_not_begin_without_what_its_evaluations_need(
    tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_yaml.with_name("captions.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n', encoding="utf-8")
    assert main(["validate", str(tiny_yaml), "evaluation.a.type=named_rows"]) == 0
    assert "evaluation.a.path: there is no 'rows.txt' yet" in capsys.readouterr().out
    call = ["train", str(tiny_yaml), "evaluation.a.type=named_rows", "--run", str(tmp_path / "r"), "--device", "cpu"]
    assert main(call) == 2
    assert "evaluation.a: there is no" in capsys.readouterr().err and not (tmp_path / "r").exists()


@pytest.mark.usefixtures("lines_metric")
def test_a_checkpoint_answers_without_the_plugins_that_only_scored_and_taught_it(
    make_tiny: Any, plugins: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["evaluation.a={type: named_rows, path: b}", "data.lost={type: jsonl, path: c}"]
    folder = make_tiny(*changes, "training=null").save(tmp_path / "saved")
    assert "named_rows" in {each["type"] for each in read_manifest(folder)["plugins"]}
    text = (folder / "polyjanus.yaml").read_text()
    lines = text.replace("type: jsonl", "type: gone\n    of_its_own: [1, null]").replace(
        "\ntext:", "\nlater: null\ntext:"
    )
    (folder / "polyjanus.yaml").write_text(lines)
    monkeypatch.delitem(plugins.registries.metrics._entries, "named_rows")
    with pytest.warns(PolyjanusWarning, match="without a value are passed over: later"):
        again = Pipeline.from_pretrained(folder, plugins=plugins, device="cpu", is_verified=False)
    assert again.config.evaluation["a"].model_dump() == {"type": "named_rows", "path": "b", "fails": False}
    written = (again.save(tmp_path / "copy") / "polyjanus.yaml").read_text()
    assert "type: gone" in written and "of_its_own" in written, "what is not known is kept"
    with pytest.raises(RegistryError, match="no metric of type 'named_rows'") as raised:
        list(evaluate(again))
    assert raised.value.where == "evaluation.a"
