"""A pipeline as a judge: how probable it finds an answer about media, and the best of several replies of its own.

What a person would say of generated media is asked of the pipeline's own understanding pathway.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, prod
from typing import TYPE_CHECKING, Any, Unpack

import torch

from polyjanus.core.errors import UsageError
from polyjanus.core.model.unified import Sums
from polyjanus.core.prompts import Options, Prompt
from polyjanus.core.reply import Reply
from polyjanus.core.sequence.packing import to_device

if TYPE_CHECKING:
    from polyjanus.core.pipeline import Pipeline

YES = "yes"


@torch.no_grad()
def probability(pipeline: Pipeline, prompt: Prompt, answer: str = YES) -> float:
    """Return the probability that the pipeline answers a prompt with exactly these words and then ends its turn."""
    pipeline.model.eval()
    asked = [*pipeline.messages(prompt), {"role": "assistant", "content": answer}]
    sums: Sums = pipeline.model(**to_device(pipeline.collate([asked]), pipeline.model.device)).sums
    return exp(-float(sums["text"][0]))


def rate(pipeline: Pipeline, parts: Sequence[Any], question: str, answer: str = YES) -> float:
    """Return the probability of an answer to a question about media; of several, that it is the answer to each."""
    media = [part for part in parts if not isinstance(part, str) and part["type"] != "text"]
    if not media:
        raise UsageError("there is nothing to score", hint="give media, or ask for some with --output")
    return prod(probability(pipeline, [_given(part), question], answer) for part in media)


def best_of(
    pipeline: Pipeline,
    prompt: Prompt,
    output: Sequence[str],
    *,
    count: int,
    question: str,
    answer: str = YES,
    **options: Unpack[Options],
) -> tuple[Reply, list[float]]:
    """Return the best of `count` replies to a prompt, and the probability of the answer about the media of each."""
    replies = pipeline.run_many([prompt] * count, output, **options)
    rated = [rate(pipeline, reply.parts, question, answer) for reply in replies]
    return replies[max(range(count), key=rated.__getitem__)], rated


def _given(part: Any) -> Any:
    """Return a part of a reply as a part of a message."""
    return {"type": part["type"], part["type"]: part["media"]} if "media" in part else part
