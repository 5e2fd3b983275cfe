"""Whether a model type can be a backbone: tried out on one layer of each kind with weights of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from polyjanus.core import hf
from polyjanus.core.modules import Backbone
from polyjanus.core.sequence.packing import causal_mask

VOCABULARY = 32
TOLERANCE = 1e-3
LOUD = 20.0
"""Factor of the head's weights, so that a cap on the logits shows."""
WINDOW = 3
"""Positions of a sliding window, where there is one, so that six of them show it."""


@torch.no_grad()
def fault_of(config: Any, wrap: Callable[[Any, Any], Backbone]) -> str | None:
    """Return why a model type cannot be a backbone, or None if it can; `wrap` makes the backbone of a transformer."""
    try:
        with torch.device("cpu"):
            model = _small(config)
            ids = torch.randint(1, VOCABULARY, (1, 6), generator=torch.Generator().manual_seed(1))
            whole = model(input_ids=ids, use_cache=False).logits
            embeddings = model.get_input_embeddings()(ids)
            backbone = wrap(model.base_model, model.config)
            positions = torch.arange(6).unsqueeze(0)
            hidden = backbone(embeddings, positions)
            if not _close(model.get_output_embeddings()(hidden), whole):
                return "its logits are not its head applied to its transformer's output"
            if not _close(backbone(embeddings[:, :3], positions[:, :3]), hidden[:, :3]):
                return "earlier positions see later ones"
            if not _close(backbone(embeddings, positions, torch.ones(1, 6, 6, dtype=torch.bool).tril()), hidden):
                return "it sees other positions with an attention mask than without"
            documents = torch.tensor([[0, 0, 0, 1, 1, 1]])
            packed = backbone(embeddings, positions % 3, causal_mask(documents))
            if not _close(backbone(embeddings[:, 3:], positions[:, :3]), packed[:, 3:]):
                return "it does not keep to an attention mask"
    except (TypeError, ValueError, AttributeError, LookupError, RuntimeError) as error:
        return f"it does not run on input embeddings, positions and a mask: {first_sentence(error)}"
    return None


def first_sentence(error: Exception) -> str:
    """Return how a message begins; transformers' go on for paragraphs."""
    return next(iter(str(error).splitlines()), type(error).__name__).partition(". ")[0]


def _small(config: Any) -> Any:
    """Return a language model of the same type with one layer of each kind, few words and a narrow window."""
    depth, kinds = config.num_hidden_layers, getattr(config, "layer_types", None) or [None]
    kept = [place for place, kind in enumerate(kinds) if kind not in kinds[:place]]
    settings = {
        name: [value[place] for place in kept] if isinstance(value, list) and len(value) == depth else value
        for name, value in config.to_dict().items()
    }
    settings |= {"num_hidden_layers": len(kept), "vocab_size": VOCABULARY, "pad_token_id": None}
    if settings.get("sliding_window"):
        settings["sliding_window"] = WINDOW
    settings.pop("model_type")
    small = hf.library().AutoConfig.for_model(config.model_type, **settings)
    model = hf.library().AutoModelForCausalLM.from_config(small, attn_implementation="sdpa").eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.get_output_embeddings().weight.mul_(LOUD)
    return model


def _close(mine: Tensor, theirs: Tensor) -> bool:
    return torch.allclose(mine, theirs, rtol=0, atol=TOLERANCE * float(theirs.abs().max()))
