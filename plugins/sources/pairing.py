"""Messages of one medium and the words that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyjanus.core.errors import DataError

PLACEHOLDERS = ("{text}", "{class}")


@dataclass(frozen=True)
class Pairing:
    """How a medium and its words become a question and an answer; of several wordings one is drawn."""

    modality: str
    pathway: str
    prompts: Sequence[str]
    answers: Sequence[str]

    def messages(
        self, source: str | bytes, words: str, noise: np.random.Generator, prompt: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the messages of a path or bytes; a `prompt` of the row's own comes before those of the settings."""
        words = words.strip()
        if not words:
            raise DataError("has no words: its caption is empty")
        asked = prompt if prompt is not None else _filled(_drawn(self.prompts, noise), words)
        part = {"type": self.modality, "path": source}
        if self.pathway == "generate":
            said, replied = [asked], [part]
        else:
            said, replied = [part, asked], [_filled(_drawn(self.answers, noise), words)]
        return [{"role": "user", "content": said}, {"role": "assistant", "content": replied}]


def _drawn(texts: Sequence[str], noise: np.random.Generator) -> str:
    return texts[int(noise.integers(len(texts)))] if len(texts) > 1 else texts[0]


def _filled(text: str, words: str) -> str:
    for placeholder in PLACEHOLDERS:
        text = text.replace(placeholder, words)
    return text
