"""Layouts for several code books: all codes one after the other, or one frame a step with the books delayed.

N codes, K code books, S steps, V codes of one book.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from polyjanus.core.errors import SequenceError
from polyjanus.core.modules import Layout


class BookLayout(Layout):
    """What both share: how long an item may be, and whether its end has to be said."""

    def __init__(self, cardinality: int, num_codebooks: int, lengths: tuple[int, int]) -> None:
        self.book = cardinality
        self.books = num_codebooks
        self.min_codes, self.max_codes = lengths
        self.is_fixed = self.min_codes == self.max_codes

    def _check(self, num_codes: int) -> None:
        if not self.min_codes <= num_codes <= self.max_codes:
            raise SequenceError(
                f"an item has {self.min_codes} to {self.max_codes} codes, this one has {num_codes}",
                hint="shorten the item, or let its codec have more codes" if num_codes else None,
            )


class FlatLayout(BookLayout):
    """One step per code, book after book; a code of book k is written as k · V + code (AnyGPT, arXiv 2402.12226).

    Where lengths differ, the code after all books says the end; it may come only where a whole item ends.
    """

    def __init__(self, cardinality: int, num_codebooks: int, lengths: tuple[int, int]) -> None:
        super().__init__(cardinality, num_codebooks, lengths)
        self.end = cardinality * num_codebooks
        self.cardinality = self.end + (not self.is_fixed)
        self.width = 1
        self.max_steps = self.max_codes * num_codebooks + (not self.is_fixed)

    def num_steps(self, num_codes: int) -> int:
        """Return K steps per code, and one for the end where lengths differ."""
        self._check(num_codes)
        return num_codes * self.books + (not self.is_fixed)

    def pack(self, codes: Tensor) -> Tensor:
        """Return frames (S, 1) of codes (N, K)."""
        self._check(codes.shape[0])
        offsets = torch.arange(self.books, device=codes.device) * self.book
        frames = (codes + offsets).flatten()
        if not self.is_fixed:
            frames = torch.cat([frames, frames.new_full((1,), self.end)])
        return frames.unsqueeze(1)

    def unpack(self, frames: Tensor) -> Tensor:
        """Return the whole codes (N, K) before the end."""
        flat = frames[:, 0]
        kept = flat if self.is_fixed else flat[~(flat == self.end).cummax(0).values]
        whole = kept[: kept.shape[0] // self.books * self.books].unflatten(0, (-1, self.books))
        return whole - torch.arange(self.books, device=frames.device) * self.book

    def allowed(self, step: int, previous: Sequence[int] | None = None) -> Tensor | None:
        """Return which codes may come, boolean (1, V · K or one more): those of one book, or the end."""
        code, book = divmod(step, self.books)
        mask = torch.zeros(1, self.cardinality, dtype=torch.bool)
        if code < self.max_codes:
            mask[0, book * self.book : (book + 1) * self.book] = True
        if not self.is_fixed and book == 0 and code >= self.min_codes:
            mask[0, self.end] = True
        return mask

    def is_last(self, frame: Sequence[int], step: int) -> bool:
        """Tell whether the frame is the end, or fills the item."""
        return (not self.is_fixed and frame[0] == self.end) or step + 1 >= self.max_steps


class DelayLayout(BookLayout):
    """One frame per step, book k delayed by k steps, so that each book sees those before it (arXiv 2306.05284).

    Where a column has no code it holds `none`, the code after the codec's own. Book 0 says the end by its first `none`;
    the others follow, one step after the other. So a column has a code just where the column before it had one in the
    frame before, and `allowed` needs no more than that frame.
    """

    def __init__(self, cardinality: int, num_codebooks: int, lengths: tuple[int, int]) -> None:
        super().__init__(cardinality, num_codebooks, lengths)
        self.none = cardinality
        self.cardinality = cardinality + 1
        self.width = num_codebooks
        self.max_steps = self._steps(self.max_codes)

    def _steps(self, num_codes: int) -> int:
        return num_codes + max(self.books - 1, int(not self.is_fixed))

    def num_steps(self, num_codes: int) -> int:
        """Return N + K - 1 steps; with one book and lengths that differ, N + 1."""
        self._check(num_codes)
        return self._steps(num_codes)

    def pack(self, codes: Tensor) -> Tensor:
        """Return frames (S, K) of codes (N, K)."""
        frames = codes.new_full((self.num_steps(codes.shape[0]), self.books), self.none)
        for book in range(self.books):
            frames[book : book + codes.shape[0], book] = codes[:, book]
        return frames

    def unpack(self, frames: Tensor) -> Tensor:
        """Return the codes (N, K); book 0 says how many there are."""
        has_ended = (frames[:, 0] == self.none).cummax(0).values
        count = int((~has_ended).sum())
        return torch.stack([frames[book : book + count, book] for book in range(self.books)], dim=1)

    def allowed(self, step: int, previous: Sequence[int] | None = None) -> Tensor | None:
        """Return which codes may come after the `previous` frame, boolean (K, V + 1)."""
        mask = torch.zeros(self.books, self.cardinality, dtype=torch.bool)
        had_code = [previous is not None and code != self.none for code in previous or [self.none] * self.books]
        is_running = step == 0 or had_code[0]
        for book, may_run in enumerate([is_running and step < self.max_codes, *had_code[:-1]]):
            mask[book, : self.none] = may_run
            mask[book, self.none] = not may_run
        if is_running and step >= self.min_codes:
            mask[0, self.none] = True
        return mask

    def is_last(self, frame: Sequence[int], step: int) -> bool:
        """Tell whether only the last book has a code left, or with one book none."""
        if step + 1 >= self.max_steps:
            return True
        rest, last = frame[:-1], frame[-1]
        if self.books == 1:
            return last == self.none
        return last != self.none and all(code == self.none for code in rest)
