"""Adaptors: widths, counts, and items that do not touch each other."""

import pytest
import torch

from polyjanus.core.errors import WiringError
from polyjanus.core.modules import Features
from polyjanus.core.settings import AdaptorConfig, BuildContext
from polyjanus.plugins.adaptors import IdentityConfig, LinearConfig, MlpConfig, ResamplerConfig

CONTEXT = BuildContext(path="image.understand.adaptor", width_in=6, width_out=8)
ADAPTORS: dict[str, AdaptorConfig] = {
    "linear": LinearConfig(type="linear"),
    "mlp": MlpConfig(type="mlp", depth=3),
    "resampler": ResamplerConfig(type="resampler", tokens=5, heads=2),
    "narrow resampler": ResamplerConfig(type="resampler", tokens=5, heads=2, width=4),
}


def features(*lengths: int) -> Features:
    generator = torch.Generator().manual_seed(0)
    return Features.of([torch.randn(n, 6, generator=generator) for n in lengths], [(1, n) for n in lengths])


@pytest.mark.parametrize("name", ADAPTORS)
def test_the_width_is_that_of_the_backbone_and_the_count_as_announced(name: str) -> None:
    adaptor = ADAPTORS[name].build(CONTEXT)
    given = features(4, 1, 7)
    adapted = adaptor(given)
    expected = [adaptor.num_tokens(n, (1, n)) for n in given.lengths]
    assert adapted.lengths == tuple(n for n, _ in expected)
    assert adapted.values.shape == (sum(adapted.lengths), 8)
    assert (adapted.grids or (None,) * 3) == tuple(grid for _, grid in expected)


@pytest.mark.parametrize("name", ADAPTORS)
def test_an_item_is_the_same_alone_and_among_others(name: str) -> None:
    adaptor = ADAPTORS[name].build(CONTEXT)
    given = features(4, 1, 7)
    together = adaptor(given).split()
    for item, expected in zip(given.split(), together, strict=True):
        torch.testing.assert_close(adaptor(Features.of([item])).values, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ADAPTORS)
def test_gradients_reach_every_parameter_and_the_features(name: str) -> None:
    adaptor = ADAPTORS[name].build(CONTEXT)
    given = features(4, 2)
    given.values.requires_grad_()
    adaptor(given).values.square().sum().backward()
    assert given.values.grad is not None
    assert all(value.grad is not None for value in adaptor.parameters())


def test_an_mlp_is_named_as_deepseek_names_it() -> None:
    assert list(MlpConfig(type="mlp").build(CONTEXT).state_dict()) == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.2.weight",
        "layers.2.bias",
    ]


def test_an_mlp_of_depth_one_is_linear() -> None:
    assert list(MlpConfig(type="mlp", depth=1).build(CONTEXT).state_dict()) == ["layers.0.weight", "layers.0.bias"]


def test_identity_passes_features_on() -> None:
    given = features(3)
    assert IdentityConfig(type="identity").build(BuildContext(path="a", width_in=6, width_out=6))(given) is given


def test_identity_between_unequal_widths_names_both() -> None:
    with pytest.raises(WiringError, match=r"width 6, the backbone has 8") as caught:
        IdentityConfig(type="identity").build(CONTEXT)
    assert caught.value.paths == ("image.understand.adaptor", "backbone")


def test_heads_that_do_not_divide_are_refused_with_the_remedy() -> None:
    with pytest.raises(WiringError, match="3 heads do not divide the resampler's width 8"):
        ResamplerConfig(type="resampler", heads=3).build(CONTEXT)


def test_a_resampler_reads_an_item_without_features() -> None:
    adaptor = ResamplerConfig(type="resampler", tokens=5, heads=2).build(CONTEXT)
    assert adaptor(Features(torch.zeros(0, 6), (0,))).values.isfinite().all()
    both = adaptor(Features(torch.ones(3, 6), (0, 3))).values
    assert both.isfinite().all()
    assert not torch.allclose(both[:5], both[5:])


def test_queries_built_on_meta_are_drawn_by_reset() -> None:
    with torch.device("meta"):
        adaptor = ResamplerConfig(type="resampler", tokens=5, heads=2).build(CONTEXT)
    adaptor.to_empty(device="cpu")
    adaptor.queries.weight.data.fill_(1000)
    adaptor.queries.reset_parameters()
    assert 0 < adaptor.queries.weight.std() < 0.1
