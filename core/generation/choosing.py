"""Choosing what rows write next: what is drawn for them becomes their inputs, and events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from polyjanus.core.generation.events import Done, Event, MediaProgress, MediaReady, TextDelta
from polyjanus.core.generation.grammar import DONE, TEXT, Grammar, Row
from polyjanus.core.generation.kinds import Kind, MediaKind, TextKind
from polyjanus.core.generation.noise import row_seeds
from polyjanus.core.model.unified import UnifiedModel
from polyjanus.core.modules import Backbone, Codec, Sampler, to_list
from polyjanus.core.sequence.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Request:
    """What to write: the outputs allowed, how much, and with which samplers where not the pipeline's own."""

    output: Sequence[str]
    seed: int = 0
    max_tokens: int = 512
    samplers: Mapping[str, Sampler] = field(default_factory=dict[str, Sampler])


class Chooser:
    """Samples for every row that has nothing left to feed."""

    def __init__(
        self,
        model: UnifiedModel,
        tokenizer: TextTokenizer,
        end_of_turn: int,
        grammar: Grammar,
        request: Request,
        num_rows: int,
    ) -> None:
        self.model, self.tokenizer, self.request, self.grammar = model, tokenizer, request, grammar
        self.samplers = {**model.samplers, **request.samplers}
        self.max_positions = cast(Backbone, model.part("backbone")).max_positions
        self.ends = frozenset({end_of_turn, tokenizer.require(tokenizer.eos, "end-of-text")})
        self.pad = tokenizer.require(tokenizer.pad, "padding")
        self._kinds: dict[str, Kind] = {}
        self._seeds = cast("list[int]", to_list(row_seeds(request.seed, torch.arange(num_rows))))

    def kind(self, mode: str) -> Kind:
        """Return the kind of output that rows in a mode write."""
        if mode not in self._kinds:
            sampler = self.samplers[mode]
            is_text = mode == TEXT
            made = TextKind(mode, self.model, sampler, self._text_mask()) if is_text else None
            self._kinds[mode] = made or MediaKind(mode, self.model, sampler)
        return self._kinds[mode]

    def _text_mask(self) -> Tensor:
        """Return which text ids may be written, boolean (V,): no padding, no mark that is not allowed."""
        vocabulary, device = self.model.vocabulary, self.model.device
        mask = torch.ones(vocabulary.size + vocabulary.num_marks, dtype=torch.bool, device=device)
        mask[len(self.tokenizer) : vocabulary.size] = False
        mask[self.pad] = False
        marks = [*vocabulary.begins.values(), *vocabulary.ends.values()]
        mask[torch.tensor(marks, dtype=torch.long, device=device)] = False
        for name in self.grammar.media:
            mask[vocabulary.begins[name]] = True
        mask[torch.tensor(sorted(self.ends), device=device)] = True
        return mask

    def numbers(self, row: Row) -> tuple[int, int]:
        """Return what the noise of a row's next draw depends on: its seed and its draws so far."""
        return self._seeds[row.index], row.draws

    @torch.no_grad()
    def choose(self, rows: Sequence[Row], hidden: Tensor, negative: Tensor | None) -> list[Event]:
        """Sample for rows whose inputs are all fed, from their hidden states (R, d) and those of their twins."""
        groups: dict[str, list[Row]] = {}  # made first: choosing for one group changes the modes of its rows
        for row in rows:
            if not row.is_done and not row.has_input:
                groups.setdefault(row.mode, []).append(row)
        events: list[Event] = []
        for mode, group in groups.items():
            kind, indices = self.kind(mode), None if len(group) == len(rows) else [row.index for row in group]
            mine = hidden if indices is None else hidden[indices]
            twins = negative if negative is None or indices is None else negative[indices]
            numbers = torch.tensor([self.numbers(row) for row in group], device=self.model.device)
            events += self.take(mode, group, to_list(kind.draw(mine, twins, numbers, kind.allowed(group))))
        return events

    def take(self, mode: str, rows: Sequence[Row], frames: Sequence[Sequence[int]]) -> list[Event]:
        """Give rows of one mode the frames that were drawn for them."""
        if mode != TEXT:
            return self._take_frames(mode, rows, frames)
        return [event for row, frame in zip(rows, frames, strict=True) for event in self._take_token(row, frame[0])]

    def _take_token(self, row: Row, token: int) -> list[Event]:
        row.add_token(token, self.ends)
        events: list[Event] = [*self._tell_text(row, is_over=row.mode != TEXT)]
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

    def _tell_text(self, row: Row, *, is_over: bool) -> list[Event]:
        """Return the new text of a row; a character that is not whole yet waits."""
        text = self.tokenizer.decode(row.text_ids[row.told :])
        is_cut = text.endswith("\ufffd")
        if is_cut and not is_over:
            return []
        delta, row.shown = text[row.shown :], len(text)
        if is_cut:  # what comes after an item does not complete a character before it
            row.told, row.shown = len(row.text_ids), 0
        return [TextDelta(row.index, delta)] if delta else []

    def _take_frames(self, modality: str, rows: Sequence[Row], frames: Sequence[Sequence[int]]) -> list[Event]:
        layout = self.model.layouts[modality]
        events: list[Event] = []
        finished: list[Row] = []
        for row, frame in zip(rows, frames, strict=True):
            step = len(row.frames)
            is_last = layout.is_last(frame, step) or step + 1 >= layout.max_steps
            events.append(MediaProgress(row.index, modality, step + 1, layout.max_steps))
            row.add_frame(tuple(frame), is_last=is_last)
            if is_last:
                row.is_guided = False
                finished.append(row)
        return events + self._decode(modality, finished)

    def _decode(self, modality: str, rows: list[Row]) -> list[Event]:
        """Return the finished items of several rows, decoded together."""
        if not rows:
            return []
        layout = self.model.layouts[modality]
        codec = cast(Codec, self.model.part(f"{modality}.generate.codec"))
        codes = [layout.unpack(torch.tensor(row.frames, device=self.model.device)) for row in rows]
        events: list[Event] = []
        for row, media in zip(rows, codec.decode(codes), strict=True):
            row.frames = []
            events.append(MediaReady(row.index, modality, media))
            if row.is_done:
                events.append(Done(row.index, "end"))
        return events
