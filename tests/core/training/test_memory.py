"""A step that runs out of memory: a message that helps, nothing lost, and a run that can go on."""

import json
from typing import Any

import pytest
import torch

from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest
from polyjanus.core.errors import TrainingError
from polyjanus.core.training.memory import is_out_of_memory
from polyjanus.core.training.state import read_progress

NO_ROOM = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]


def _fail_at(training: Any, total: int, error: BaseException) -> None:
    run = training.model.part("backbone").forward

    def forward(*given: Any, **named: Any) -> Any:
        if training.progress.total + 1 == total and torch.is_grad_enabled():
            raise error
        return run(*given, **named)

    training.model.part("backbone").forward = forward


@pytest.mark.parametrize("error", NO_ROOM, ids=["cuda", "cpu", "cublas", "python"])
def test_a_step_without_memory_is_told_with_rows_and_settings_and_what_was_learned_is_saved(
    runs: Any, error: BaseException
) -> None:
    (runs.home / "words.jsonl").write_text("\n".join(json.dumps({"text": "word " * 3 * i}) for i in range(1, 6)))
    runs.training("unbroken").run()
    training = runs.training("x")
    _fail_at(training, 6, error)
    with pytest.raises(TrainingError) as caught:
        training.run()
    told = str(caught.value)
    assert caught.value.__cause__ is error and "step 3 of stage 'all' ran out of memory" in told
    lengths = [int(part.split("(")[1].split()[0]) for part in told.split(";")[1].split("positions")[:-1]]
    assert len(lengths) == 3 and lengths == sorted(lengths, reverse=True) and "jsonl:" in told
    assert "step 5 is saved" in told
    for setting in ("checkpoint_activations=true", "accumulate=2", "max_tokens (now", "batch (now 4)"):
        assert setting in told
    checkpoint = newest(runs.home / "x" / CHECKPOINTS)
    assert checkpoint is not None and read_progress(checkpoint)[0].total == 5
    runs.training("x", "training.checkpoint_activations=true", resume=True).run()
    noisy = ("peak", "memory", "second", "flops", "utilisation", "mfu")
    mine, theirs = (
        [{k: v for k, v in line.items() if not any(word in k for word in noisy)} for line in runs.log(name)]
        for name in ("x", "unbroken")
    )
    assert mine == theirs


def test_what_could_not_be_saved_is_said_too(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    training = runs.training("x", "training.checkpoint_activations=true")
    _fail_at(training, 6, NO_ROOM[0])

    def refuse(*_: Any) -> None:
        raise TrainingError("the disk is full")

    monkeypatch.setattr(training.saving, "save", lambda *given: None if training.progress.total < 5 else refuse())
    with pytest.raises(TrainingError, match=r"ran out of memory.*could not be saved \(the disk is full\)") as caught:
        training.run()
    assert "checkpoint_activations" not in str(caught.value)


def test_a_first_step_without_memory_has_nothing_to_save(runs: Any) -> None:
    stage = "training.stages=[{name: s, train: [text], mix: {captions: 0, words: 1}, steps: 2, batch: 2,"
    stage += " accumulate: 2, lr: 1e-3}]"
    training = runs.training("x", stage)
    _fail_at(training, 1, NO_ROOM[1])
    with pytest.raises(TrainingError, match="nothing had been learned") as caught:
        training.run()
    assert "accumulate=" not in str(caught.value) and newest(runs.home / "x" / CHECKPOINTS) is None


def test_other_errors_of_a_step_stay_what_they_are(runs: Any) -> None:
    training = runs.training("x")
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    _fail_at(training, 4, error)
    with pytest.raises(RuntimeError) as caught:
        training.run()
    assert caught.value is error and not is_out_of_memory(error)
