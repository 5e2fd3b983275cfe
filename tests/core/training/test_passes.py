"""How a step is done: in several passes, with other rates, with activations computed again, without a bad step."""

import json
from typing import Any

import pytest
import torch

from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest
from polyjanus.core.errors import TrainingError
from polyjanus.core.pipeline import Pipeline


def losses(runs: Any, name: str) -> list[float]:
    return [record["loss"] for record in runs.log(name) if "loss" in record]


def weights(runs: Any, name: str) -> dict[str, torch.Tensor]:
    return Pipeline.from_pretrained(
        newest(runs.home / name / CHECKPOINTS), plugins=runs.plugins, device="cpu"
    ).model.state_dict()


@pytest.fixture
def quiet_runs(runs: Any) -> Any:
    """Return runs without dropout, whose random numbers would differ between one pass and several."""
    runs.yaml = runs.yaml.replace(", attention_dropout: 0.1", "")
    return runs


@pytest.mark.parametrize("passes", [2, 3, 4])
def test_several_passes_give_the_losses_and_weights_of_one(quiet_runs: Any, passes: int) -> None:
    """Rows of pictures and of text alone are in one step, so the passes differ in how many targets they have."""
    quiet_runs.training("one", "training.stages.codec.steps=1").run()
    several = "training.stages.all.accumulate"
    quiet_runs.training("several", "training.stages.codec.steps=1", f"{several}={passes}").run()
    assert losses(quiet_runs, "several") == pytest.approx(losses(quiet_runs, "one"), rel=1e-5)
    mine, theirs = weights(quiet_runs, "several"), weights(quiet_runs, "one")
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=1e-3, atol=2e-4, msg=name)


def test_activations_computed_again_change_nothing(quiet_runs: Any) -> None:
    quiet_runs.training("kept").run()
    quiet_runs.training("again", "training.checkpoint_activations=true").run()
    assert losses(quiet_runs, "again") == pytest.approx(losses(quiet_runs, "kept"), rel=1e-6)


def test_activations_are_really_computed_again(quiet_runs: Any) -> None:
    calls = []
    for setting in ("false", "true"):
        training = quiet_runs.training(
            setting, f"training.checkpoint_activations={setting}", "training.stages.codec.steps=1"
        )
        layer = training.model.part("backbone").transformer.layers[0].input_layernorm
        count: list[int] = []
        layer.register_forward_hook(lambda *_, seen=count: seen.append(1) if torch.is_grad_enabled() else None)
        training.run()
        calls.append(len(count))
    assert calls[1] == 2 * calls[0]


def test_rates_by_glob_scale_the_schedule_and_the_last_one_wins(runs: Any) -> None:
    training = runs.training(
        "x",
        "training.stages.all.rates={image.generate: 1e-3, image.generate.head: 1e-9}",
        "training.stages.codec.steps=1",
    )
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    training.run()
    moved = {name: float((value - before[name]).abs().max()) for name, value in training.model.state_dict().items()}
    largest = {
        path: max(change for name, change in moved.items() if name.startswith(f"{path}."))
        for path in ("backbone", "image.generate.adaptor", "image.generate.head")
    }
    assert largest["image.generate.head"] < 1e-7 < largest["image.generate.adaptor"] < largest["backbone"]


def test_a_rate_for_what_is_not_trained_is_refused(runs: Any) -> None:
    with pytest.raises(TrainingError, match=r"'image\.understand' matches nothing that it trains(.|\n)*trained are"):
        runs.training("x", "training.stages.codec.rates={image.understand: 1e-3}").run()


@pytest.mark.parametrize("override", ["optimizer=adafactor", "accumulate=2", "rates={backbone: 1e-4}"])
def test_every_way_to_do_a_step_goes_on_bit_by_bit(runs: Any, quiet: Any, override: str) -> None:
    setting = f"training.stages.all.{override}"
    runs.training("whole", setting).run()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.training("x", setting, display=quiet({6: interrupt})).run()
    runs.training("x", setting, resume=True).run()
    assert runs.log("x") == runs.log("whole")
    mine, theirs = weights(runs, "x"), weights(runs, "whole")
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def _breaks(training: Any, steps: set[int]) -> None:
    """Let the loss of some steps be no number."""
    head, seen = training.model.part("text.head"), [0]

    def spoil(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return output
        seen[0] += 1
        return output * float("nan") if seen[0] in steps else output

    head.register_forward_hook(spoil)


SKIP = "training.nonfinite={action: skip, budget: 1}"


def test_a_step_that_is_no_number_is_left_out_and_written_down(runs: Any) -> None:
    training = runs.training("x", "training.stages.codec.steps=1", SKIP)
    _breaks(training, {2})
    training.run()
    assert all(bool(torch.isfinite(value).all()) for value in training.model.state_dict().values())
    (line,) = (runs.home / "x" / "nonfinite.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["total"] == 3 and record["heads"] == ["text"] and len(record["rows"]) == 4
    assert "jsonl:" in record["rows"][0]


def test_more_steps_that_are_no_numbers_than_the_budget_stop_the_run(runs: Any) -> None:
    training = runs.training("x", "training.stages.codec.steps=1", SKIP)
    _breaks(training, {2, 3})
    with pytest.raises(TrainingError, match=r"that of text; such steps of the last 1000: 2(.|\n)*nonfinite\.jsonl"):
        training.run()
