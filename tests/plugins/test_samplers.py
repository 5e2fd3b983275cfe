"""Samplers: the frequencies of draws, and what is cut away."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from polyjanus.core.settings import BuildContext
from polyjanus.plugins.samplers import GreedyConfig, GuidedConfig, NucleusConfig
from polyjanus.plugins.samplers.draws import gumbel

CONTEXT = BuildContext(path="image.generate.sampler")
LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -3.0, float("-inf")])
DRAWS = 40_000


def frequencies(**settings: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(DRAWS, len(LOGITS), generator=generator)
    codes = NucleusConfig.model_validate({"type": "nucleus", **settings}).build(CONTEXT)(
        LOGITS.expand(DRAWS, -1), noise
    )
    return torch.bincount(codes, minlength=len(LOGITS)) / DRAWS


def close_to(found: Tensor, expected: Tensor) -> bool:
    """Tell whether frequencies lie within five standard errors of probabilities, and none is where none may be."""
    error = (expected * (1 - expected) / DRAWS).sqrt()
    return bool(((found - expected).abs() <= 5 * error + 1e-9).all())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    assert close_to(frequencies(temperature=temperature), (LOGITS / temperature).softmax(-1))


def test_top_k_keeps_the_likeliest_in_proportion() -> None:
    kept = LOGITS.softmax(-1) * torch.tensor([1, 1, 0, 0, 0, 0])
    assert close_to(frequencies(top_k=2), kept / kept.sum())


@pytest.mark.parametrize(("mass", "count"), [(0.001, 1), (0.63, 1), (0.65, 2), (0.9, 3), (0.999, 5)])
def test_top_p_keeps_the_fewest_that_hold_the_mass(mass: float, count: int) -> None:
    kept = LOGITS.softmax(-1) * (torch.arange(6) < count)
    assert close_to(frequencies(top_p=mass), kept / kept.sum())


def test_settings_that_cut_nothing_change_no_draw() -> None:
    assert torch.equal(frequencies(top_k=100), frequencies())


def test_top_p_does_not_depend_on_the_order_of_the_codes() -> None:
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    noise = torch.rand(1000, 6)
    sampler = NucleusConfig(type="nucleus", top_p=0.8).build(CONTEXT)
    straight = sampler(LOGITS.expand(1000, -1), noise)
    shuffled = sampler(LOGITS[order].expand(1000, -1), noise[:, order])
    assert torch.equal(order[shuffled], straight)


def test_rows_do_not_depend_on_each_other() -> None:
    logits, noise = torch.randn(8, 20), torch.rand(8, 20)
    sampler = GuidedConfig(type="guided", top_p=0.9, top_k=7).build(CONTEXT)
    together = sampler(logits, noise)
    assert together.tolist() == [int(sampler(logits[i : i + 1], noise[i : i + 1])) for i in range(8)]


def test_noise_at_its_bounds_stays_finite() -> None:
    assert gumbel(torch.tensor([0.0, 1e-45, 0.5, 1 - 2**-24, 1.0])).isfinite().all()


def test_a_forbidden_code_is_never_drawn() -> None:
    noise = torch.zeros(1, 3)
    noise[0, 1] = 1.0
    logits = torch.tensor([[0.0, float("-inf"), 0.0]])
    assert int(NucleusConfig(type="nucleus").build(CONTEXT)(logits, noise)) != 1


def test_half_precision_is_drawn_in_single() -> None:
    logits, noise = torch.randn(50, 30).bfloat16(), torch.rand(50, 30)
    sampler = NucleusConfig(type="nucleus").build(CONTEXT)
    assert torch.equal(sampler(logits, noise), sampler(logits.float(), noise))


def test_greedy_takes_the_likeliest_without_noise() -> None:
    sampler = GreedyConfig(type="greedy").build(CONTEXT)
    assert sampler.is_greedy
    assert sampler(torch.tensor([[0.0, 3.0, 1.0], [5.0, 5.0, 1.0]]), None).tolist() == [1, 0]


def test_a_draw_without_noise_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="noise"):
        NucleusConfig(type="nucleus").build(CONTEXT)(torch.zeros(1, 3), None)


def test_guidance_is_janus_unless_told_otherwise() -> None:
    assert GuidedConfig(type="guided").build(CONTEXT).guidance == 5.0
    assert NucleusConfig(type="nucleus").build(CONTEXT).guidance == 1.0
    assert GreedyConfig(type="greedy", scale=3).build(CONTEXT).guidance == 3.0


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1}, {"top_q": 1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        NucleusConfig.model_validate({"type": "nucleus", **wrong})
