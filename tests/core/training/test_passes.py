"""How a step is done: in several passes, with other rates, with activations computed again, without a bad step."""

import json
import sys
from typing import Any

import pytest
import torch
from safetensors import safe_open

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


@pytest.mark.parametrize(
    "override", ["optimizer=adafactor", "optimizer=adamw8bit", "accumulate=2", "rates={backbone: 1e-4}"]
)
def test_every_way_to_do_a_step_goes_on_bit_by_bit(runs: Any, quiet: Any, override: str) -> None:
    if "8bit" in override:
        pytest.importorskip("bitsandbytes")
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


def test_moments_in_bytes_are_saved_as_such_and_learn_much_as_in_floats(runs: Any) -> None:
    pytest.importorskip("bitsandbytes")
    for name, kind in (("bytes", "adamw8bit"), ("floats", "adamw")):
        runs.training(name, f"training.stages.all.optimizer={kind}").run()
    checkpoint = newest(runs.home / "bytes" / CHECKPOINTS)
    assert checkpoint is not None
    with safe_open(checkpoint / "training" / "optimizer.safetensors", framework="pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert "U8" in kinds
    mine, theirs = losses(runs, "bytes"), losses(runs, "floats")
    assert mine == pytest.approx(theirs, rel=0.02) and mine != theirs


def test_without_bitsandbytes_the_way_to_get_it_is_told(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(TrainingError, match=r"needs bitsandbytes(.|\n)*polyjanus\[adam8bit\]"):
        runs.training("x", "training.stages.codec.optimizer=adamw8bit").run()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_compiled_blocks_learn_what_plain_ones_do_and_samples_need_none_of_it(runs: Any) -> None:
    still = "backbone.architecture.attention_dropout=0.0"  # a compiled block draws other random numbers
    sample = "training.samples=[{prompt: say, max_tokens: 3}]"
    for name, is_compiled in (("compiled", "true"), ("plain", "false")):
        runs.training(name, still, sample, f"training.compile={is_compiled}").run()
    assert losses(runs, "compiled") == pytest.approx(losses(runs, "plain"), rel=1e-4)


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
