"""What transformers' test suite publishes about Janus-Pro-1B (test_modeling_janus.py), computed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from polyjanus.core.checkpoints.formats import Finding
from polyjanus.core.generation.choosing import Request
from polyjanus.core.generation.events import TextDelta
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.sequence.messages import MediaPart, Message
from polyjanus.core.sequence.spans import TokenSequence
from polyjanus.core.sequence.template import MediaPiece, Piece, SpecialPiece, Template, TextPiece
from polyjanus.plugins.formats.janus import SYSTEM
from polyjanus.plugins.samplers.draws import GreedySampler

PORTRAIT = "A portrait of young girl. masterpiece, film grained, best quality."
PORTRAIT_LENGTH = 17
"""Ids of the prompt, BOS and the opening mark included."""
CODES = (
    *(4484, 4015, 15750, 506, 3758, 11651, 8597, 5739, 4861, 971, 14985, 14834, 15438, 7548, 1820, 1465, 13529),
    *(12761, 10503, 12761, 14303, 6155, 4015, 11766, 705, 15736, 14146, 10417, 1951, 7713, 14305, 15617, 6169, 2706),
    *(8006, 14893, 3855, 10188, 15652, 6297, 1097, 12108, 15038, 311, 14998, 15165, 897, 4044, 1762, 4676),
)
"""The first greedy codes on a CUDA GPU, guidance 5."""
PICTURE = "https://nineplanets.org/wp-content/uploads/2020/12/the-big-dipper-1.jpg"
QUESTION = "\nDescribe what do you see here and tell me about the history behind it?"
SENTENCE = 'The image depicts the constellation of Leo, which is often referred to as the "Lion"'
SENTENCE_TOKENS = 20
PRO_1B = {"hidden_size": 2048, "num_hidden_layers": 24, "vocab_size": 102400}


@dataclass(frozen=True)
class _Bare(Template):
    """A prompt without roles, as the published tests have it."""

    bos: str
    before: str

    def pieces(self, messages: Sequence[Message], *, is_prompt: bool) -> list[Piece]:
        """Return BOS, the text before, and the parts as they are."""
        pieces: list[Piece] = [SpecialPiece(self.bos), TextPiece(self.before)]
        parts = [part for message in messages for part in message.parts]
        return [*pieces, *(MediaPiece(part) if isinstance(part, MediaPart) else TextPiece(part.text) for part in parts)]

    @property
    def end_of_turn(self) -> str:
        """Return nothing that a prompt needs."""
        return ""


def published(pipeline: Pipeline, file: Path | None) -> Iterator[Finding]:
    """Yield each published result and whether it is met; on weights of another model none is applicable."""
    odd = _differs(pipeline)
    if odd:
        for name in ("prompt length", "greedy codes", "sentence about a picture"):
            yield Finding(name, "not applicable", f"published for Janus-Pro-1B; {odd}")
        return
    sequence = _compile(pipeline, "", [PORTRAIT])
    length = len(sequence) + 1
    yield Finding("prompt length", _verdict(length == PORTRAIT_LENGTH), f"{length}, published {PORTRAIT_LENGTH}")
    yield _compare_codes(pipeline, sequence)
    yield _compare_sentence(pipeline, file)


def _differs(pipeline: Pipeline) -> str:
    """Return what tells a model from Janus-Pro-1B, or nothing."""
    architecture = getattr(pipeline.config.backbone, "architecture", None) or {}
    for name, wanted in PRO_1B.items():
        if architecture.get(name) != wanted:
            return f"these are not its weights: {name} is {architecture.get(name)}, not {wanted}"
    return ""


def _verdict(is_met: bool) -> str:
    return "pass" if is_met else "fail"


def _compile(pipeline: Pipeline, before: str, parts: list[Any]) -> TokenSequence:
    template = _Bare(str(pipeline.tokenizer.bos), before)
    messages = [{"role": "user", "content": parts}]
    return replace(pipeline.compiler, template=template).compile(messages, is_prompt=True)


def _compare_codes(pipeline: Pipeline, sequence: TokenSequence) -> Finding:
    codes = greedy_codes(pipeline, sequence)[: len(CODES)]
    equal = next((i for i, (ours, theirs) in enumerate(zip(codes, CODES, strict=True)) if ours != theirs), len(CODES))
    told = f"the first {equal} of {len(CODES)} published codes are equal"
    if equal < len(CODES) and pipeline.model.device.type != "cuda":
        return Finding("greedy codes", "not applicable", f"{told}; they were published for a CUDA GPU")
    return Finding("greedy codes", _verdict(equal == len(CODES)), told)


def greedy_codes(pipeline: Pipeline, sequence: TokenSequence, scale: float = 5.0) -> list[int]:
    """Return the greedy codes of one picture; what the codec is given to decode is looked at on its way."""
    codec: Any = pipeline.model.part("image.generate.codec")
    caught: list[Tensor] = []
    decode = codec.decode
    codec.decode = lambda codes: (caught.extend(codes), decode(codes))[1]
    try:
        request = Request(["image"], samplers={"image": GreedySampler(scale)})
        list(pipeline.engine.generate([sequence], request))
    finally:
        del codec.decode
    return caught[0].flatten().tolist()


def _compare_sentence(pipeline: Pipeline, file: Path | None) -> Finding:
    name = "sentence about a picture"
    if file is None:
        return Finding(name, "not applicable", f"download {PICTURE} and hand it over: --file the-big-dipper-1.jpg")
    sequence = _compile(pipeline, f"{SYSTEM}\n\n", [{"type": "image", "path": str(file)}, QUESTION])
    request = Request(["text"], max_tokens=SENTENCE_TOKENS, samplers={"text": GreedySampler()})
    events = pipeline.engine.generate([sequence], request)
    text = "".join(event.text for event in events if isinstance(event, TextDelta)).strip()
    if text != SENTENCE and pipeline.model.device.type != "cuda":
        return Finding(name, "not applicable", f"{text!r}; {SENTENCE!r} was published for a CUDA GPU")
    return Finding(name, _verdict(text == SENTENCE), repr(text))
