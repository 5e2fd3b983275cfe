"""Large losses are the small ones, computed without holding the logits."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from polyjanus.core import losses
from polyjanus.core.modules import LogitsHead
from polyjanus.core.sequence.packing import collate
from polyjanus.plugins.heads.modules import LinearHead, MlpHead

needs_operation = pytest.mark.skipif(
    not hasattr(functional, "linear_cross_entropy"), reason="needs torch 2.13 or newer"
)


def _loss(head: LogitsHead, hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    head.zero_grad()
    hidden = hidden.clone().requires_grad_()
    total, count = head.loss(hidden, targets)
    assert int(count) == targets.numel()
    (total * 0.3).backward()
    return total.detach(), [hidden.grad, *(parameter.grad for parameter in head.parameters())]  # type: ignore[list-item]


@needs_operation
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("make", [lambda k: LinearHead(16, k, 50), lambda k: MlpHead(16, 24, k, 50)])
def test_a_head_has_the_same_loss_and_gradients_in_one_operation(
    monkeypatch: pytest.MonkeyPatch, make: Any, columns: int
) -> None:
    torch.manual_seed(0)
    head, hidden, targets = make(columns), torch.randn(21, 16), torch.randint(0, 50, (21, columns))
    plain = _loss(head, hidden, targets)
    calls: list[int] = []
    real = functional.linear_cross_entropy
    monkeypatch.setattr(functional, "linear_cross_entropy", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    monkeypatch.setattr(losses, "FUSED_FROM", 1)
    fused = _loss(head, hidden, targets)
    assert len(calls) == columns
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5)


@needs_operation
def test_text_with_marks_has_the_same_loss_and_gradients_in_one_operation(
    monkeypatch: pytest.MonkeyPatch, make_tiny: Any, picture: Any
) -> None:
    pipeline = make_tiny()
    model = pipeline.model
    assert model.vocabulary.num_marks
    row = [{"role": "user", "content": "draw"}, {"role": "assistant", "content": [{"type": "image", "image": picture}]}]
    batch = collate([pipeline.compile(row, is_prompt=False)], pad=0)
    found = []
    for limit in (losses.FUSED_FROM, 1):
        monkeypatch.setattr(losses, "FUSED_FROM", limit)
        model.zero_grad()
        output = model(**batch)
        output.loss.backward()
        gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
        found.append((output.loss.detach(), output.sums["text"], gradients))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)
    assert any(name.startswith("marks.head") for name in found[0][2])


def test_few_logits_and_layers_of_other_kinds_stay_as_they_are() -> None:
    assert not losses.is_fused(10, 10, nn.Linear(4, 10))
    assert not losses.is_fused(1 << 20, 1 << 20, nn.Identity())
    assert not losses.is_fused(1 << 20, 1 << 20, None)
