"""Controls: what a model says of noise, of the inputs of others, and of nothing, beside what it says of the signal."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from polyjanus.core.cli import main
from polyjanus.core.evaluation import CONTROLS, Controlled, Metric, Score, evaluate


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
    assert main([*shlex.split(last)[1:], "--device", "cpu", "--limit", "2", "--json"]) == 0
    (score,) = json.loads(capsys.readouterr().out)["scores"]
    assert (score["score"], score["n"], score["judge"]) == (0.0, 2, "exact match")
    assert main(["eval", "runs/my/1"]) == 2
    assert "add one here, `evaluation.NAME.type=TYPE`" in capsys.readouterr().err
