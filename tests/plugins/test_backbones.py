"""Backbones: the parts of a language model add up to the whole, and a model whose parts do not is refused."""

from typing import Any

import pytest
import torch

from polyjanus.core.errors import WiringError
from polyjanus.core.model.building import LanguageModel
from polyjanus.core.sequence.packing import causal_mask
from polyjanus.core.settings import BuildContext
from polyjanus.plugins.backbones import CausalLMConfig
from polyjanus.plugins.backbones.causal_lm import TESTED

CONTEXT = BuildContext(path="backbone", vocab_size=64)
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "max_position_embeddings": 128,
}
SLIDING = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **SMALL},
    "mistral": {"model_type": "mistral", **SMALL, "sliding_window": 4},
    "qwen2": {"model_type": "qwen2", **{k: v for k, v in SMALL.items() if k != "head_dim"}},
    "qwen3": {"model_type": "qwen3", **SMALL, "tie_word_embeddings": True},
    "qwen3 sliding": {"model_type": "qwen3", **SMALL, **SLIDING, "use_sliding_window": True},
    "gemma3_text": {"model_type": "gemma3_text", **SMALL, **SLIDING},
}


def _build(architecture: dict[str, Any]) -> LanguageModel:
    torch.manual_seed(0)
    return CausalLMConfig(type="causal_lm", architecture=architecture).build(CONTEXT)


def _whole(architecture: dict[str, Any], parts: LanguageModel) -> Any:
    """Return transformers' own model with the weights of the parts."""
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = {key: value for key, value in architecture.items() if key != "model_type"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture["model_type"], **settings)).eval()
    model.get_input_embeddings().load_state_dict(parts.embedding.state_dict())
    model.get_output_embeddings().load_state_dict(parts.head.state_dict())
    missing, unexpected = model.base_model.load_state_dict(parts.backbone.transformer.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("embed_tokens") for name in missing)
    return model


def test_every_type_that_is_called_tested_is_tested_here() -> None:
    assert {architecture["model_type"] for architecture in ARCHITECTURES.values()} == set(TESTED)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_the_parts_give_the_logits_of_the_whole(name: str) -> None:
    parts = _build(ARCHITECTURES[name])
    parts.backbone.eval()
    model = _whole(ARCHITECTURES[name], parts)
    ids = torch.randint(0, 64, (2, 12), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(12).repeat(2, 1)
    causal = torch.ones(2, 12, 12, dtype=torch.bool).tril()
    expected = model(input_ids=ids, use_cache=False).logits
    for mask in (None, causal):
        mine = parts.head(parts.backbone(parts.embedding(ids), positions, mask))
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_documents_in_a_row_are_as_alone(name: str) -> None:
    parts = _build(ARCHITECTURES[name])
    parts.backbone.eval()
    embeddings = torch.randn(1, 13, 32, generator=torch.Generator().manual_seed(1))
    documents = torch.tensor([[0] * 7 + [1] * 5 + [-1]])
    positions = torch.tensor([[*range(7), *range(5), 12]])
    packed = parts.backbone(embeddings, positions, causal_mask(documents))
    for start, end in ((0, 7), (7, 12)):
        alone = parts.backbone(embeddings[:, start:end], positions[:, start:end])
        torch.testing.assert_close(packed[:, start:end], alone, atol=1e-5, rtol=1e-5)


def test_sizes_are_those_of_the_architecture() -> None:
    backbone = _build(ARCHITECTURES["llama"]).backbone
    assert (backbone.width, backbone.num_layers, backbone.kv_width, backbone.max_positions) == (32, 2, 16, 128)


def test_the_embedding_is_held_once_and_tied_where_the_architecture_says() -> None:
    parts = _build(ARCHITECTURES["qwen3"])
    assert parts.embedding.weight is parts.head.weight
    assert not any("embed" in name for name, _ in parts.backbone.named_parameters())
    untied = _build(ARCHITECTURES["llama"])
    assert untied.embedding.weight is not untied.head.weight


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no masked attention": ({"model_type": "gemma2", **SMALL}, "'gemma2' cannot be.*does not support an attention"),
    "scaled logits": (
        {"model_type": "granite", **{k: v for k, v in SMALL.items() if k != "head_dim"}, "logits_scaling": 4.0},
        "'granite' cannot be.*logits are not its head",
    ),
    "documents leak in a later layer": (
        {
            "model_type": "lfm2",
            **{k: v for k, v in SMALL.items() if k != "head_dim"},
            "layer_types": ["full_attention", "conv"],
        },
        "'lfm2' cannot be.*does not keep to an attention mask",
    ),
    "no attention": (
        {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "vocab_size": 64},
        "'mamba' cannot be",
    ),
    "looks ahead": (
        {
            "model_type": "bert",
            **{k: v for k, v in SMALL.items() if k not in {"head_dim", "num_key_value_heads"}},
        },
        "'bert' cannot be",
    ),
    "no language model": (
        {"model_type": "siglip_vision_model", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        "'siglip_vision_model' cannot be",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_model_whose_parts_do_not_add_up_is_refused_by_name(name: str, device: str) -> None:
    architecture, match = REFUSED[name]
    with pytest.raises(WiringError, match=match) as caught, torch.device(device):
        _build(architecture)
    assert "tested: gemma3_text, llama" in str(caught.value)
    assert caught.value.paths == ("backbone",)


UNTESTED = ["olmo2", "phi3, sliding_window: 4", "granite, embedding_multiplier: 3.0"]
UNTESTED += ["olmo3, sliding_window: 4, layer_types: [full_attention, sliding_attention]"]


@pytest.mark.parametrize("model_type", UNTESTED)
def test_an_untested_model_whose_parts_add_up_is_taken(make_tiny: Any, tmp_path: Any, model_type: str) -> None:
    from polyjanus.core.pipeline import Pipeline

    settings = ", ".join(f"{key}: {value}" for key, value in SMALL.items() if key not in {"head_dim", "vocab_size"})
    pipeline = make_tiny(f"backbone.architecture={{model_type: {model_type}, {settings}, pad_token_id: 0}}")
    loaded = Pipeline.from_pretrained(pipeline.save(tmp_path / "saved"), device="cpu")
    assert loaded.run("hello", ["image"]).parts[0]["type"] == "image"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"hidden_size": 7}, r"could not be built: The hidden size \(7\) is not a multiple of the number of attention"),
        ({"model_type": "lama"}, "has no model_type 'lama'"),
        ({"hiden_size": 7}, "'llama' has no 'hiden_size'; did you mean 'hidden_size'"),
    ],
)
def test_an_architecture_that_cannot_be_is_one_line(make_tiny: Any, changes: dict[str, Any], match: str) -> None:
    overrides = [f"backbone.architecture.{key}={value}" for key, value in changes.items()]
    with pytest.raises(WiringError, match=match) as caught:
        make_tiny(*overrides)
    assert "\n" not in caught.value.message
