"""Tokenizers: the backbone's own, one from a folder or a hub id, or raw bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from polyjanus.core.errors import WiringError
from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, TokenizerConfig, is_local

if TYPE_CHECKING:
    from polyjanus.core.sequence.tokenizer import TextTokenizer


class AutoTokenizerConfig(TokenizerConfig):
    """The tokenizer of the pretrained backbone; raw bytes where the backbone is trained from nothing."""

    type: Literal["auto"]

    def build(self, context: BuildContext) -> TextTokenizer:
        """Return the tokenizer."""
        from polyjanus.core.sequence.tokenizer import byte_tokenizer

        backbone = context.parts.get("backbone.settings")
        source = getattr(backbone, "pretrained", None)
        return byte_tokenizer() if source is None else _pretrained(context.locate(source))


class BytesTokenizerConfig(TokenizerConfig):
    """Raw UTF-8 bytes: 256 ids and three special tokens; any text round-trips."""

    type: Literal["bytes"]

    def build(self, context: BuildContext) -> TextTokenizer:
        """Return the tokenizer."""
        from polyjanus.core.sequence.tokenizer import byte_tokenizer

        return byte_tokenizer()


class PretrainedTokenizerConfig(TokenizerConfig):
    """A fast tokenizer of transformers from a folder or a hub id."""

    type: Literal["pretrained"]
    pretrained: str = Field(description="./path, /path or ~/path relative to the YAML; else a hub id")

    def build(self, context: BuildContext) -> TextTokenizer:
        """Return the tokenizer."""
        return _pretrained(context.locate(self.pretrained))


def _pretrained(source: str) -> TextTokenizer:
    from polyjanus.core import hf
    from polyjanus.core.sequence.tokenizer import TextTokenizer

    try:
        return TextTokenizer(hf.library().AutoTokenizer.from_pretrained(source, trust_remote_code=False))
    except (OSError, ValueError) as error:
        if not is_local(source):
            raise
        raise WiringError(
            f"the tokenizer in {source!r} cannot be read: {str(error).splitlines()[0]}",
            paths=["text.tokenizer"],
            hint="name a folder that has a tokenizer.json",
        ) from error


@hookimpl
def register(registries: Registries) -> None:
    """Offer the tokenizers."""
    registries.tokenizers.add(AutoTokenizerConfig)
    registries.tokenizers.add(BytesTokenizerConfig)
    registries.tokenizers.add(PretrainedTokenizerConfig)
