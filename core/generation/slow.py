"""The slow, obvious loop: no cache, one row, the whole sequence again at every step. The engine must agree with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from polyjanus.core.generation.choosing import Request
from polyjanus.core.generation.engine import Engine
from polyjanus.core.generation.noise import row_seeds, uniform
from polyjanus.core.modules import Codec, Head, to_list
from polyjanus.core.sequence.packing import collate
from polyjanus.core.sequence.spans import TokenSequence, negative_ids


@torch.no_grad()
def generate_slowly(engine: Engine, prompt: TokenSequence, request: Request, row: int = 0) -> list[tuple[str, object]]:
    """Return what the engine writes in one row: `("text", ids)` and `(modality, codes)` runs, in order."""
    return _SlowRow(engine, prompt, request, row).write()


class _SlowRow:
    def __init__(self, engine: Engine, prompt: TokenSequence, request: Request, row: int) -> None:
        self.engine, self.model, self.request = engine, engine.model, request
        self.seed = row_seeds(request.seed, torch.tensor([row]))
        self.samplers = {**self.model.samplers, **request.samplers}
        tokenizer = engine.tokenizer
        self.pad = tokenizer.require(tokenizer.pad, "padding")
        self.ends = {engine.end_of_turn, tokenizer.require(tokenizer.eos, "end-of-text")}
        bos = None if tokenizer.bos is None else tokenizer.id_of(tokenizer.bos)
        self.first_ids = negative_ids(prompt.ids, bos=bos, pad=self.pad)[:1]
        self.embeddings = self.model.embed(collate([prompt], pad=self.pad))[0][0]
        self.draws = 0
        self.written: list[tuple[str, object]] = []

    def write(self) -> list[tuple[str, object]]:
        """Write until the end."""
        media = [name for name in self.request.output if name != "text"]
        if "text" not in self.request.output:
            for name in media:
                self._item(name)
            return self.written
        budget = self.request.max_tokens
        while budget:
            ids, opened = self._text(budget, media)
            budget -= len(ids)
            if ids:
                self.written.append(("text", ids))
            if opened is None:
                break
            self._item(opened)
        return self.written

    def _text(self, budget: int, media: Sequence[str]) -> tuple[list[int], str | None]:
        """Write text up to the end, or to an opening mark."""
        vocabulary, ids = self.model.vocabulary, list[int]()
        begins = {vocabulary.begins[name]: name for name in media}
        while len(ids) < budget:
            logits = self.model.text_logits(self._hidden(self.embeddings)).float()
            allowed = torch.zeros_like(logits, dtype=torch.bool)
            allowed[:, : len(self.engine.tokenizer)] = True
            allowed[:, [self.pad, *vocabulary.begins.values(), *vocabulary.ends.values()]] = False
            allowed[:, [*begins, *self.ends]] = True
            token = int(self.samplers["text"](logits.masked_fill(~allowed, float("-inf")), self._noise(0, logits)))
            self.draws += 1
            if token in self.ends:
                return ids, None
            if token in begins:
                return ids, begins[token]
            ids.append(token)
            self._feed(self.model.embed_text(torch.tensor([token])))
        return ids, None

    def _item(self, name: str) -> None:
        """Write one item between its marks."""
        vocabulary, layout = self.model.vocabulary, self.model.layouts[name]
        head = cast(Head, self.model.part(f"{name}.generate.head"))
        context = self.first_ids + [self.pad] * (len(self.embeddings) - 1)
        negative = self.model.embed_text(torch.tensor(context))
        opening = self.model.embed_text(torch.tensor([vocabulary.begins[name]]))
        self._feed(opening)
        negative = torch.cat([negative, opening])
        sampler, frames = self.samplers[name], list[list[int]]()
        while not frames or not (layout.is_last(frames[-1], len(frames) - 1) or len(frames) >= layout.max_steps):
            frame = head.sample(
                self._hidden(self.embeddings),
                negative=self._hidden(negative) if sampler.guidance != 1 else None,
                sampler=sampler,
                noise=lambda column: self._noise(column, torch.empty(1, layout.cardinality)),
                allowed=layout.allowed(len(frames), frames[-1] if frames else None),
            )
            self.draws += 1
            frames.append(to_list(frame[0]))
            embedding = self.model.embed_frames(name, frame)
            self._feed(embedding)
            negative = torch.cat([negative, embedding])
        self._feed(self.model.embed_text(torch.tensor([vocabulary.ends[name]])))
        codec = cast(Codec, self.model.part(f"{name}.generate.codec"))
        self.written.append((name, codec.decode([layout.unpack(torch.tensor(frames))])[0]))

    def _feed(self, embeddings: Tensor) -> None:
        self.embeddings = torch.cat([self.embeddings, embeddings])

    def _hidden(self, embeddings: Tensor) -> Tensor:
        """Return the last hidden state (1, d) of a whole sequence (N, d)."""
        positions = torch.arange(len(embeddings)).unsqueeze(0)
        return self.model.hidden(embeddings.unsqueeze(0), positions, None)[:, -1]

    def _noise(self, column: int, logits: Tensor) -> Tensor:
        return uniform(self.seed, torch.tensor([self.draws]), column, logits.shape[1])
