"""Heads: shapes, losses and guided draws."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from polyjanus.core.settings import BuildContext, HeadConfig
from polyjanus.plugins.heads import LinearHeadConfig, MlpHeadConfig
from polyjanus.plugins.samplers import GreedyConfig

CONTEXT = BuildContext(path="image.generate.head", d_model=8, cardinality=11, num_codebooks=3)
HEADS: dict[str, HeadConfig] = {
    "linear": LinearHeadConfig(type="linear"),
    "mlp": MlpHeadConfig(type="mlp"),
    "wide": MlpHeadConfig(type="mlp", hidden=20),
}


@pytest.mark.parametrize("name", HEADS)
def test_logits_are_one_row_per_column(name: str) -> None:
    assert HEADS[name].build(CONTEXT).logits(torch.randn(5, 8)).shape == (5, 3, 11)


@pytest.mark.parametrize("name", HEADS)
def test_the_loss_is_the_summed_cross_entropy_of_every_code(name: str) -> None:
    head = HEADS[name].build(CONTEXT)
    hidden, targets = torch.randn(5, 8), torch.randint(0, 11, (5, 3))
    total, count = head.loss(hidden, targets)
    expected = sum(cross_entropy(head.logits(hidden)[:, k], targets[:, k], reduction="sum") for k in range(3))
    torch.testing.assert_close(total, expected)
    assert int(count) == 15
    assert head.loss(hidden[:0], targets[:0])[0] == 0


@pytest.mark.parametrize("name", HEADS)
def test_a_guided_draw_moves_away_from_the_negative_and_keeps_to_what_is_allowed(name: str) -> None:
    head = HEADS[name].build(CONTEXT)
    hidden, negative = torch.randn(5, 8), torch.randn(5, 8)
    allowed = torch.ones(3, 11, dtype=torch.bool)
    allowed[1, :6] = False
    sampler = GreedyConfig(type="greedy", scale=5.0).build(CONTEXT)
    frames = head.sample(hidden, negative=negative, sampler=sampler, noise=None, allowed=allowed)
    logits = 5 * head.logits(hidden) - 4 * head.logits(negative)
    assert torch.equal(frames, logits.masked_fill(~allowed, -torch.inf).argmax(-1))
    assert (frames[:, 1] >= 6).all()


def test_an_mlp_head_is_two_linear_layers() -> None:
    assert {name: tuple(value.shape) for name, value in HEADS["wide"].build(CONTEXT).state_dict().items()} == {
        "hidden.weight": (20, 8),
        "hidden.bias": (20,),
        "output.weight": (33, 20),
        "output.bias": (33,),
    }
