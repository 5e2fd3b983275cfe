"""The engine: rows of text and media written together, one position each per step, over one cache.

A row that is guided has a twin in the lower half of the cache: the same item written after a context of padding
(classifier-free guidance; Janus, arXiv 2410.13848, footnote 2). Twins are opened with their item and run only then.
Where all rows write the same kind, feeding and drawing are one function (`stepping.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor

from polyjanus.core.errors import SequenceError
from polyjanus.core.generation.cache import BUCKET, SlotCache
from polyjanus.core.generation.choosing import Chooser, Request
from polyjanus.core.generation.events import Event, MediaProgress
from polyjanus.core.generation.grammar import TEXT, Frame, Grammar, Row
from polyjanus.core.generation.kinds import Kind
from polyjanus.core.generation.stepping import MAX_PREPARED, NUMBERS, WAYS, Inputs, Run, Step, feed, way_of
from polyjanus.core.model.unified import UnifiedModel
from polyjanus.core.modules import Backbone, to_list
from polyjanus.core.sequence.packing import collate, to_device
from polyjanus.core.sequence.spans import TokenSequence, negative_ids
from polyjanus.core.sequence.tokenizer import TextTokenizer


@dataclass(eq=False)
class Engine:
    """Writes replies to prompts with one model.

    `step` is how one step is run: plain, compiled, captured as a CUDA graph, or auto, which captures where it can. What
    is compiled or captured is kept for the next prompts, with the cache that it writes to.
    """

    model: UnifiedModel
    tokenizer: TextTokenizer
    end_of_turn: int
    step: str = "auto"
    _kept: tuple[SlotCache, object] | None = field(default=None, repr=False)

    def generate(self, prompts: Sequence[TokenSequence], request: Request) -> Iterator[Event]:
        """Yield events until every row has ended; the rows share nothing but the machine."""
        grammar = Grammar.of(request.output, self.model.vocabulary)
        chooser = Chooser(self.model, self.tokenizer, self.end_of_turn, grammar, request, len(prompts))
        way = way_of(self.step, self.model.device)
        run = _Run(self, chooser, grammar, prompts, way)
        try:
            run.prefill(prompts)
            yield from run.events()
        finally:
            self.forget()
            if way == "plain":
                run.cache.drop()
            else:
                self._kept = run.cache, self._state(way)

    def forget(self) -> None:
        """Free what is kept for the next prompts."""
        if self._kept is not None:
            self._kept[0].drop()
        self._kept = None

    def take_cache(self, layers: int, rows: int, capacity: int, way: str) -> SlotCache:
        """Return an empty cache: the one that was kept, if it has these rows and room and nothing has moved."""
        cache, state = self._kept or (None, None)
        if cache is not None and cache.rows == rows and cache.capacity >= capacity and state == self._state(way):
            self._kept = None
            cache.clear()
            return cache
        self.forget()
        device = self.model.device
        return SlotCache(layers, rows, capacity, device, way != "plain" or device.type == "cuda")

    def _state(self, way: str) -> object:
        """Return what was prepared relies on: how, and where the weights are."""
        tensors = (*self.model.parameters(), *self.model.buffers())
        return way, [tensor.data_ptr() for tensor in tensors]


class _Run:
    """One call of the engine."""

    def __init__(
        self, engine: Engine, chooser: Chooser, grammar: Grammar, prompts: Sequence[TokenSequence], way: str
    ) -> None:
        self.engine, self.model, self.chooser, self.way = engine, engine.model, chooser, way
        self.device, self.pad = engine.model.device, chooser.pad
        self.num_layers = cast(Backbone, self.model.part("backbone")).num_layers
        room = self._check_room(prompts, grammar)
        self.rows = [Row(index, grammar, len(prompt)) for index, prompt in enumerate(prompts)]
        self.first_ids = [prompt.ids[:1] for prompt in prompts]
        twins = 2 if any(chooser.samplers[name].guidance != 1 for name in grammar.media) else 1
        longest = max(map(len, prompts))
        room = BUCKET if way == "plain" else max(room, 1)
        self.cache = engine.take_cache(self.num_layers, twins * len(prompts), longest + room, way)
        self.prefix: SlotCache | None = None
        self.hidden = torch.empty(0)
        self.negative: Tensor | None = None

    def _check_room(self, prompts: Sequence[TokenSequence], grammar: Grammar) -> int:
        """Return how many positions are forced; refuse prompts that leave no room for them, or for a word."""
        forced = 0 if grammar.writes_text else sum(self.model.layouts[n].max_steps + 2 for n in grammar.media)
        limit = self.chooser.max_positions
        for index, prompt in enumerate(prompts):
            if len(prompt) + max(forced, 1) > limit:
                raise SequenceError(
                    f"prompt {index} has {len(prompt)} positions and its reply needs {max(forced, 1)} more;"
                    f" the backbone takes {limit}"
                )
        return forced

    @torch.no_grad()
    def prefill(self, prompts: Sequence[TokenSequence]) -> None:
        """Feed all prompts, padded on the left; padding is never attended to."""
        for row in self.rows:
            row.start()
        sequences = self._with_marks(prompts)
        batch = collate(sequences, pad=self.pad, shares_rows=False)
        embeddings, _ = self.model.embed(to_device(batch, self.device))
        count, length = embeddings.shape[:2]
        shift = torch.tensor([length - len(sequence) for sequence in sequences], device=self.device).unsqueeze(1)
        slots = torch.arange(length, device=self.device).expand(count, -1)
        embeddings = embeddings.gather(1, ((slots - shift) % length).unsqueeze(2).expand_as(embeddings))
        positions = (slots - shift).clamp(min=0)
        visible = slots >= shift
        self.cache.visible[:count, :length] = visible
        self.cache.positions[:count, :length] = positions
        causal = torch.ones(length, length, dtype=torch.bool, device=self.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=self.device)
        mask = (causal & visible.unsqueeze(1)) | itself
        self.cache.open_slots(length)
        hidden = self.model.hidden(embeddings, positions, mask, self.cache)[:, -1]
        self.hidden = hidden[: len(self.rows)]
        if count > len(self.rows):
            self.cache.repeat_row(len(self.rows), length)
            self.negative = hidden[-1:].expand_as(self.hidden)

    def _with_marks(self, prompts: Sequence[TokenSequence]) -> Sequence[TokenSequence]:
        """Return the prompts with the opening marks that are forced, and where they are guided their twins' context.

        One context serves all twins where all rows are equally long; else the marks are left for the first step.
        """
        first = self.rows[0]
        if not first.is_opening or len({row.length for row in self.rows}) > 1:
            return prompts
        context = TokenSequence([*self._negative_ids(first, first.length)], [False] * first.length)
        is_guided = self.chooser.kind(first.mode).is_guided
        sequences = [*prompts, context] if is_guided else prompts
        _, mark = first.inputs[0]
        for row in self.rows:
            row.take()
            row.is_guided = is_guided
        return [
            replace(sequence, ids=[*sequence.ids, *mark], learned=[*sequence.learned, False]) for sequence in sequences
        ]

    def events(self) -> Iterator[Event]:
        """Yield what happens until every row has ended."""
        yield from (self._begun(row) for row in self.rows if row.mode != TEXT and not row.has_input)
        while not all(row.is_done for row in self.rows):
            yield from self.chooser.choose(self.rows, self.hidden, self.negative)
            yield from self._open_items()
            while mode := self._shared_mode():
                yield from self._step(mode)
                yield from self._open_items()
            if any(row.has_input for row in self.rows if not row.is_done):
                self._feed()

    def _open_items(self) -> Iterator[Event]:
        """Open the twins of rows whose item's opening mark is fed next."""
        for row in self.rows:
            if not row.is_opening:
                continue
            row.is_guided = self.chooser.kind(row.mode).is_guided
            if row.is_guided:
                self._open_twin(row)
            yield self._begun(row)

    def _begun(self, row: Row) -> Event:
        return MediaProgress(row.index, row.mode, 0, self.model.layouts[row.mode].max_steps)

    def _shared_mode(self) -> str | None:
        """Return the mode that all rows not done are in the midst of, if it is one."""
        modes = {
            row.mode if len(row.inputs) == 1 and row.inputs[0][0] == row.mode else None
            for row in self.rows
            if not row.is_done
        }
        return modes.pop() if len(modes) == 1 else None

    @torch.no_grad()
    def _step(self, mode: str) -> list[Event]:
        """Feed the only input of every row and draw the next."""
        kind, going = self.chooser.kind(mode), [row for row in self.rows if not row.is_done]
        state = [[0] * (NUMBERS + kind.width)] * len(self.rows)
        for row in going:
            state[row.index] = [1, row.length, *self.chooser.numbers(row), *row.take()[1]]
        self.cache.open_slots(1)
        inputs = torch.tensor(state, device=self.device), kind.allowed(self.rows)
        frames = to_list(self._prepared(kind, inputs)(*inputs))
        return self.chooser.take(mode, going, [frames[row.index] for row in going])

    def _prepared(self, kind: Kind, inputs: Inputs) -> Run:
        """Return the step of a kind over the cache as it is now, made ready when first asked for."""
        cache = self.cache
        steps: dict[object, Run] = cache.scratch.setdefault("steps", {})
        key = kind.key, inputs[1] is None, cache.is_fixed and cache.extent
        if key not in steps:
            if len(steps) >= MAX_PREPARED:
                del steps[next(iter(steps))]
            steps[key] = WAYS[self.way](Step(self.model, cache, kind, self.hidden.dtype), inputs)
        return steps[key]

    def _open_twin(self, row: Row) -> None:
        """Start the twin from a cached context of BOS and padding, as long as the row's own."""
        if self.prefix is None or self.prefix.slot < row.length:
            self.prefix = self._make_prefix(row)
        self.cache.open_row(len(self.rows) + row.index, self.prefix, row.length)

    @torch.no_grad()
    def _make_prefix(self, row: Row) -> SlotCache:
        """Return the cache of BOS and padding, attended to; it is causal, so one serves every shorter length."""
        length = max(other.length for other in self.rows)
        ids = torch.tensor([self._negative_ids(row, length)], device=self.device)
        prefix = SlotCache(self.num_layers, 1, length, self.device)
        prefix.open_slots(length)
        positions = torch.arange(length, device=self.device).unsqueeze(0)
        prefix.positions[:, :length] = positions
        causal = torch.ones(1, length, length, dtype=torch.bool, device=self.device).tril()
        self.model.hidden(self.model.embed_text(ids), positions, causal, prefix)
        return prefix

    def _negative_ids(self, row: Row, length: int) -> list[int]:
        tokenizer = self.engine.tokenizer
        bos = None if tokenizer.bos is None else tokenizer.id_of(tokenizer.bos)
        return negative_ids(self.first_ids[row.index] + [self.pad] * (length - 1), bos=bos, pad=self.pad)

    @torch.no_grad()
    def _feed(self) -> None:
        """Feed one input to every row that has one; the others write a slot that stays hidden."""
        count = len(self.rows)
        state = torch.tensor(
            [[row.has_input and not row.is_done, row.is_guided, row.length] for row in self.rows], device=self.device
        )
        active, lengths = state[:, 0].bool(), state[:, 2]
        has_twins = any(row.is_guided for row in self.rows)
        embeddings = self._input_embeddings()
        if has_twins:
            active = torch.cat([active, active & state[:, 1].bool()])
            lengths, embeddings = lengths.repeat(2), embeddings.repeat(2, 1)
        self.cache.open_slots(1)
        hidden = feed(self.model, self.cache, embeddings, active, lengths)
        self.hidden = hidden[:count]
        self.negative = hidden[count:] if has_twins else None

    def _input_embeddings(self) -> Tensor:
        """Take the next input of every row and return its embedding (R, d); zeros where there is none."""
        groups: dict[str, dict[int, Frame]] = {}
        for row in self.rows:
            if row.has_input and not row.is_done:
                mode, frame = row.take()
                groups.setdefault(mode, {})[row.index] = frame
        embeddings = self.hidden.new_zeros(len(self.rows), self.hidden.shape[-1])
        for mode, group in groups.items():
            frames = torch.tensor(list(group.values()), device=self.device)
            embeddings[list(group)] = self.chooser.kind(mode).embed(frames).to(embeddings.dtype)
        return embeddings
