"""Text to ids, exactly as the whole string would be read, with no text ever becoming a special token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from polyjanus.core import hf
from polyjanus.core.errors import WiringError


class TextTokenizer:
    """A transformers tokenizer, and private copies of it that match no added tokens.

    `encode` reads text that stands between special tokens. A Metaspace tokenizer may mark the start of the whole string
    only, so text that follows a special token is read by a second copy without that mark, and what follows a cut inside
    text by a third that marks nothing.
    """

    def __init__(self, library: Any) -> None:
        if not getattr(library, "is_fast", False):
            raise WiringError(f"{type(library).__name__} has no tokenizer.json; polyjanus needs a fast tokenizer")
        self.library = library
        blueprint: dict[str, Any] = json.loads(library.backend_tokenizer.to_str())
        self._added = {token["content"]: token for token in blueprint["added_tokens"]}
        self._first = _plain(blueprint)
        self._later = _plain(_unprefixed(blueprint, ("first",)))
        self._inner = _plain(_unprefixed(blueprint, ("first", "always")))
        unknown = getattr(library, "unk_token_id", None)
        self._special_ids = {token["id"] for token in blueprint["added_tokens"]} - {unknown}
        self.bos = self._role("bos_token")
        self.eos = self._role("eos_token")
        self.pad = self._role("pad_token") or self.eos

    def _role(self, name: str) -> str | None:
        token = getattr(self.library, name, None)
        return None if token is None else str(token)

    def __len__(self) -> int:
        """Return the number of ids, added tokens included."""
        return len(self.library)

    @property
    def chat_template(self) -> str | None:
        """Return the tokenizer's own Jinja chat template, if it has one."""
        template = getattr(self.library, "chat_template", None)
        return template if isinstance(template, str) else None

    @property
    def special_tokens(self) -> list[str]:
        """Return the added tokens, longest first."""
        return sorted(self._added, key=len, reverse=True)

    def id_of(self, token: str) -> int | None:
        """Return the id of one token, or None where the tokenizer lacks it."""
        if token in self._added:
            return int(self._added[token]["id"])
        return self._first.token_to_id(token)

    def require(self, token: str | None, role: str) -> int:
        """Return the id of a token that must exist; a WiringError names the role that it has."""
        found = None if token is None else self.id_of(token)
        if found is None:
            raise WiringError(f"the tokenizer has no {role} token", hint="give text.tokenizer one that has it")
        return found

    def swallows(self, token: str) -> tuple[bool, bool]:
        """Tell whether a special token swallows the white space on its left and on its right."""
        entry = self._added.get(token, {})
        return bool(entry.get("lstrip")), bool(entry.get("rstrip"))

    def encode(self, text: str, *, is_first: bool) -> tuple[list[int], list[int]]:
        """Return the ids of text between special tokens, and for each the character at which it starts."""
        return self._encode(text, self._first if is_first else self._later)

    def _encode(self, text: str, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
        """Encode text; where the model's own vocabulary has a special token in it, the text is cut inside."""
        encoding = tokenizer.encode(text, add_special_tokens=False)
        ids, spans = encoding.ids, encoding.offsets
        found = next((place for place, token in enumerate(ids) if token in self._special_ids), None)
        if found is None:
            return ids, [start for start, _ in spans]
        start, end = spans[found]
        if end - start < 2:
            raise WiringError(f"the tokenizer reads the character {text[start:end]!r} as a special token")
        before, after = self._encode(text[: start + 1], tokenizer), self._encode(text[start + 1 :], self._inner)
        return before[0] + after[0], before[1] + [start + 1 + place for place in after[1]]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens left out."""
        return self.library.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def save(self, folder: Path) -> None:
        """Write the tokenizer as transformers does."""
        self.library.save_pretrained(str(folder))


def _plain(blueprint: dict[str, Any]) -> Tokenizer:
    stripped: dict[str, Any] = {
        **blueprint,
        "added_tokens": [],
        "post_processor": None,
        "truncation": None,
        "padding": None,
    }
    return Tokenizer.from_str(json.dumps(stripped))


def _unprefixed(node: Any, schemes: Sequence[str]) -> Any:
    """Return a copy in which Metaspace of these schemes no longer marks the start of the string."""
    if isinstance(node, dict):
        entries: dict[str, Any] = {key: _unprefixed(value, schemes) for key, value in node.items()}  # type: ignore[misc]
        if entries.get("type") == "Metaspace" and entries.get("prepend_scheme") in schemes:
            entries["prepend_scheme"] = "never"
        if entries.get("type") == "ByteLevel" and "always" in schemes:
            entries["add_prefix_space"] = False
        return entries
    if isinstance(node, list):
        return [_unprefixed(value, schemes) for value in node]  # type: ignore[misc]
    return node


def byte_tokenizer() -> TextTokenizer:
    """Return the tokenizer of raw UTF-8 bytes: 256 ids, then `<bos>`, `<eos>` and `<pad>`; any text round-trips."""
    from tokenizers import decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={byte: index for index, byte in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # type: ignore[assignment]
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    library = hf.library().PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )
    return TextTokenizer(library)
