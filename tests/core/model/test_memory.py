"""What validation says of memory is what a pass keeps, and what it advises makes a stage fit."""

from typing import Any

import pytest
import torch

from polyjanus.core.config.reading import read_pipeline
from polyjanus.core.model.memory import saved_bytes
from polyjanus.core.model.wiring import Wiring, check_wiring

STAGES = """training={max_tokens: 256, precision: float32, stages: [
  {name: s, train: [backbone, text, marks, image.generate], mix: {words: 1}, steps: 9, batch: 64, lr: 1e-3}]}"""
DATA = "data={words: {type: digits, task: read}}"


@pytest.fixture
def wiring(tiny_yaml: Any, plugins: Any) -> Any:
    def make(*overrides: str) -> Wiring:
        loaded = read_pipeline(tiny_yaml, plugins.registries, [DATA, STAGES, *overrides])
        found = check_wiring(loaded, plugins.registries)
        assert not found.faults
        return found

    return make


@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_what_a_backbone_keeps_is_what_it_keeps_on_the_cpu(wiring: Any, make_tiny: Any, is_checkpointed: bool) -> None:
    expected = wiring().costs()._per_position(torch.float32, is_checkpointed)
    backbone = make_tiny().model.part("backbone").train().requires_grad_(False)
    backbone.checkpoint_activations(is_checkpointed)
    length = 96
    given = torch.randn(1, length, backbone.width, requires_grad=True)
    mask = torch.ones(1, length, length, dtype=torch.bool).tril()
    kept = saved_bytes(backbone, lambda: backbone(given, torch.arange(length)[None], mask))
    masks = 4 * length**2 * backbone.num_layers  # the kernel of the CPU takes the mask as numbers
    assert kept - (0 if is_checkpointed else masks) == pytest.approx(expected * length, rel=0.15)


def test_fewer_rows_per_pass_and_activations_computed_again_take_less(wiring: Any) -> None:
    plain = wiring().stages()[0]
    half = wiring("training.stages.0.accumulate=2").stages()[0]
    again = wiring("training.checkpoint_activations=true").stages()[0]
    assert half.rows * 2 == plain.rows == 64
    assert half.activations < plain.activations and again.activations < plain.activations
    assert (half.weights, half.gradients, half.optimizer) == (plain.weights, plain.gradients, plain.optimizer)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_the_settings_that_are_advised_make_it_fit_and_none_of_them_is_needless(wiring: Any, share: float) -> None:
    found = wiring()
    training = found.pipeline.training
    limit = int(found.stages()[0].total * share)
    advised = found.costs().advice(training.stages[0], training, limit)
    assert advised
    homes = ["training.stages.0." if name.startswith(("accumulate", "optimizer")) else "training." for name in advised]
    overrides = [home + name for home, name in zip(homes, advised, strict=True)]
    assert wiring(*overrides).stages()[0].total <= limit
    for left_out in overrides:
        rest = [override for override in overrides if override != left_out]
        assert wiring(*rest).stages()[0].total > limit
    assert all(override in found.memory_report(limit) for override in overrides)


def test_activations_are_rather_computed_again_than_a_step_done_in_many_times_as_many_passes(wiring: Any) -> None:
    found = wiring("backbone.architecture.num_hidden_layers=16", "training.stages.0.batch=512")
    training, limit = found.pipeline.training, int(found.stages()[0].total * 0.05)
    settings = found.costs().advice(training.stages[0], training, limit)
    assert settings == ["checkpoint_activations=true", "accumulate=8"]


def test_what_nothing_makes_fit_is_said_so(wiring: Any) -> None:
    assert "no setting makes it fit" in wiring().memory_report(1000)


def test_shards_divide_what_the_backbone_and_the_text_hold_and_nothing_else(wiring: Any) -> None:
    found = wiring()
    (plain,), (sharded,) = found.stages(4), wiring("training.shard=true").stages(4)
    assert plain.rows == sharded.rows == 16 and found.stages()[0].rows == 64
    counts = found.parameters()
    divided = sum(counts[path] for path in ("backbone", "text.embedding", "text.head"))
    assert plain.weights - sharded.weights == pytest.approx(4 * divided * 3 / 4, abs=16)
    assert plain.optimizer - sharded.optimizer == pytest.approx(8 * divided * 3 / 4, abs=32)
    assert sharded.gathered > 0 == plain.gathered


def test_where_nothing_fits_on_the_devices_there_are_shards_over_more_of_them_are_advised(wiring: Any) -> None:
    found = wiring(*(f"backbone.architecture.{size}" for size in ("hidden_size=512", "num_hidden_layers=16")))
    report = found.memory_report(int(found.stages()[0].weights * 0.7))
    assert "no setting makes it fit on so few: on " in report and "training.shard=true" in report
