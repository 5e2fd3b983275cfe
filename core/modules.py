"""The torch interfaces that components implement.

Shape letters: B items, N positions, d width, K code books, S steps, V codes, R rows, P positions of one head.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from polyjanus.core.features import Features as Features
from polyjanus.core.features import Grid as Grid
from polyjanus.core.features import Item as Item
from polyjanus.core.features import Kept as Kept
from polyjanus.core.features import Prepared as Prepared
from polyjanus.core.features import group_equal_shapes as group_equal_shapes
from polyjanus.core.features import in_groups as in_groups
from polyjanus.core.losses import fused_cross_entropy, is_fused


class Encoder(nn.Module, ABC):
    """Understanding pathway: media to features.

    A simple encoder writes `prepare`, `num_tokens`, `forward_one` and `width`; batching is inherited.
    """

    width: int
    """Width of the features."""

    @abstractmethod
    def prepare(self, media: Any) -> Prepared:
        """Return the tensors of one medium; runs in the data worker and draws no random numbers."""

    @abstractmethod
    def num_tokens(self, prepared: Prepared) -> tuple[int, Grid | None]:
        """Return how many features `forward` gives for this item, and their grid."""

    def forward_one(self, **prepared: Tensor) -> Tensor:
        """Return the features (N, d) of one item, whose prepared tensors come by name."""
        raise NotImplementedError(f"{type(self).__name__} implements neither forward_one nor forward_stacked")

    def forward_stacked(self, **prepared: Tensor) -> Tensor:
        """Return the features (B, N, d) of items of equal shape, stacked; override it for speed."""
        count = next(iter(prepared.values())).shape[0]
        one_by_one = ({name: value[i] for name, value in prepared.items()} for i in range(count))
        return torch.stack([self.forward_one(**item) for item in one_by_one])

    def forward(self, items: Sequence[Prepared]) -> Features:
        """Return the features of a batch; items of equal shapes are computed together, so none is padded."""
        grids = [self.num_tokens(item)[1] for item in items]
        known = [grid for grid in grids if grid is not None]
        values = in_groups(items, self.forward_stacked, self)
        return Features.of(values, known if len(known) == len(grids) else None)


class Adaptor(nn.Module, ABC):
    """Features or code embeddings to the width of the backbone; may change how many there are (a resampler)."""

    @abstractmethod
    def forward(self, features: Features) -> Features:
        """Return features (ΣM, width_out)."""

    def num_tokens(self, n: int, grid: Grid | None) -> tuple[int, Grid | None]:
        """Return how many features come out when `n` go in, and their grid."""
        return n, grid


class Codec(nn.Module, ABC):
    """Generation pathway: media to discrete codes (N, K) and back."""

    cardinality: int
    """Number of codes per code book."""
    num_codebooks: int = 1
    """Code books, K."""
    max_codes: int
    """The largest N of any item; the only N when the layout is a grid."""
    min_codes: int = 1
    """The smallest N that `decode` takes."""

    @abstractmethod
    def prepare(self, media: Any) -> Prepared:
        """Return the tensors of one medium; runs in the data worker."""

    @abstractmethod
    def num_codes(self, prepared: Prepared) -> int:
        """Return N, how many codes `encode` gives for this item."""

    @abstractmethod
    def encode(self, items: Sequence[Prepared]) -> list[Tensor]:
        """Return the codes (N, K), int64, of each item."""

    @abstractmethod
    def decode(self, codes: Sequence[Tensor]) -> list[Any]:
        """Return the medium of each item's codes (N, K)."""

    def reconstruct(self, items: Sequence[Prepared]) -> tuple[Tensor, int]:
        """Return the summed reconstruction loss and the number of items, for a stage that trains the codec."""
        raise NotImplementedError(f"{type(self).__name__} cannot be trained here")


class Layout(ABC):
    """How codes (N, K) become the frames (S, K') that are generated one per step.

    Special codes come after the codec's own; `cardinality` counts both.
    """

    cardinality: int
    """Number of codes that a column of a frame may hold, special ones included."""
    width: int
    """Columns of a frame, K'."""
    max_steps: int
    """The largest S."""

    @abstractmethod
    def num_steps(self, num_codes: int) -> int:
        """Return S for an item of N codes."""

    @abstractmethod
    def pack(self, codes: Tensor) -> Tensor:
        """Return frames (S, K') of codes (N, K)."""

    @abstractmethod
    def unpack(self, frames: Tensor) -> Tensor:
        """Return codes (N, K) of frames (S, K')."""

    def allowed(self, step: int, previous: Sequence[int] | None = None) -> Tensor | None:
        """Return which codes may come at this step, boolean (K', cardinality), or None for all.

        `previous` is the frame of the step before, None at the first.
        """
        return None

    @abstractmethod
    def is_last(self, frame: Sequence[int], step: int) -> bool:
        """Tell whether the frame just generated at this step ends the item."""


class CodeEmbedding(nn.Module):
    """One table per column of a frame, summed: frames (…, K') to (…, width)."""

    def __init__(self, cardinality: int, columns: int, width: int) -> None:
        super().__init__()
        self.cardinality = cardinality
        self.width = width
        self.tables = nn.ModuleList(nn.Embedding(cardinality, width) for _ in range(columns))

    def forward(self, frames: Tensor) -> Tensor:
        """Return the embeddings (…, width) of frames (…, K')."""
        columns = [table(column) for table, column in zip(self.tables, frames.unbind(-1), strict=True)]
        return torch.stack(columns).sum(0) if len(columns) > 1 else columns[0]


class Backbone(nn.Module, ABC):
    """The unified autoregressive transformer: strictly causal, no embedding and no head of its own."""

    width: int
    """Width of its embeddings and hidden states."""
    num_layers: int
    """Layers, each of which keeps keys and values."""
    kv_width: int
    """Values that one layer keeps as keys for one position; as many again as values."""
    max_positions: int
    """The longest sequence that it takes."""

    @abstractmethod
    def forward(
        self,
        embeddings: Tensor,
        positions: Tensor,
        mask: Tensor | None = None,
        cache: Any | None = None,
    ) -> Tensor:
        """Return hidden states (B, N, d) of embeddings (B, N, d).

        `positions` (B, N) count from zero within each document. `mask` is boolean (B, N, M), true where a query may
        look, and None for plain causal attention: with a `cache`, whose M keys are those that it holds afterwards, a
        single position then sees all of them.
        """

    def blocks(self) -> Sequence[nn.Module]:
        """Return the modules that every forward pass calls once each, one after the other, and that hold most weights.

        Where weights lie in shards over several processes (`training.shard`), each block is gathered for its own call
        and let go after it, so what is in a block must not be read from outside. Without an override: the longest
        list of modules inside, such as a transformer's layers. With none, the backbone is gathered as a whole.
        """
        lists: list[list[nn.Module]] = [list(each) for each in self.modules() if isinstance(each, nn.ModuleList)]
        return max([[], *lists], key=len)

    def checkpoint_activations(self, is_on: bool) -> None:
        """Compute activations again in the backward pass, or keep them; a backbone that cannot refuses to."""
        if is_on:
            raise NotImplementedError(f"{type(self).__name__} cannot compute its activations again")

    def reset_text(self, module: nn.Module) -> None:
        """Draw a module of the text embedding or the text head anew, and compute its derived buffers."""
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()


class Sampler(ABC):
    """From logits to codes. The noise is given, so that a draw depends on nothing but its seed, row and step."""

    guidance: float = 1.0
    """Scale of classifier-free guidance; 1 needs no negative rows."""
    is_greedy: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, logits: Tensor, noise: Tensor | None) -> Tensor:
        """Return one code per row (R,) of logits (R, V); `noise` (R, V) is uniform in (0, 1), None when greedy."""


class Head(nn.Module, ABC):
    """Hidden states to the next frame of one modality; owns that modality's loss."""

    @abstractmethod
    def loss(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed loss and the number of targets of hidden (P, d) and target frames (P, K')."""

    @abstractmethod
    def sample(
        self,
        hidden: Tensor,
        *,
        negative: Tensor | None,
        sampler: Sampler,
        noise: Callable[[int], Tensor] | None,
        allowed: Tensor | None,
    ) -> Tensor:
        """Return the next frame (R, K') of hidden (R, d).

        `negative` (R, d) are the hidden states of the unconditional rows, for guidance. `noise(column)` is uniform
        (R, V). `allowed` is boolean (K', V) or (R, K', V); None allows every code.
        """


def to_list(tensor: Tensor) -> list[Any]:
    """Return a tensor as (nested) lists of numbers."""
    return cast(Any, tensor).tolist()


def guide(logits: Tensor, negative: Tensor, scale: float) -> Tensor:
    """Return logits moved away from the negative ones: n + scale · (l - n) (Janus, arXiv 2410.13848, §3.4)."""
    return negative + scale * (logits - negative)


class LogitsHead(Head):
    """A head that predicts every column of a frame at once from `logits`."""

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits (R, K', V) of hidden (R, d)."""

    def last_layer(self) -> nn.Linear | None:
        """Return the linear layer (K' · V, h) of whose product with `states` the logits are, if they are.

        A head that tells lets large losses be computed without holding its logits.
        """
        return None

    def states(self, hidden: Tensor) -> Tensor:
        """Return what the last layer takes (R, h) of hidden (R, d)."""
        return hidden

    def loss(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed cross-entropy and the number of codes."""
        count, layer = torch.tensor(targets.numel()), self.last_layer()
        if layer is not None and is_fused(len(targets), layer.weight.shape[0], layer):
            states, columns, bias = self.states(hidden), targets.shape[-1], cast("Tensor | None", layer.bias)
            biases = [None] * columns if bias is None else bias.chunk(columns)
            parts = zip(layer.weight.chunk(columns), biases, targets.unbind(-1), strict=True)
            return torch.stack([fused_cross_entropy(states, *part) for part in parts]).sum(), count
        logits = self.logits(hidden).flatten(0, 1).float()
        return nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum"), count

    def sample(
        self,
        hidden: Tensor,
        *,
        negative: Tensor | None,
        sampler: Sampler,
        noise: Callable[[int], Tensor] | None,
        allowed: Tensor | None,
    ) -> Tensor:
        """Return the next frame (R, K')."""
        if negative is None:
            logits = self.logits(hidden)
        else:  # one product for both, so that the weights are read once
            logits = guide(*self.logits(torch.cat([hidden, negative])).chunk(2), scale=sampler.guidance)
        if allowed is not None:
            logits = logits.masked_fill(~allowed, float("-inf"))
        columns = [
            sampler(column, None if noise is None else noise(index)) for index, column in enumerate(logits.unbind(-2))
        ]
        return torch.stack(columns, dim=-1)
