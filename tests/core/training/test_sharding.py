"""A model in shards over two processes trains as one process does, whatever is trained and however."""

from pathlib import Path
from typing import Any

import pytest
import torch

from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest
from polyjanus.core.pipeline import Pipeline

SHARD = "training.shard=true"
ADAPTORS = "train: [image.understand.adaptor, image.generate.embedding, image.generate.adaptor]"
LEFT_OVER = ["training.stages.all.batch=5", "training.stages.all.accumulate=3"]
"""Three rows in three passes on one process, and two in two on the other."""


def same(mine: list[dict[str, Any]], theirs: list[dict[str, Any]], several: Any) -> None:
    assert len(mine) == len(theirs) > 5
    for one, other in zip(mine, theirs, strict=True):
        assert several.flat(one) == pytest.approx(several.flat(other), rel=2e-5)


def state(run: Path, plugins: Any) -> dict[str, torch.Tensor]:
    checkpoint = newest(run / CHECKPOINTS)
    assert checkpoint is not None
    return Pipeline.from_pretrained(checkpoint, plugins=plugins, device="cpu").model.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        [*LEFT_OVER, "training.samples=[{prompt: x, max_tokens: 2}, {prompt: y, output: [image]}]"],
        ["training.ema=0.5", "training.checkpoint_activations=true", *LEFT_OVER],
        ["training.lora={backbone: {rank: 2}}"],
        [f"training.stages=[{{name: all, {ADAPTORS}, mix: {{captions: 1, words: 1}}, steps: 5, batch: 4, lr: 1e-2}}]"],
    ],
    ids=["passes", "average", "lora", "frozen"],
)
def test_shards_have_the_losses_norms_and_weights_of_one_process(
    how: list[str], yaml: Path, several: Any, plugins: Any, tmp_path: Path
) -> None:
    both = several.start(yaml, tmp_path / "one", *how), several.start(yaml, tmp_path / "two", *how, SHARD, world=2)
    results = [several.finish(processes) for processes in both]
    assert all(code == 0 for result in results for code, _, _ in result), results
    same(several.losses(tmp_path / "two"), several.losses(tmp_path / "one"), several)
    files = [sorted(str(p.relative_to(tmp_path / run)) for p in (tmp_path / run).rglob("*")) for run in ("one", "two")]
    assert files[0] == [name for name in files[1] if "bad_rows" not in name]
    whole, sharded = state(tmp_path / "one", plugins), state(tmp_path / "two", plugins)
    for name, value in whole.items():
        torch.testing.assert_close(sharded[name], value, rtol=1e-3, atol=2e-4, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("before", [2, 1])
def test_a_run_goes_on_in_shards_or_out_of_them(before: int, yaml: Path, several: Any, tmp_path: Path) -> None:
    keep = [SHARD, "training.save={every: 2, keep: 9}", "training.ema=0.5"]
    runs = [several.start(yaml, tmp_path / name, *keep, world=count) for name, count in (("whole", 1), ("cut", before))]
    assert all(code == 0 for run in runs for code, _, _ in several.finish(run))
    for path in (tmp_path / "cut" / CHECKPOINTS).iterdir():
        if path.name != "step-0000002":
            path.rename(tmp_path / path.name)
    results = several.finish(several.start(yaml, tmp_path / "cut", *keep, "--resume", world=3 - before))
    assert all(code == 0 for code, _, _ in results), results
    same(several.losses(tmp_path / "cut"), several.losses(tmp_path / "whole"), several)


@pytest.mark.slow
def test_shards_are_computed_in_bfloat16_as_whole_tensors_are(yaml: Path, several: Any, tmp_path: Path) -> None:
    how = ["training.precision=bfloat16", "training.samples=[{prompt: x, max_tokens: 2}, {prompt: y, output: [image]}]"]
    both = [several.start(yaml, tmp_path / f"{world}", *how, SHARD, world=world) for world in (1, 2)]
    results = [several.finish(processes) for processes in both]
    assert all(code == 0 for result in results for code, _, _ in result), results
    mine, theirs = (several.losses(tmp_path / f"{world}") for world in (2, 1))
    for one, other in zip(mine, theirs, strict=True):
        assert several.flat(one) == pytest.approx(several.flat(other), rel=3e-2)


@pytest.mark.slow
def test_an_optimizer_that_cannot_train_shards_is_refused_before_the_first_step(
    yaml: Path, several: Any, tmp_path: Path
) -> None:
    how = "training.stages.all.optimizer=adafactor"
    results = several.finish(several.start(yaml, tmp_path / "x", how, SHARD, world=2))
    assert [code for code, _, _ in results] == [2, 2]
    assert "'adafactor', which cannot train shards" in results[0][2], "the first process says it for all"
