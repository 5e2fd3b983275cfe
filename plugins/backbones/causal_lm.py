"""A causal language model of transformers, taken apart into embedding, transformer and head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polyjanus.core import hf
from polyjanus.core.errors import WiringError, suggest
from polyjanus.core.model.building import LanguageModel
from polyjanus.core.modules import Backbone
from polyjanus.core.settings import BuildContext
from polyjanus.plugins.backbones.decoding import Decoder
from polyjanus.plugins.backbones.probing import fault_of, first_sentence

TESTED = frozenset({"gemma3_text", "llama", "mistral", "qwen2", "qwen3"})
"""Model types whose parts are known to add up to the whole."""

LEGACY = frozenset({"rope_theta", "rope_scaling"})
"""Keys of older checkpoints that transformers still reads."""


class CausalBackbone(Backbone):
    """The transformer of a causal language model, without its embedding."""

    def __init__(self, transformer: Any, config: Any) -> None:
        super().__init__()
        self.transformer = transformer
        self.width = int(config.hidden_size)
        self.num_layers = int(config.num_hidden_layers)
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.kv_width = int(heads * head_width)
        self.max_positions = int(config.max_position_embeddings)
        layer_types = set(getattr(config, "layer_types", None) or [])
        self._window = getattr(config, "sliding_window", None) if _slides(config, layer_types) else None
        self._is_mixed = {"full_attention", "sliding_attention"} <= layer_types
        self._model_type = str(config.model_type)
        self._layer_types = tuple(getattr(config, "layer_types", None) or ["sliding_attention"] * self.num_layers)

    def forward(self, embeddings: Tensor, positions: Tensor, mask: Tensor | None = None, cache: Any = None) -> Tensor:
        """Return hidden states (B, N, d); a sliding window is taken by position, in the mask.

        One position over a cache takes the short way where the transformer is Llama-shaped.
        """
        if cache is not None and embeddings.shape[1] == 1 and not torch.is_grad_enabled():
            decoder = self._decoder(cache)
            if decoder is not None:
                return decoder(embeddings, positions, self._layer_masks(mask, positions, cache), cache)
            if mask is None:
                mask = torch.ones_like(cache.key_positions(positions), dtype=torch.bool).unsqueeze(1)
        output = self.transformer(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=None if mask is None else self._masks(mask, positions, cache),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return output.last_hidden_state

    def _decoder(self, cache: Any) -> Decoder | None:
        """Return the short way of this generation, made when first asked for."""
        if "decoder" not in cache.scratch:
            suits = Decoder.suits(self.transformer, self._model_type)
            cache.scratch["decoder"] = Decoder(self.transformer, cache) if suits else None
        return cache.scratch["decoder"]

    def _layer_masks(self, mask: Tensor | None, positions: Tensor, cache: Any) -> list[Tensor | None]:
        """Return the mask (R, 1, M) of every layer."""
        if self._window is None:
            return [mask] * self.num_layers
        near = self._near(positions, cache)
        sliding = near if mask is None else near & mask
        return [sliding if kind == "sliding_attention" else mask for kind in self._layer_types]

    def _near(self, positions: Tensor, cache: Any) -> Tensor:
        """Return which keys lie in the window of each query, boolean (B, N, M)."""
        keys = positions if cache is None else cache.key_positions(positions)
        return positions.unsqueeze(2) - keys.unsqueeze(1) < (self._window or self.max_positions)

    def checkpoint_activations(self, is_on: bool) -> None:
        """Compute the activations of each layer again in the backward pass, or keep them."""
        named = "activation" if hasattr(self.transformer, "activation_checkpointing_enable") else "gradient"
        if is_on:
            with hf.quiet():  # it misses the text embedding, which is a component of its own
                getattr(self.transformer, f"{named}_checkpointing_enable")({"use_reentrant": False})
        else:
            getattr(self.transformer, f"{named}_checkpointing_disable")()

    def reset_text(self, module: nn.Module) -> None:
        """Draw a module of the text embedding or head as the language model does."""
        self.transformer._init_weights(module)

    def _masks(self, mask: Tensor, positions: Tensor, cache: Any) -> Any:
        if self._window is None:
            return mask.unsqueeze(1)
        sliding = (mask & self._near(positions, cache)).unsqueeze(1)
        return {"full_attention": mask.unsqueeze(1), "sliding_attention": sliding} if self._is_mixed else sliding


def _slides(config: Any, layer_types: set[str]) -> bool:
    if layer_types:
        return "sliding_attention" in layer_types
    return bool(getattr(config, "use_sliding_window", True))


def architecture_of(source: str) -> dict[str, Any]:
    """Return the settings of a checkpoint's config that differ from the defaults of its model type."""
    config = hf.config_of(None, source)
    config = config.get_text_config()
    settings = config.to_diff_dict()
    for name in ("transformers_version", "architectures", "dtype", "_name_or_path"):
        settings.pop(name, None)
    return {**settings, "model_type": config.model_type}


def build_language_model(architecture: dict[str, Any], context: BuildContext) -> LanguageModel:
    """Return a causal language model with fresh weights, taken apart."""
    if "model_type" not in architecture:
        raise WiringError("backbone.architecture has no model_type, such as llama", paths=[context.path])
    config = hf.config_of(architecture, None)
    _check_keys(architecture, config, context)
    if config.model_type not in TESTED and (fault := fault_of(config, CausalBackbone)):
        raise _refused(config.model_type, context, fault)
    try:
        model = hf.library().AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    except ValueError as error:
        raise _refused(config.model_type, context, first_sentence(error)) from error
    return _take_apart(model, config)


def _check_keys(architecture: dict[str, Any], config: Any, context: BuildContext) -> None:
    """Refuse a key that the model type does not have; transformers would take it and never look at it."""
    known = {*type(config)().to_dict(), *config.attribute_map, *LEGACY, "model_type"}
    unknown = sorted(set(architecture) - known)
    if unknown:
        raise WiringError(
            f"{config.model_type!r} has no {unknown[0]!r}{suggest(unknown[0], known)}",
            paths=[f"{context.path}.architecture.{unknown[0]}"],
        )


def _take_apart(model: Any, config: Any) -> LanguageModel:
    transformer = model.base_model
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if model.all_tied_weights_keys:  # transformers does not tie where it builds without drawing weights
        head.weight = embedding.weight
    transformer.set_input_embeddings(None)
    return LanguageModel(CausalBackbone(transformer, config), embedding, head, int(config.vocab_size))


def _refused(name: str, context: BuildContext, reason: str) -> WiringError:
    return WiringError(
        f"{name!r} cannot be the backbone: {reason}",
        paths=[context.path],
        hint=f"tested: {', '.join(sorted(TESTED))}",
    )


def load_language_model(parts: LanguageModel, source: str) -> None:
    """Copy the weights of a pretrained checkpoint into parts of the same architecture."""
    model = hf.library().AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, trust_remote_code=False, use_safetensors=None
    )
    loaded = _take_apart(model, model.config.get_text_config())
    for mine, theirs in (
        (parts.backbone, loaded.backbone),
        (parts.embedding, loaded.embedding),
        (parts.head, loaded.head),
    ):
        mine.load_state_dict(theirs.state_dict())
