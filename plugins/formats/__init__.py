"""Formats of Janus checkpoints that others write: DeepSeek's own, and transformers'. Importing this loads no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, FormatConfig, TokenizerConfig

if TYPE_CHECKING:
    from polyjanus.core.checkpoints.formats import CheckpointFormat
    from polyjanus.core.sequence.tokenizer import TextTokenizer


class DeepSeekConfig(FormatConfig):
    """DeepSeek's Janus-1.3B, Janus-Pro-1B and Janus-Pro-7B as they are published (model_type multi_modality)."""

    type: Literal["deepseek"]

    def detects(self, folder: Path) -> bool:
        """Tell whether the folder's config.json is DeepSeek's."""
        config = read_config(folder)
        return config.get("model_type") == "multi_modality" and "gen_vision_config" in config

    def build(self, context: BuildContext) -> CheckpointFormat:
        """Return the reader and writer."""
        from polyjanus.plugins.formats.deepseek import DeepSeekFormat

        return DeepSeekFormat()


class TransformersConfig(FormatConfig):
    """Janus as transformers writes it (model_type janus)."""

    type: Literal["transformers"]

    def detects(self, folder: Path) -> bool:
        """Tell whether the folder's config.json is transformers'."""
        return read_config(folder).get("model_type") == "janus"

    def build(self, context: BuildContext) -> CheckpointFormat:
        """Return the reader and writer."""
        from polyjanus.plugins.formats.transformers import TransformersFormat

        return TransformersFormat()


class JanusTokenizerConfig(TokenizerConfig):
    """The tokenizer of a Janus checkpoint: exactly its tokenizer.json, its padding found by name."""

    type: Literal["janus"]
    pretrained: str = Field(description="./path, /path or ~/path relative to the YAML; else a hub id")

    def build(self, context: BuildContext) -> TextTokenizer:
        """Return the tokenizer."""
        from polyjanus.plugins.formats.tokenizer import read_tokenizer

        return read_tokenizer(context.locate(self.pretrained))


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Return a JSON file of a folder; empty where there is none, or none that can be read."""
    try:
        content: Any = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


@hookimpl
def register(registries: Registries) -> None:
    """Offer the formats, and the tokenizer that their folders hold."""
    registries.formats.add(DeepSeekConfig)
    registries.formats.add(TransformersConfig)
    registries.tokenizers.add(JanusTokenizerConfig)
