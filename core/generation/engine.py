"""The engine: rows of text and media written together, one position each per step, over one cache.

A row that is guided has a twin in the lower half of the cache: the same item written after a context of padding
(classifier-free guidance; Janus, arXiv 2410.13848, footnote 2). Twins are opened with their item and run only then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from polyjanus.core.errors import SequenceError
from polyjanus.core.generation.cache import BUCKET, SlotCache
from polyjanus.core.generation.events import Done, Event, MediaProgress, MediaReady, TextDelta
from polyjanus.core.generation.grammar import DONE, TEXT, Frame, Grammar, Row
from polyjanus.core.generation.noise import row_seeds, uniform
from polyjanus.core.model.unified import UnifiedModel
from polyjanus.core.modules import Backbone, Codec, Head, Sampler, to_list
from polyjanus.core.sequence.packing import collate, to_device
from polyjanus.core.sequence.spans import TokenSequence, negative_ids
from polyjanus.core.sequence.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Request:
    """What to write: the outputs allowed, how much, and with which samplers where not the pipeline's own."""

    output: Sequence[str]
    seed: int = 0
    max_tokens: int = 512
    samplers: Mapping[str, Sampler] = field(default_factory=dict[str, Sampler])


@dataclass(frozen=True)
class Engine:
    """Writes replies to prompts with one model."""

    model: UnifiedModel
    tokenizer: TextTokenizer
    end_of_turn: int

    def generate(self, prompts: Sequence[TokenSequence], request: Request) -> Iterator[Event]:
        """Yield events until every row has ended; the rows share nothing but the machine."""
        run = _Run(self, prompts, request)
        run.prefill(prompts)
        yield from run.events()


class _Run:
    """One call of the engine."""

    def __init__(self, engine: Engine, prompts: Sequence[TokenSequence], request: Request) -> None:
        self.engine, self.model, self.request = engine, engine.model, request
        self.device = engine.model.device
        backbone = cast(Backbone, self.model.part("backbone"))
        self.num_layers, self.max_positions = backbone.num_layers, backbone.max_positions
        grammar = Grammar.of(request.output, self.model.vocabulary)
        self._check_room(prompts, grammar)
        self.samplers = {**self.model.samplers, **request.samplers}
        self.rows = [Row(index, grammar, len(prompt)) for index, prompt in enumerate(prompts)]
        self.ids = [prompt.ids for prompt in prompts]
        self.seeds = row_seeds(request.seed, torch.arange(len(prompts), device=self.device))
        has_twins = any(self.samplers[name].guidance != 1 for name in grammar.media)
        longest = max(map(len, prompts))
        twins = 2 if has_twins else 1
        self.cache = SlotCache(self.num_layers, twins * len(prompts), longest + BUCKET, self.device)
        self.prefix: SlotCache | None = None
        self.hidden = torch.empty(0)
        self.negative: Tensor | None = None
        pad = engine.tokenizer.pad
        self.pad = engine.tokenizer.require(pad, "padding")
        self.ends = frozenset({engine.end_of_turn, engine.tokenizer.require(engine.tokenizer.eos, "end-of-text")})
        self.text_mask = self._text_mask(grammar)

    def _check_room(self, prompts: Sequence[TokenSequence], grammar: Grammar) -> None:
        """Refuse prompts that leave no room for what is forced, or for a word."""
        forced = 0 if grammar.writes_text else sum(self.model.layouts[n].max_steps + 2 for n in grammar.media)
        for index, prompt in enumerate(prompts):
            if len(prompt) + max(forced, 1) > self.max_positions:
                raise SequenceError(
                    f"prompt {index} has {len(prompt)} positions and its reply needs {max(forced, 1)} more;"
                    f" the backbone takes {self.max_positions}"
                )

    def _text_mask(self, grammar: Grammar) -> Tensor:
        """Return which text ids may be written, boolean (V,): no padding, no mark that is not allowed."""
        vocabulary = self.model.vocabulary
        mask = torch.ones(vocabulary.size + vocabulary.num_marks, dtype=torch.bool, device=self.device)
        mask[len(self.engine.tokenizer) : vocabulary.size] = False
        mask[self.pad] = False
        marks = [*vocabulary.begins.values(), *vocabulary.ends.values()]
        mask[torch.tensor(marks, dtype=torch.long, device=self.device)] = False
        for name in grammar.media:
            mask[vocabulary.begins[name]] = True
        mask[torch.tensor(sorted(self.ends), device=self.device)] = True
        return mask

    @torch.no_grad()
    def prefill(self, prompts: Sequence[TokenSequence]) -> None:
        """Feed all prompts, padded on the left; padding is never attended to."""
        batch = collate(prompts, pad=self.pad, shares_rows=False)
        embeddings, _ = self.model.embed(to_device(batch, self.device))
        count, length = embeddings.shape[:2]
        shift = torch.tensor([length - len(prompt) for prompt in prompts], device=self.device).unsqueeze(1)
        slots = torch.arange(length, device=self.device).expand(count, -1)
        embeddings = embeddings.gather(1, ((slots - shift) % length).unsqueeze(2).expand_as(embeddings))
        positions = (slots - shift).clamp(min=0)
        visible = slots >= shift
        self.cache.visible[:count, :length] = visible
        self.cache.positions[:count, :length] = positions
        causal = torch.ones(length, length, dtype=torch.bool, device=self.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=self.device)
        mask = (causal & visible.unsqueeze(1)) | itself
        hidden = self.model.hidden(embeddings, positions, mask, self.cache)
        self.cache.slot = length
        self.hidden = hidden[:, -1]

    def events(self) -> Iterator[Event]:
        """Yield what happens until every row has ended."""
        for row in self.rows:
            row.start()
        while not all(row.is_done for row in self.rows):
            yield from self._choose()
            for row in self.rows:
                yield from self._maybe_open(row)
            if any(row.has_input for row in self.rows if not row.is_done):
                self._step()

    def _maybe_open(self, row: Row) -> Iterator[Event]:
        """Open the twin of a row whose item's opening mark is fed next."""
        if row.is_done or row.mode == TEXT or not row.has_input:
            return
        if row.inputs[0] != self.model.vocabulary.begins[row.mode]:
            return
        row.is_guided = self.samplers[row.mode].guidance != 1
        if row.is_guided:
            self._open_twin(row)
        yield MediaProgress(row.index, row.mode, 0, self.model.layouts[row.mode].max_steps)

    def _open_twin(self, row: Row) -> None:
        """Start the twin from a cached context of BOS and padding, as long as the row's own."""
        if self.prefix is None or self.prefix.slot < row.length:
            self.prefix = self._make_prefix(row)
        self.cache.open_row(len(self.rows) + row.index, self.prefix, row.length)

    @torch.no_grad()
    def _make_prefix(self, row: Row) -> SlotCache:
        """Return the cache of BOS and padding, attended to; it is causal, so one serves every shorter length."""
        length = -(-row.length // BUCKET) * BUCKET
        tokenizer = self.engine.tokenizer
        bos = None if tokenizer.bos is None else tokenizer.id_of(tokenizer.bos)
        first = self.ids[row.index][:1]
        ids = torch.tensor([negative_ids(first + [self.pad] * (length - 1), bos=bos, pad=self.pad)])
        prefix = SlotCache(self.num_layers, 1, length, self.device)
        positions = torch.arange(length, device=self.device).unsqueeze(0)
        prefix.positions[:, :length] = positions
        causal = torch.ones(1, length, length, dtype=torch.bool, device=self.device).tril()
        self.model.hidden(self.model.embed_text(ids.to(self.device)), positions, causal, prefix)
        prefix.slot = length
        return prefix

    @torch.no_grad()
    def _choose(self) -> list[Event]:
        """Sample for every row that has nothing left to feed."""
        groups: dict[str, list[Row]] = {}  # made first: choosing for one group changes the modes of its rows
        for row in self.rows:
            if not row.is_done and not row.has_input:
                groups.setdefault(row.mode, []).append(row)
        events: list[Event] = []
        for mode, group in groups.items():
            events += self._choose_text(group) if mode == TEXT else self._choose_frames(mode, group)
        return events

    def _choose_text(self, rows: list[Row]) -> list[Event]:
        logits = self.model.text_logits(self.hidden[self._indices(rows)]).float()
        logits = logits.masked_fill(~self.text_mask, float("-inf"))
        sampler = self.samplers[TEXT]
        noise = None if sampler.is_greedy else self._noise(rows, 0, logits.shape[1])
        events: list[Event] = []
        for row, token in zip(rows, to_list(sampler(logits, noise)), strict=True):
            row.add_token(token, self.ends)
            events += self._tell_text(row, is_over=row.mode != TEXT)
            if row.is_done:
                events.append(Done(row.index, "end"))
            elif len(row.text_ids) >= self.request.max_tokens or not self._fits(row):
                row.mode = DONE
                events += [*self._tell_text(row, is_over=True), Done(row.index, "length")]
        return events

    def _fits(self, row: Row) -> bool:
        """Tell whether what a row writes next still has room in the backbone's positions."""
        needed = 1 if row.mode == TEXT else self.model.layouts[row.mode].max_steps + 2
        return row.length + needed < self.max_positions

    def _choose_frames(self, modality: str, rows: list[Row]) -> list[Event]:
        layout = self.model.layouts[modality]
        head = cast(Head, self.model.part(f"{modality}.generate.head"))
        sampler = self.samplers[modality]
        indices = self._indices(rows)
        negative = None
        if sampler.guidance != 1:
            if self.negative is None:
                raise RuntimeError("a guided item has no twin")
            negative = self.negative[indices]
        frames = head.sample(
            self.hidden[indices],
            negative=negative,
            sampler=sampler,
            noise=None if sampler.is_greedy else lambda column: self._noise(rows, column, layout.cardinality),
            allowed=self._allowed(modality, rows),
        )
        events: list[Event] = []
        finished: list[Row] = []
        for row, frame in zip(rows, to_list(frames), strict=True):
            step = len(row.frames)
            is_last = layout.is_last(frame, step) or step + 1 >= layout.max_steps
            events.append(MediaProgress(row.index, modality, step + 1, layout.max_steps))
            row.add_frame(tuple(frame), is_last=is_last)
            if is_last:
                row.is_guided = False
                finished.append(row)
        return events + self._decode(modality, finished)

    def _allowed(self, modality: str, rows: list[Row]) -> Tensor | None:
        masks = [self.model.layouts[modality].allowed(len(row.frames)) for row in rows]
        known = [mask for mask in masks if mask is not None]
        if not known:
            return None
        every = torch.ones_like(known[0])
        return torch.stack([every if mask is None else mask for mask in masks]).to(self.device)

    def _decode(self, modality: str, rows: list[Row]) -> list[Event]:
        """Return the finished items of several rows, decoded together."""
        if not rows:
            return []
        layout = self.model.layouts[modality]
        codec = cast(Codec, self.model.part(f"{modality}.generate.codec"))
        codes = [layout.unpack(torch.tensor(self._closed(row), device=self.device)) for row in rows]
        events: list[Event] = []
        for row, media in zip(rows, codec.decode(codes), strict=True):
            events.append(MediaReady(row.index, modality, media))
            if row.is_done:
                events.append(Done(row.index, "end"))
        return events

    @staticmethod
    def _closed(row: Row) -> list[Frame]:
        """Return the frames of the item just finished, and forget them."""
        frames, row.frames = row.frames, []
        return frames

    @torch.no_grad()
    def _step(self) -> None:
        """Feed one input to every row that has one; the others write a slot that stays hidden."""
        cache, count = self.cache, len(self.rows)
        active = torch.tensor([row.has_input and not row.is_done for row in self.rows], device=self.device)
        guided = torch.tensor([row.is_guided for row in self.rows], device=self.device)
        lengths = torch.tensor([row.length for row in self.rows], device=self.device)
        embeddings = self._input_embeddings()
        if bool(guided.any()):
            active = torch.cat([active, guided & active])
            lengths, embeddings = lengths.repeat(2), embeddings.repeat(2, 1)
        cache.reserve(1)
        rows = active.shape[0]
        cache.visible[:rows, cache.slot] = active
        cache.positions[:rows, cache.slot] = lengths
        mask = cache.visible[:rows, : cache.slot + 1].clone()
        mask[:, -1] = True  # a row that waits looks at itself alone
        hidden = self.model.hidden(embeddings.unsqueeze(1), lengths.unsqueeze(1), mask.unsqueeze(1), cache)
        cache.slot += 1
        self.hidden = hidden[:count, 0]
        self.negative = hidden[count:, 0] if rows > count else None

    def _input_embeddings(self) -> Tensor:
        """Take the next input of every row and return its embedding (R, d); zeros where there is none."""
        tokens: dict[int, int] = {}
        frames: dict[str, dict[int, Frame]] = {}
        for row in self.rows:
            if row.is_done or not row.has_input:
                continue
            value = row.inputs.popleft()
            row.length += 1
            if isinstance(value, int):
                tokens[row.index] = value
            else:
                frames.setdefault(value[0], {})[row.index] = value[1]
        embeddings = self.hidden.new_zeros(len(self.rows), self.hidden.shape[-1])
        if tokens:
            ids = torch.tensor(list(tokens.values()), device=self.device)
            embeddings[list(tokens)] = self.model.embed_text(ids).to(embeddings.dtype)
        for modality, group in frames.items():
            values = torch.tensor(list(group.values()), device=self.device)
            embeddings[list(group)] = self.model.embed_frames(modality, values).to(embeddings.dtype)
        return embeddings

    def _tell_text(self, row: Row, *, is_over: bool) -> list[Event]:
        """Return the new text of a row; a character that is not whole yet waits."""
        text = self.engine.tokenizer.decode(row.text_ids[row.told :])
        is_cut = text.endswith("\ufffd")
        if is_cut and not is_over:
            return []
        delta, row.shown = text[row.shown :], len(text)
        if is_cut:  # what comes after an item does not complete a character before it
            row.told, row.shown = len(row.text_ids), 0
        return [TextDelta(row.index, delta)] if delta else []

    def _indices(self, rows: list[Row]) -> Tensor:
        return torch.tensor([row.index for row in rows], device=self.device)

    def _noise(self, rows: list[Row], column: int, width: int) -> Tensor:
        steps = torch.tensor([row.draws for row in rows], device=self.device)
        return uniform(self.seeds[self._indices(rows)], steps, column, width)
