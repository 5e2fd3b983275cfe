"""The tokenizer of the quintet: every word of its phrases is one token; all else is spelled in bytes.

`python -m polyjanus.examples.quintet.vocabulary` writes it to the folder `tokenizer` here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from polyjanus.examples.quintet import words

FOLDER = Path(__file__).parent / "tokenizer"
SIZE = 640
"""Ids at most; fewer are needed."""
SPECIAL = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}


def sentences() -> Iterator[str]:
    """Yield everything that is said, as often as it takes for every word to become a token."""
    phrases = chain(
        words.READ,
        words.DESCRIBE,
        words.COMPARE,
        words.CHECK,
        words.BOTH,
        words.WORDS[0],
        *words.ASK.values(),
        *words.WRITE.values(),
        *words.SAME_DIGIT.values(),
        *words.THIS_VERY_ONE.values(),
    )
    said = [
        *(phrase.replace("{}", "") for phrase in phrases),
        *words.NAMES,
        *words.ANSWERS,
        *words.NO_YES,
        *words.WORDS[1],
    ]
    for sense, kinds in words.ATTRIBUTES.items():
        for kind, values in kinds.items():
            said += [
                *values,
                *(words.described(sense, name, {kind: value}) for value in values for name in words.NAMES),
            ]
    for sentence in said:
        yield from [f"User: {sentence}\n\nAssistant: {sentence}"] * 4


def train() -> Any:
    """Return the byte-level BPE (arXiv 1508.07909), a tokenizers.Tokenizer; always the same."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    return tokenizer


def main() -> None:
    """Write the tokenizer as transformers reads it."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "tokenizer.json").write_text(train().to_str(pretty=False) + "\n")
    described = {"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL}
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(described, indent=2) + "\n")


if __name__ == "__main__":
    main()
