"""One position per row through a Llama-shaped transformer, with little between the products.

At small sizes the Python around a step costs more than its arithmetic. This reads the weights of transformers' own
modules and does what their forward does, once, for one position; the module's forward stays what it is tested against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu

from polyjanus.core.generation.cache import SlotCache

SHAPED_LIKE_LLAMA = frozenset({"llama", "mistral", "qwen2", "qwen3"})


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
    """The decoding step of one transformer as it is now; made anew for each generation."""

    def __init__(self, transformer: Any) -> None:
        attention = transformer.layers[0].self_attn
        self.rotary = transformer.rotary_emb
        self.head_width = int(attention.head_dim)
        self.scale = float(attention.scaling)
        self.layers = [_read_layer(layer) for layer in transformer.layers]
        self.last_norm = _read_norm(transformer.norm)
        first = self.layers[0]
        self.is_grouped = first.queries.weight.shape[0] != first.keys.weight.shape[0]

    @classmethod
    def suits(cls, transformer: Any, model_type: str) -> bool:
        """Tell whether the transformer is Llama-shaped, its products plain and its activation SiLU."""
        if model_type not in SHAPED_LIKE_LLAMA or transformer.training:
            return False
        return all(type(product) is nn.Linear for product in _products(transformer)) and all(
            isinstance(layer.mlp.act_fn, nn.SiLU) or type(layer.mlp.act_fn).__name__ == "SiLUActivation"
            for layer in transformer.layers
        )

    def __call__(self, embeddings: Tensor, positions: Tensor, masks: list[Tensor | None], cache: SlotCache) -> Tensor:
        """Return hidden states (R, 1, d) of embeddings (R, 1, d); `masks` are boolean (R, 1, M), one per layer."""
        hidden = embeddings[:, 0]
        cosine, sine = self._angles(embeddings, positions)
        biases = _biases(masks, hidden.dtype)
        start, end = cache.slot, cache.slot + 1
        for layer, slots, bias in zip(self.layers, cache.slot_layers, biases, strict=True):
            keys, values = cast(Tensor, slots.keys)[: len(hidden)], cast(Tensor, slots.values)[: len(hidden)]
            queries = self._project(layer, layer.before_attention(hidden), cosine, sine, keys, values, start)
            mixed = scaled_dot_product_attention(
                queries.unsqueeze(2),
                keys[:, :, :end],
                values[:, :, :end],
                attn_mask=bias,
                scale=self.scale,
                enable_gqa=self.is_grouped,
            )
            hidden = hidden + layer.out(mixed.flatten(1))
            inner = layer.before_mlp(hidden)
            hidden = hidden + layer.down(silu(layer.gate(inner)) * layer.up(inner))
        return self.last_norm(hidden).unsqueeze(1)

    def _angles(self, embeddings: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosine and sine (R, 1, D / 2) of the positions; transformers repeats them over both halves."""
        cosine, sine = self.rotary(embeddings, positions)
        half = self.head_width // 2
        return cosine[..., :half], sine[..., :half]

    def _project(
        self, layer: _Layer, inner: Tensor, cosine: Tensor, sine: Tensor, keys: Tensor, values: Tensor, slot: int
    ) -> Tensor:
        """Write keys and values of this position to their slot; return the queries (R, H, D)."""
        shape = (len(inner), -1, self.head_width)
        queries, new_keys = layer.queries(inner).view(shape), layer.keys(inner).view(shape)
        if layer.query_norm is not None and layer.key_norm is not None:
            queries, new_keys = layer.query_norm(queries), layer.key_norm(new_keys)
        count = queries.shape[1]
        left, right = torch.cat([queries, new_keys], 1).chunk(2, -1)
        turned = torch.cat([left * cosine - right * sine, right * cosine + left * sine], -1)
        keys[:, :, slot] = turned[:, count:]
        values[:, :, slot] = layer.values(inner).view(shape)
        return turned[:, :count]


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
