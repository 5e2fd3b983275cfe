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

    `encode` reads text that stands between special tokens. A Metaspace tokenizer marks the start of the whole string
    only, so text that follows a special token is read by a second copy without that mark.
    """

    def __init__(self, library: Any) -> None:
        if not getattr(library, "is_fast", False):
            raise WiringError(f"{type(library).__name__} has no tokenizer.json; polyjanus needs a fast tokenizer")
        self.library = library
        blueprint: dict[str, Any] = json.loads(library.backend_tokenizer.to_str())
        self._added = {token["content"]: token for token in blueprint["added_tokens"]}
        self._special_ids = {token["id"] for token in blueprint["added_tokens"]}
        self._first = _plain(blueprint)
        self._later = _plain(_unprefixed(blueprint))
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
        encoding = (self._first if is_first else self._later).encode(text, add_special_tokens=False)
        ids, offsets = encoding.ids, encoding.offsets
        if self._special_ids.isdisjoint(ids):
            return ids, [start for start, _ in offsets]
        return self._encode_apart(text, is_first)

    def _encode_apart(self, text: str, is_first: bool) -> tuple[list[int], list[int]]:
        """Encode character by character where the model's own vocabulary would give a special token."""
        ids: list[int] = []
        starts: list[int] = []
        for index, character in enumerate(text):
            tokenizer = self._first if is_first and index == 0 else self._later
            for token in tokenizer.encode(character, add_special_tokens=False).ids:
                if token in self._special_ids:
                    raise WiringError(f"the tokenizer reads the character {character!r} as a special token")
                ids.append(token)
                starts.append(index)
        return ids, starts

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


def _unprefixed(node: Any) -> Any:
    """Return a copy in which Metaspace no longer marks the start of the string."""
    if isinstance(node, dict):
        entries: dict[str, Any] = {key: _unprefixed(value) for key, value in node.items()}  # type: ignore[misc]
        if entries.get("type") == "Metaspace" and entries.get("prepend_scheme") == "first":
            entries["prepend_scheme"] = "never"
        return entries
    if isinstance(node, list):
        return [_unprefixed(value) for value in node]  # type: ignore[misc]
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
