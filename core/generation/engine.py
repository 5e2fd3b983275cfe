"""The engine: rows of text and media written together, one position each per step, over one cache.

A row that is guided has a twin in the lower half of the cache: the same item written after a context of padding
(classifier-free guidance; Janus, arXiv 2410.13848, footnote 2). Twins are opened with their item and run only then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from polyjanus.core.errors import SequenceError
from polyjanus.core.generation.cache import BUCKET, SlotCache
from polyjanus.core.generation.choosing import Chooser, Request
from polyjanus.core.generation.events import Event, MediaProgress
from polyjanus.core.generation.grammar import TEXT, Frame, Grammar, Row
from polyjanus.core.model.unified import UnifiedModel
from polyjanus.core.modules import Backbone
from polyjanus.core.sequence.packing import collate, to_device
from polyjanus.core.sequence.spans import TokenSequence, negative_ids
from polyjanus.core.sequence.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Engine:
    """Writes replies to prompts with one model."""

    model: UnifiedModel
    tokenizer: TextTokenizer
    end_of_turn: int

    def generate(self, prompts: Sequence[TokenSequence], request: Request) -> Iterator[Event]:
        """Yield events until every row has ended; the rows share nothing but the machine."""
        grammar = Grammar.of(request.output, self.model.vocabulary)
        chooser = Chooser(self.model, self.tokenizer, self.end_of_turn, grammar, request)
        run = _Run(self, chooser, grammar, prompts)
        run.prefill(prompts)
        yield from run.events()


class _Run:
    """One call of the engine."""

    def __init__(self, engine: Engine, chooser: Chooser, grammar: Grammar, prompts: Sequence[TokenSequence]) -> None:
        self.engine, self.model, self.chooser = engine, engine.model, chooser
        self.device, self.pad = engine.model.device, chooser.pad
        self.num_layers = cast(Backbone, self.model.part("backbone")).num_layers
        self._check_room(prompts, grammar)
        self.rows = [Row(index, grammar, len(prompt)) for index, prompt in enumerate(prompts)]
        self.first_ids = [prompt.ids[:1] for prompt in prompts]
        twins = 2 if any(chooser.samplers[name].guidance != 1 for name in grammar.media) else 1
        longest = max(map(len, prompts))
        self.cache = SlotCache(self.num_layers, twins * len(prompts), longest + BUCKET, self.device)
        self.prefix: SlotCache | None = None
        self.hidden = torch.empty(0)
        self.negative: Tensor | None = None

    def _check_room(self, prompts: Sequence[TokenSequence], grammar: Grammar) -> None:
        """Refuse prompts that leave no room for what is forced, or for a word."""
        forced = 0 if grammar.writes_text else sum(self.model.layouts[n].max_steps + 2 for n in grammar.media)
        limit = self.chooser.max_positions
        for index, prompt in enumerate(prompts):
            if len(prompt) + max(forced, 1) > limit:
                raise SequenceError(
                    f"prompt {index} has {len(prompt)} positions and its reply needs {max(forced, 1)} more;"
                    f" the backbone takes {limit}"
                )

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
            yield from self.chooser.choose(self.rows, self.hidden, self.negative)
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
        row.is_guided = self.chooser.samplers[row.mode].guidance != 1
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
        length = max(other.length for other in self.rows)
        tokenizer = self.engine.tokenizer
        bos = None if tokenizer.bos is None else tokenizer.id_of(tokenizer.bos)
        context = self.first_ids[row.index] + [self.pad] * (length - 1)
        ids = torch.tensor([negative_ids(context, bos=bos, pad=self.pad)], device=self.device)
        prefix = SlotCache(self.num_layers, 1, length, self.device)
        positions = torch.arange(length, device=self.device).unsqueeze(0)
        prefix.positions[:, :length] = positions
        causal = torch.ones(1, length, length, dtype=torch.bool, device=self.device).tril()
        self.model.hidden(self.model.embed_text(ids), positions, causal, prefix)
        prefix.slot = length
        return prefix

    @torch.no_grad()
    def _step(self) -> None:
        """Feed one input to every row that has one; the others write a slot that stays hidden."""
        cache, count = self.cache, len(self.rows)
        state = torch.tensor(
            [[row.has_input and not row.is_done, row.is_guided, row.length] for row in self.rows], device=self.device
        )
        active, lengths = state[:, 0].bool(), state[:, 2]
        has_twins = any(row.is_guided for row in self.rows)
        embeddings = self._input_embeddings()
        if has_twins:
            active = torch.cat([active, active & state[:, 1].bool()])
            lengths, embeddings = lengths.repeat(2), embeddings.repeat(2, 1)
        cache.reserve(1)
        rows, end = active.shape[0], cache.slot + 1
        cache.visible[:rows, cache.slot] = active
        cache.positions[:rows, cache.slot] = lengths
        mask = cache.visible[:rows, :end].clone()
        mask[:, -1] = True  # a row that waits looks at itself alone
        hides_nothing = self.device.type == "cpu" and bool(mask.all())  # elsewhere asking would cost a wait
        seen = None if hides_nothing else mask.unsqueeze(1)
        hidden = self.model.hidden(embeddings.unsqueeze(1), lengths.unsqueeze(1), seen, cache)
        cache.slot = end
        self.hidden = hidden[:count, 0]
        self.negative = hidden[count:, 0] if has_twins else None

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
        parts = [(list(group), self._embed_frames(name, group)) for name, group in frames.items()]
        if tokens:
            ids = torch.tensor(list(tokens.values()), device=self.device)
            parts.append((list(tokens), self.model.embed_text(ids)))
        if len(parts) == 1 and len(parts[0][0]) == len(self.rows):
            return parts[0][1].to(self.hidden.dtype)
        embeddings = self.hidden.new_zeros(len(self.rows), self.hidden.shape[-1])
        for indices, values in parts:
            embeddings[indices] = values.to(embeddings.dtype)
        return embeddings

    def _embed_frames(self, modality: str, frames: dict[int, Frame]) -> Tensor:
        return self.model.embed_frames(modality, torch.tensor(list(frames.values()), device=self.device))
