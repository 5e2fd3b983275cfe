"""Checks of backbones, templates and metrics, each at its smallest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from polyjanus.core.errors import PolyjanusError
from polyjanus.core.reply import Reply
from polyjanus.core.sequence.messages import MediaPart, Message, TextPart
from polyjanus.core.sequence.packing import causal_mask
from polyjanus.core.sequence.template import MediaPiece, TextPiece
from polyjanus.core.settings import BuildContext
from polyjanus.core.testing.bench import Subject
from polyjanus.core.testing.contract import NotApplicable, check, expect, place, settings_of

VOCABULARY = 32
TOLERANCE, ROUNDING = 1e-3, 1e-9


@check("backbone")
@torch.no_grad()
def backbone_keeps_to_its_past(subject: Subject) -> None:
    """Hidden states have the declared width and are finite; no position sees a later one, or another document."""
    context = BuildContext(path="backbone", vocab_size=VOCABULARY)
    model = settings_of(subject).resolve(context).build(context)
    backbone: Any = model.backbone.eval()
    where = place(backbone, "forward")
    for name in ("width", "num_layers", "kv_width", "max_positions"):
        expect(getattr(backbone, name, 0) > 0, f"{name}, above 0", getattr(backbone, name, None), where)
    given = torch.randn(2, 6, backbone.width, generator=torch.Generator().manual_seed(0))
    positions = torch.arange(6).expand(2, 6)
    hidden: Tensor = backbone(given, positions)
    expect(hidden.shape == given.shape, f"hidden states of shape {tuple(given.shape)}", tuple(hidden.shape), where)
    expect(bool(hidden.isfinite().all()), "finite hidden states", "NaN or infinity", where)
    early = backbone(given[:, :3], positions[:, :3])
    expect(_is_near(early, hidden[:, :3]), "positions that do not see later ones", "other hidden states", where)
    causal = torch.ones(2, 6, 6, dtype=torch.bool).tril()
    expect(
        _is_near(backbone(given, positions, causal), hidden), "the same with a causal mask as without", "others", where
    )
    packed = backbone(given, positions % 3, causal_mask(torch.tensor([[0, 0, 0, 1, 1, 1]] * 2)))
    alone = backbone(given[:, 3:], positions[:, :3])
    expect(_is_near(packed[:, 3:], alone), "documents that do not see each other", "other hidden states", where)
    logits = model.head(hidden)
    shape = (2, 6, model.vocab_size)
    expect(tuple(logits.shape) == shape, f"logits of shape {shape} from the text head", tuple(logits.shape), where)


def _is_near(mine: Tensor, theirs: Tensor) -> bool:
    return torch.allclose(mine, theirs, rtol=0, atol=TOLERANCE * float(theirs.abs().max()))


@check("template")
def template_says_what_it_is_told(subject: Subject) -> None:
    """Texts and parts come in their order; what the assistant says is learned, and nothing that the user says."""
    tokenizer = subject.bench.settings("tokenizer", "bytes").build(BuildContext(path="text.tokenizer"))
    try:
        template = settings_of(subject).build(BuildContext(path="template", parts={"text.tokenizer": tokenizer}))
        part = MediaPart("x", "understand", "a.x")
        question, answer = Message("user", (part, TextPart("asked"))), Message("assistant", (TextPart("told"),))
        pieces = template.pieces([question, answer], is_prompt=False)
        prompt = template.pieces([question], is_prompt=True)
    except PolyjanusError as error:
        raise NotApplicable(f"it does not work with the tokenizer 'bytes': {error.message}") from error
    where = place(template, "pieces")
    expect(isinstance(template.end_of_turn, str), "a special token as end_of_turn", template.end_of_turn, where)
    texts = [piece for piece in pieces if isinstance(piece, TextPiece)]
    learned = "".join(piece.text for piece in texts if piece.is_learned)
    given = "".join(piece.text for piece in texts if not piece.is_learned)
    expect("told" in learned and "asked" not in learned, "the answer learned, and no question", repr(learned), where)
    expect("asked" in given and "told" not in given, "the question given, and no answer", repr(given), where)
    for each in (pieces, prompt):
        found = [piece.part for piece in each if isinstance(piece, MediaPiece)]
        expect(found == [part], "each part once", found, where)
    expect(not any(piece.is_learned for piece in prompt), "a prompt in which nothing is learned", prompt, where)


@check("metric")
def scores_are_shares(subject: Subject) -> None:
    """A score is a share within its interval, by a judge that is named, and the same for the same answers."""
    metric: Any = settings_of(subject).build(BuildContext(path="evaluation.x"))
    where = place(metric, "measure")
    first, again = (metric.measure(_Parrot(subject), limit=4, seed=0) for _ in range(2))
    found = f"{first.low} ≤ {first.score} ≤ {first.high}"
    low, high = first.low - ROUNDING, first.high + ROUNDING
    expect(low <= first.score <= high and 0 <= first.score <= 1, "a share within its interval", found, where)
    expect(first.n > 0 and bool(first.judge), "answers that are counted, and a judge", (first.n, first.judge), where)
    expect(json.dumps(first.as_row()) == json.dumps(again.as_row()), "the same score again", again.as_row(), where)


class _Parrot:
    """What stands for a pipeline where metrics are tried: it always says the same, and gives examples as media."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def run(self, prompt: Any, output: Sequence[str] = ("text",), **options: Any) -> Reply:
        return self.run_many([prompt], output, **options)[0]

    def run_many(self, prompts: Sequence[Any], output: Sequence[str] = ("text",), **options: Any) -> list[Reply]:
        names = [name for name in output if name != "text"]
        parts = [{"type": name, "media": self._example(name)} for name in names]
        return [Reply([{"type": "text", "text": "no answer"}, *parts]) for _ in prompts]

    def _example(self, name: str) -> Any:
        try:
            return self._subject.bench.settings("modality", name).build(BuildContext(path=name)).example()
        except (PolyjanusError, ValueError) as error:
            raise NotApplicable(f"no modality {name!r} is installed whose settings have defaults") from error

    def __getattr__(self, name: str) -> Any:
        """Say that a check has no whole pipeline."""
        raise NotApplicable(f"it asks the pipeline for {name!r}, which is not there in a check")
