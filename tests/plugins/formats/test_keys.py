"""The one table of names: every key matched once, there and back, and what is unknown is named."""

from typing import Any

import pytest
import torch

from polyjanus.core.errors import CheckpointError, UsageError
from polyjanus.plugins.formats.keys import DEEPSEEK, TRANSFORMERS, Names


def test_every_key_of_deepseeks_layout_is_matched_once(golden_shapes: dict[str, list[int]]) -> None:
    names = Names(DEEPSEEK)
    for key in golden_shapes:
        assert len(names.rows(key)) == (0 if names.is_unused(key) else 1), key
    unused = [key for key in golden_shapes if names.is_unused(key)]
    assert len(unused) == 14
    assert len(names.sources(golden_shapes, "here")) == 766


def test_every_key_of_transformers_layout_is_matched_once(small_janus: Any) -> None:
    names = Names(TRANSFORMERS)
    state = small_janus.state_dict()
    assert all(len(names.rows(key)) == 1 for key in state)
    assert len(names.sources(state, "here")) == len(state)


@pytest.mark.parametrize("side", [DEEPSEEK, TRANSFORMERS])
def test_the_table_leads_there_and_back(small_janus: Any, side: int) -> None:
    state = small_janus.state_dict()
    sources = Names(TRANSFORMERS).sources(state, "here")
    ours = {name: source.take(state[source.name]) for name, source in sources.items()}
    foreign = Names(side).export(ours, ours.__getitem__)
    again = {name: source.take(foreign[source.name]) for name, source in Names(side).sources(foreign, "here").items()}
    assert set(again) == set(ours)
    assert all(torch.equal(again[name], ours[name]) for name in ours)


def test_queries_keys_and_values_are_fused_in_that_order(small_janus: Any) -> None:
    state = small_janus.state_dict()
    sources = Names(TRANSFORMERS).sources(state, "here")
    ours = {name: state[source.name] for name, source in sources.items()}
    fused = Names(DEEPSEEK).export(ours, ours.__getitem__)["vision_model.vision_tower.blocks.1.attn.qkv.weight"]
    attention = "model.vision_model.encoder.layers.1.self_attn"
    assert torch.equal(fused, torch.cat([state[f"{attention}.{part}_proj.weight"] for part in "qkv"]))


def test_keys_that_are_not_known_are_named() -> None:
    with pytest.raises(CheckpointError, match=r"gen_head\.extra\.weight"):
        Names(DEEPSEEK).sources(["gen_embed.weight", "gen_head.extra.weight"], "here")
    with pytest.raises(CheckpointError, match="and 2 more"):
        Names(DEEPSEEK).sources([f"stray.{number}" for number in range(7)], "here")


@pytest.mark.parametrize("key", ["x.gen_embed.weight", "gen_embed.weight.x", "gen_embed_weight", "lm_head.weight"])
def test_rules_are_anchored_and_dots_are_dots(key: str) -> None:
    assert not Names(DEEPSEEK).rows(key)


def test_a_tensor_that_a_janus_has_not_is_not_exported() -> None:
    with pytest.raises(UsageError, match=r"sound\.understand"):
        Names(DEEPSEEK).export(["sound.understand.encoder.weight"], lambda name: torch.zeros(1))


def test_the_pooling_head_and_the_counts_may_be_there_or_not() -> None:
    names = Names(DEEPSEEK)
    for key in ("vision_model.vision_tower.attn_pool.kv.weight", "gen_vision_model.quantize.codebook_used"):
        assert names.is_unused(key)
        assert names.sources([key], "here") == {}
