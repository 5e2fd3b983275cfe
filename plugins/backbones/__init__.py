"""Backbones: any decoder-only language model of transformers that takes input embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BackboneConfig, BuildContext, PretrainedSettings

if TYPE_CHECKING:
    from polyjanus.core.model.building import LanguageModel


class CausalLMConfig(PretrainedSettings, BackboneConfig):
    """A causal language model of transformers: Llama, Qwen 3, Gemma 3, Mistral and their like."""

    example_settings = {
        "architecture": {
            "model_type": "llama",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        }
    }

    type: Literal["causal_lm"]

    def resolve(self, context: BuildContext) -> Self:
        """Return settings with the architecture written out; a vocabulary that it leaves open is the tokenizer's."""
        if self.architecture is not None:
            return self.model_copy(update={"architecture": {"vocab_size": context.vocab_size, **self.architecture}})
        from polyjanus.plugins.backbones.causal_lm import architecture_of

        architecture = architecture_of(context.locate(str(self.pretrained)))
        return self.model_copy(
            update={"pretrained": None, "architecture": architecture, "initialised_from": self.pretrained}
        )

    def build(self, context: BuildContext) -> LanguageModel:
        """Return transformer, text embedding and text head with fresh weights."""
        from polyjanus.plugins.backbones.causal_lm import build_language_model

        return build_language_model(self.architecture or {}, context)

    def load(self, component: Any, context: BuildContext) -> None:
        """Fill all three from the pretrained checkpoint, if one is named."""
        if self.pretrained is not None:
            from polyjanus.plugins.backbones.causal_lm import load_language_model

            load_language_model(component, context.locate(self.pretrained))


@hookimpl
def register(registries: Registries) -> None:
    """Offer the backbones."""
    registries.backbones.add(CausalLMConfig)
