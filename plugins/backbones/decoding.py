"""One position per row through a Llama-shaped transformer, with little between the products.

At small sizes the Python around a step costs more than its arithmetic. This reads the weights of transformers' own
modules and does what their forward does, once, for one position; the module's forward stays what it is tested against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu

from polyjanus.core.generation.cache import SlotCache

SHAPED_LIKE_LLAMA = frozenset({"llama", "mistral", "qwen2", "qwen3"})
ANGLES_THAT_CHANGE = frozenset({"dynamic", "longrope"})
"""Kinds of rotary positions whose angles depend on how long the sequence is."""


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Tensor
    epsilon: float

    def __call__(self, values: Tensor) -> Tensor:
        return rms_norm(values, self.weight.shape, self.weight, self.epsilon)


@dataclass(frozen=True, slots=True)
class _Product:
    weight: Tensor
    bias: Tensor | None

    def __call__(self, values: Tensor) -> Tensor:
        return linear(values, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _Layer:
    before_attention: _Norm
    queries: _Product
    keys: _Product
    values: _Product
    query_norm: _Norm | None
    key_norm: _Norm | None
    out: _Product
    before_mlp: _Norm
    gate: _Product
    up: _Product
    down: _Product


class Decoder:
    """The decoding step of one transformer as it is now, over one cache."""

    def __init__(self, transformer: Any, cache: SlotCache) -> None:
        attention = transformer.layers[0].self_attn
        self.head_width = int(attention.head_dim)
        self.angles = _angles(transformer, cache.capacity, self.head_width // 2)
        self.scale = float(attention.scaling)
        self.layers = [_read_layer(layer) for layer in transformer.layers]
        self.last_norm = _read_norm(transformer.norm)
        first = self.layers[0]
        self.is_grouped = first.queries.weight.shape[0] != first.keys.weight.shape[0]

    @classmethod
    def suits(cls, transformer: Any, model_type: str) -> bool:
        """Tell whether the transformer is Llama-shaped, its products plain, its activation SiLU, its angles settled."""
        if model_type not in SHAPED_LIKE_LLAMA or transformer.training:
            return False
        if transformer.rotary_emb.rope_type in ANGLES_THAT_CHANGE:
            return False
        return all(type(product) is nn.Linear for product in _products(transformer)) and all(
            isinstance(layer.mlp.act_fn, nn.SiLU) or type(layer.mlp.act_fn).__name__ == "SiLUActivation"
            for layer in transformer.layers
        )

    def __call__(self, embeddings: Tensor, positions: Tensor, masks: list[Tensor | None], cache: SlotCache) -> Tensor:
        """Return hidden states (R, 1, d) of embeddings (R, 1, d); `masks` are boolean (R, 1, M), one per layer."""
        hidden = embeddings[:, 0]
        cosine, sine = self.angles[positions].unbind(2)
        biases = _biases(masks, hidden.dtype)
        for layer, slots, bias in zip(self.layers, cache.slot_layers, biases, strict=True):
            queries, keys, values = self._project(layer, layer.before_attention(hidden), cosine, sine)
            keys, values = slots.update(keys.unsqueeze(2), values.unsqueeze(2))
            mixed = scaled_dot_product_attention(
                queries.unsqueeze(2), keys, values, attn_mask=bias, scale=self.scale, enable_gqa=self.is_grouped
            )
            hidden = hidden + layer.out(mixed.flatten(1))
            inner = layer.before_mlp(hidden)
            hidden = hidden + layer.down(silu(layer.gate(inner)) * layer.up(inner))
        return self.last_norm(hidden).unsqueeze(1)

    def _project(self, layer: _Layer, inner: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values (R, heads, D) of this position."""
        shape = (len(inner), -1, self.head_width)
        queries, keys = layer.queries(inner).view(shape), layer.keys(inner).view(shape)
        if layer.query_norm is not None and layer.key_norm is not None:
            queries, keys = layer.query_norm(queries), layer.key_norm(keys)
        count = queries.shape[1]
        left, right = torch.cat([queries, keys], 1).chunk(2, -1)
        turned = torch.cat([left * cosine - right * sine, right * cosine + left * sine], -1)
        return turned[:, :count], turned[:, count:], layer.values(inner).view(shape)


def _angles(transformer: Any, count: int, half: int) -> Tensor:
    """Return cosine and sine (count, 2, D / 2) of all positions; transformers repeats them over both halves."""
    weight = transformer.norm.weight
    cosine, sine = transformer.rotary_emb(weight, torch.arange(count, device=weight.device).unsqueeze(0))
    return torch.stack([cosine[0, :, :half], sine[0, :, :half]], 1)


def _biases(masks: list[Tensor | None], dtype: torch.dtype) -> list[Tensor | None]:
    """Return what is added to the scores (R, 1, 1, M), made once for layers that share a mask."""
    made: dict[int, Tensor] = {}
    biases: list[Tensor | None] = []
    for mask in masks:
        if mask is not None and id(mask) not in made:
            hidden = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, float("-inf"))
            made[id(mask)] = hidden.unsqueeze(1)
        biases.append(None if mask is None else made[id(mask)])
    return biases


def _products(transformer: Any) -> Iterator[nn.Module]:
    for layer in transformer.layers:
        attention, mlp = layer.self_attn, layer.mlp
        yield from (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
        yield from (mlp.gate_proj, mlp.up_proj, mlp.down_proj)


def _read_layer(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        before_attention=_read_norm(layer.input_layernorm),
        queries=_read_product(attention.q_proj),
        keys=_read_product(attention.k_proj),
        values=_read_product(attention.v_proj),
        query_norm=_read_norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
        key_norm=_read_norm(attention.k_norm) if hasattr(attention, "k_norm") else None,
        out=_read_product(attention.o_proj),
        before_mlp=_read_norm(layer.post_attention_layernorm),
        gate=_read_product(mlp.gate_proj),
        up=_read_product(mlp.up_proj),
        down=_read_product(mlp.down_proj),
    )


def _read_product(module: Any) -> _Product:
    return _Product(module.weight, module.bias)


def _read_norm(module: Any) -> _Norm:
    return _Norm(module.weight, float(module.variance_epsilon))
