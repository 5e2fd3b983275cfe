"""One step as one function: feed a frame of every row, draw the next.

Over a fixed cache its shapes depend on kind, rows and bucket alone, and it asks nothing of the host; so it can be
compiled, or captured as a CUDA graph. All that changes from step to step is in its inputs and in the cache.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from polyjanus.core.errors import PolyjanusWarning, UsageError, suggest
from polyjanus.core.generation.cache import SlotCache
from polyjanus.core.generation.kinds import Kind
from polyjanus.core.model.unified import UnifiedModel

NUMBERS = 4
"""Columns of the state before the frame."""
Inputs = tuple[Tensor, Tensor | None]
"""The state (R, 4 + K') of all rows, and which codes may come next."""
Run = Callable[[Tensor, Tensor | None], Tensor]
"""From the inputs to the next frames (R, K')."""
MAX_PREPARED = 32
"""Steps compiled or captured that are kept with a cache."""


def feed(model: UnifiedModel, cache: SlotCache, embeddings: Tensor, active: Tensor, positions: Tensor) -> Tensor:
    """Feed one position (R, d) per row to the open slot; return hidden states (R, d). Rows not active wait."""
    seen = cache.look(active, positions)
    return model.hidden(embeddings.unsqueeze(1), positions.unsqueeze(1), seen, cache)[:, 0]


@dataclass(frozen=True, eq=False)
class Step:
    """The step of one kind over one cache."""

    model: UnifiedModel
    cache: SlotCache
    kind: Kind
    dtype: torch.dtype
    """What the transformer computes in."""

    def __call__(self, state: Tensor, allowed: Tensor | None) -> Tensor:
        """Return the next frames (R, K').

        A row of `state` holds whether it is active, its position, its seed, its draws so far, and the frame to feed.
        """
        count, active, positions = state.shape[0], state[:, 0].bool(), state[:, 1]
        embeddings = self.kind.embed(state[:, NUMBERS:]).to(self.dtype)
        if self.kind.is_guided:
            active, positions, embeddings = active.repeat(2), positions.repeat(2), embeddings.repeat(2, 1)
        hidden = feed(self.model, self.cache, embeddings, active, positions)
        negative = hidden[count:] if self.kind.is_guided else None
        return self.kind.draw(hidden[:count], negative, state[:, 2:NUMBERS], allowed)


def plain(step: Step, inputs: Inputs) -> Run:
    """Run it as it is."""
    return step


BACKEND = "inductor"
"""What compiles."""


def compiled(step: Step, inputs: Inputs) -> Run:
    """Compile it for the shapes at hand."""
    library = cast(Any, torch)
    step(*inputs)  # what it writes, the next call writes again; what it makes for itself, it makes now
    run = cast(Run, library.compile(step.__call__, fullgraph=True, dynamic=False, backend=BACKEND))
    with library._dynamo.config.patch(recompile_limit=1024, accumulated_recompile_limit=4096):
        run(*inputs)
    return run


def captured(step: Step, inputs: Inputs) -> Run:
    """Capture it as a CUDA graph; warn and run it as it is where that fails."""
    state, allowed = inputs[0].clone(), None if inputs[1] is None else inputs[1].clone()
    current = torch.cuda.current_stream()
    try:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(2):
                step(state, allowed)  # as above
        current.wait_stream(stream)
        with torch.cuda.graph(graph):
            frames = step(state, allowed)
    except RuntimeError as error:
        torch.cuda.set_stream(current)  # a capture that fails leaves its own behind
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        warnings.warn(
            f"the step of {step.kind.name!r} runs without a CUDA graph: {reason}", PolyjanusWarning, stacklevel=2
        )
        return step

    def replay(new_state: Tensor, new_allowed: Tensor | None) -> Tensor:
        state.copy_(new_state)
        if allowed is not None and new_allowed is not None:
            allowed.copy_(new_allowed)
        graph.replay()
        return frames

    return replay


WAYS: dict[str, Callable[[Step, Inputs], Run]] = {"plain": plain, "compiled": compiled, "captured": captured}


def way_of(name: str, device: torch.device) -> str:
    """Return how a step is run on a device; `auto` captures on a GPU of NVIDIA's and leaves it plain elsewhere."""
    if name == "auto":
        return "captured" if device.type == "cuda" else "plain"
    if name not in WAYS:
        raise UsageError(f"no way to step {name!r}{suggest(name, ['auto', *WAYS], noun='ways')}")
    if name == "captured" and device.type != "cuda":
        raise UsageError(f"a step on {device.type} cannot be captured", hint="choose compiled, plain or auto")
    return name
