"""`polyjanus trace`: a row goes the way that training takes it, and every step is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from polyjanus.core.tracing import described, page, trace

Call = Callable[..., tuple[int, str, str]]
DRAWN = {
    "messages": [
        {"role": "user", "content": [{"type": "image", "path": "a.png"}, "draw it"]},
        {"role": "assistant", "content": [{"type": "image", "path": "a.png"}]},
    ]
}
WAY = [
    ("files", "load"),
    ("image.understand.encoder", "prepare"),
    ("image.generate.codec", "prepare"),
    ("sequence", "compile"),
    ("text.embedding", "forward"),
    ("image.understand.encoder", "forward"),
    ("image.understand.adaptor", "forward"),
    ("image.generate.codec", "encode"),
    ("image.generate.layout", "pack"),
    ("image.generate.embedding", "forward"),
    ("image.generate.adaptor", "forward"),
    ("backbone", "forward"),
    ("text.head", "forward"),
    ("image.generate.head", "loss"),
    ("loss", "backward"),
]


@pytest.fixture
def found(make_tiny: Any, picture: Any, tmp_path: Path) -> Any:
    picture.save(tmp_path / "a.png")
    content = json.loads(json.dumps(DRAWN["messages"]).replace("a.png", str(tmp_path / "a.png")))
    pipeline = make_tiny()
    return pipeline, trace(pipeline, content, "rows:1"), content


def test_every_step_of_the_way_is_told_in_its_order(found: Any) -> None:
    steps = list(dict.fromkeys((step.path, step.call) for step in found[1].steps))
    assert [step for step in steps if step in WAY] == WAY
    by_name = {(step.path, step.call): step for step in found[1].steps}
    assert by_name["backbone", "forward"].result == f"(1, {found[1].runs[-1]['end']}, 32) float32"
    assert by_name["image.generate.codec", "encode"].result == "(4, 1) int64"
    assert by_name["backbone", "forward"].rms == pytest.approx(1.0, abs=0.2)  # it ends with a norm


def test_losses_and_gradients_are_those_of_training(found: Any) -> None:
    pipeline, told, content = found
    output = pipeline.model(**pipeline.collate([content]))
    output.loss.backward()
    for name, (total, count) in output.sums.items():
        assert told.losses[name] == pytest.approx(float(total.detach()) / int(count))
    for path, norm in told.gradients.items():
        gradients = [p.grad.flatten() for p in pipeline.model.part(path).parameters() if p.grad is not None]
        assert norm == (pytest.approx(float(torch.cat(gradients).norm())) if gradients else None)
    assert told.gradients["image.generate.codec"] is None and told.gradients["image.understand.encoder"] is not None


def test_nothing_is_left_behind(found: Any) -> None:
    pipeline = found[0]
    assert all("forward" not in vars(module) for module in pipeline.model.modules())
    assert all(parameter.grad is None for parameter in pipeline.model.parameters())
    assert "load" not in vars(pipeline.compiler.decoder)


def test_a_page_shows_what_was_loaded_and_what_its_codes_hold_and_opens_offline(found: Any) -> None:
    text = page(found[1])
    assert len(found[1].pictures) == 3 and text.count("data:image/png;base64,") == 3
    assert "http" not in text.replace("data:image", "") and "image.generate.head" in text


def test_the_command_prints_it_as_a_table_as_json_and_as_a_page(call: Call, rows: Any, tmp_path: Path) -> None:
    yaml = rows([DRAWN])
    status, out, err = call("trace", yaml, "--row", "0")
    assert status == 0 and "image.generate.codec" in out and "norm of the gradient" in out and "untrained" in err
    status, out, _ = call("trace", yaml, "--json", "--html", tmp_path / "t" / "way.html")
    assert status == 0 and {"place", "steps", "runs", "losses", "gradients"} == set(json.loads(out))
    assert (tmp_path / "t" / "way.html").is_file()
    status, _, err = call("trace", yaml, "--row", "7")
    assert status == 2 and "has 1 rows" in err


def test_a_run_is_traced_with_its_own_settings_and_weights(call: Call, rows: Any, tmp_path: Path) -> None:
    yaml, run = rows([DRAWN]), tmp_path / "run"
    words = ["training.stages.0.steps=1", "backbone.architecture.hidden_size=16", "--quiet", "--device", "cpu"]
    assert call("train", yaml, "--run", run, *words)[0] == 0
    status, out, err = call("trace", run, "--json")
    assert status == 0 and f"weights of {run}/checkpoints/step-0000001" in err
    (step,) = [step for step in json.loads(out)["steps"] if (step["path"], step["call"]) == ("backbone", "forward")]
    assert ", 16) float32" in step["result"]
    status, _, err = call("trace", run / "checkpoints")
    assert status == 2 and "is no run" in err


def test_a_run_is_inspected_with_its_own_settings_and_answers_for_its_yaml(
    call: Call, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    yaml = rows([{"text": f"line {number}"} for number in range(4)])
    stages = "training.stages=[{name: s, train: [backbone], mix: {captions: 1}, steps: 2, batch: 2, lr: 1e-3}]"
    assert call("train", yaml, stages, "--device", "cpu", "--quiet")[0] == 0
    status, out, _ = call("inspect", f"runs/{yaml.stem}/1", "--json")
    assert status == 0 and [stage["name"] for stage in json.loads(out)["stages"]] == ["s"]
    status, _, told = call("run", yaml, "a", "--max-tokens", "1", "--device", "cpu")
    assert status == 0 and f"runs/{yaml.stem}/1, step 2" in told
    (tmp_path / "runs" / yaml.stem / "2").mkdir()
    status, _, told = call("train", yaml, stages, "--resume", "--device", "cpu", "--quiet")
    assert status == 0 and f"resuming runs/{yaml.stem}/1" in told


def test_what_steps_give_is_described_by_its_shapes() -> None:
    assert described({"pixels": torch.zeros(2, 3)}) == "pixels (2, 3) float32"
    assert described([torch.zeros(2, dtype=torch.int64)]) == "(2,) int64"
    assert described(None) == "" and described([1, 2]) == "2 positions"
