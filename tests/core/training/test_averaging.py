"""The moving average of what is trained: it is what is scored and saved, and training goes on from the weights."""

import signal
from typing import Any

import pytest
import torch

from polyjanus.core.checkpoints.components import load_components, unique_state
from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest
from polyjanus.core.training.state import read_weights

EMA = "training.ema=0.5"
STAGES = """training.stages=[
  {name: a, train: [backbone], mix: {words: 1, captions: 1}, steps: 3, batch: 2, lr: 1e-2},
  {name: b, train: [text], mix: {words: 1, captions: 1}, steps: 3, batch: 2, lr: 1e-2}]"""


def _weights(training: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in unique_state(training.model).items()}


def test_what_is_saved_is_the_average_of_the_steps_and_beside_it_what_training_goes_on_with(
    runs: Any, quiet: Any
) -> None:
    seen: list[torch.Tensor] = []
    training = runs.training("x", EMA, STAGES)
    (name,) = [name for name in dict(training.model.named_parameters()) if name.endswith("layers.0.mlp.up_proj.weight")]
    seen.append(_weights(training)[name])
    training.display = quiet({step: lambda: seen.append(_weights(training)[name]) for step in (1, 2)})
    training.display.at[2] = lambda: (seen.append(_weights(training)[name]), signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        training.run()
    start, first, second = seen
    after_one = torch.lerp(start, first, 1 - 2 / 11)
    expected = torch.lerp(after_one, second, 1 - 3 / 12)
    checkpoint = newest(runs.home / "x" / CHECKPOINTS)
    assert checkpoint is not None
    other = runs.training("y", STAGES)
    load_components(other.model, checkpoint)
    torch.testing.assert_close(_weights(other)[name], expected)
    assert torch.equal(read_weights(checkpoint)[name], second)


@pytest.mark.parametrize("at", [1, 3, 4, 5])
def test_a_resumed_run_with_an_average_is_equal_to_one_that_never_stopped(runs: Any, quiet: Any, at: int) -> None:
    whole = runs.training("whole", EMA, STAGES)
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        runs.training("x", EMA, STAGES, display=quiet({at: lambda: signal.raise_signal(signal.SIGINT)})).run()
    again = runs.training("x", EMA, STAGES, resume=True)
    again.run()
    assert runs.log("x") == runs.log("whole")
    mine, theirs = _weights(again), _weights(whole)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_stage_hands_its_average_to_the_next(runs: Any) -> None:
    training = runs.training("x", EMA, STAGES)
    training.run()
    checkpoint = newest(runs.home / "x" / CHECKPOINTS)
    assert checkpoint is not None
    saved = runs.training("y", STAGES)
    load_components(saved.model, checkpoint)
    mine, theirs = _weights(training), _weights(saved)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    plain = runs.training("z", STAGES)
    plain.run()
    last = [[record["loss"] for record in runs.log(name) if "loss" in record][-1] for name in "xz"]
    assert last[0] != last[1]
