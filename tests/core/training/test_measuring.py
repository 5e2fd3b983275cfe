"""What a step costs is told as it is: positions, padding, operations, memory."""

import json
from typing import Any, cast

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from polyjanus.core.sequence.packing import collate
from polyjanus.core.training.log import LOG
from polyjanus.core.training.measuring import Meter, peak_flops, peak_memory
from polyjanus.core.training.ranks import Ranks


def test_a_log_counts_positions_by_modality_and_what_was_padded(runs: Any) -> None:
    training = runs.training("x")
    training.run()
    steps = [json.loads(line) for line in (runs.home / "x" / LOG).read_text().splitlines()]
    steps = [record for record in steps if record.get("stage") == "all"]
    assert len(steps) == 5
    for record in steps:
        assert sum(record["tokens"].values()) == record["positions"]
        assert record["tokens"]["image.generate"] % training.model.layouts["image"].max_steps == 0
        assert 0 <= record["padding"] < 1 and record["mfu"] > 0 and record["memory"] > 1 << 20
    assert any(record["padding"] for record in steps)


def test_operations_are_those_that_torch_counts(runs: Any) -> None:
    training = runs.training("x")
    training.model.requires_grad_(True)
    sequence = training.pipeline.compile("two", is_prompt=False)  # short: torch does not count attention on a CPU
    sequence.learned[:] = [True] * len(sequence)
    batch = collate([sequence], pad=training.feed.pad)
    with FlopCounterMode(display=False) as counter:
        cast(Any, training.model(**batch).loss).backward()
    meter = Meter(training.model, Ranks(), is_mixed=False)
    mine = meter._flops([sequence], meter._counts([sequence]))
    backbone = training.model.part("backbone")
    attention = 6 * backbone.num_layers * backbone.width * len(sequence) ** 2
    assert mine - attention == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_frozen_parts_cost_less_and_nothing_is_counted_for_what_is_absent(runs: Any) -> None:
    training = runs.training("x")
    meter = Meter(training.model, Ranks(), is_mixed=False)
    training.model.requires_grad_(True)
    whole = meter._per_position("backbone")
    training.model.requires_grad_(False)
    assert meter._per_position("backbone") == pytest.approx(whole * 4 / 6)
    assert meter._per_position("image.generate.nothing") == 0


def test_a_device_has_a_peak_and_this_process_a_memory() -> None:
    cpu = torch.device("cpu")
    assert peak_flops(cpu, is_mixed=False) > 1e8
    assert peak_memory(cpu) > 1 << 20
