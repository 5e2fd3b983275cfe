"""The torch side of the layouts: codes (N, K) to frames (S, K') and back."""

from collections.abc import Sequence

import torch
from torch import Tensor

from polyjanus.core.errors import SequenceError
from polyjanus.core.modules import Layout


class GridLayout(Layout):
    """Frames are codes; every item has the same number of them."""

    def __init__(self, cardinality: int, num_codebooks: int, max_codes: int) -> None:
        self.cardinality = cardinality
        self.width = num_codebooks
        self.max_steps = max_codes

    def num_steps(self, num_codes: int) -> int:
        """Return the fixed number of steps; an item of another length is a SequenceError."""
        if num_codes != self.max_steps:
            raise SequenceError(
                f"a grid has {self.max_steps} codes, this item has {num_codes}",
                hint="use the layout 'ended' for items of different lengths; `polyjanus data check` finds them all",
            )
        return num_codes

    def pack(self, codes: Tensor) -> Tensor:
        """Return the codes (N, K) as they are."""
        self.num_steps(codes.shape[0])
        return codes

    def unpack(self, frames: Tensor) -> Tensor:
        """Return the frames (S, K) as they are."""
        return frames

    def is_last(self, frame: Sequence[int], step: int) -> bool:
        """Tell whether the grid is full."""
        return step + 1 >= self.max_steps


class EndedLayout(Layout):
    """Frames are codes, and after them one frame of `end` codes; `end` is the code after the codec's own.

    The first column decides: a frame whose first column is `end` is the end frame, whatever its other columns hold.
    So `end` may be drawn in the first column only, once there are as many codes as an item has at least, and at the
    last step all columns must be `end`. `lengths` are the fewest and the most codes of an item.
    """

    def __init__(self, cardinality: int, num_codebooks: int, lengths: tuple[int, int]) -> None:
        self.end = cardinality
        self.cardinality = cardinality + 1
        self.width = num_codebooks
        self.min_codes, max_codes = lengths
        self.max_steps = max_codes + 1

    def num_steps(self, num_codes: int) -> int:
        """Return one step more than there are codes; no codes, or too many, are a SequenceError."""
        if not 0 < num_codes < self.max_steps:
            raise SequenceError(
                f"an item has 1 to {self.max_steps - 1} codes, this one has {num_codes}",
                hint="shorten the item, or let its codec have more codes" if num_codes else None,
            )
        return num_codes + 1

    def pack(self, codes: Tensor) -> Tensor:
        """Return frames (N + 1, K) of codes (N, K)."""
        self.num_steps(codes.shape[0])
        return torch.cat([codes, codes.new_full((1, self.width), self.end)])

    def unpack(self, frames: Tensor) -> Tensor:
        """Return the codes (N, K) before the first end frame, or all where there is none."""
        has_ended = (frames[:, 0] == self.end).cummax(0).values
        return frames[~has_ended]

    def allowed(self, step: int, previous: Sequence[int] | None = None) -> Tensor | None:
        """Return which codes may come, boolean (K, V + 1)."""
        is_last = step >= self.max_steps - 1
        mask = torch.full((self.width, self.cardinality), not is_last)
        mask[:, self.end] = is_last
        mask[0, self.end] = step >= self.min_codes
        return mask

    def is_last(self, frame: Sequence[int], step: int) -> bool:
        """Tell whether the frame is the end frame, or the last one that there is room for."""
        return frame[0] == self.end or step + 1 >= self.max_steps
