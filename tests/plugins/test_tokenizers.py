"""Tokenizers: the backbone's own, one from a folder, or raw bytes."""

from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.errors import WiringError
from polyjanus.core.sequence.tokenizer import byte_tokenizer
from polyjanus.core.settings import BuildContext
from polyjanus.plugins.backbones import CausalLMConfig
from polyjanus.plugins.tokenizers import AutoTokenizerConfig, BytesTokenizerConfig, PretrainedTokenizerConfig


def _context(folder: Path, **parts: Any) -> BuildContext:
    return BuildContext(path="text.tokenizer", parts=parts, folder=folder)


def test_bytes_have_259_ids_and_three_roles(tmp_path: Path) -> None:
    tokenizer = BytesTokenizerConfig(type="bytes").build(_context(tmp_path))
    assert len(tokenizer) == 259
    assert [tokenizer.id_of(token) for token in (tokenizer.bos, tokenizer.eos, tokenizer.pad)] == [256, 257, 258]
    assert sorted(tokenizer.encode(bytes(range(256)).decode("latin-1"), is_first=True)[0])[-1] < 256


def test_a_saved_tokenizer_comes_back_from_a_relative_folder(tmp_path: Path) -> None:
    byte_tokenizer().save(tmp_path / "mine")
    tokenizer = PretrainedTokenizerConfig(type="pretrained", pretrained="./mine").build(_context(tmp_path))
    text = "<eos> añ🙂\x00"
    assert tokenizer.encode(text, is_first=True) == byte_tokenizer().encode(text, is_first=True)
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad) == ("<bos>", "<eos>", "<pad>")


def test_auto_is_the_pretrained_backbones_own_and_else_bytes(tmp_path: Path) -> None:
    fresh = CausalLMConfig(type="causal_lm", architecture={"model_type": "llama"})
    auto = AutoTokenizerConfig(type="auto")
    assert len(auto.build(_context(tmp_path, **{"backbone.settings": fresh}))) == 259
    library = byte_tokenizer().library
    library.add_tokens(["<extra>"])
    library.save_pretrained(str(tmp_path / "model"))
    backbone = CausalLMConfig(type="causal_lm", pretrained="./model")
    assert len(auto.build(_context(tmp_path, **{"backbone.settings": backbone}))) == 260


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WiringError, match=r"the tokenizer in .*empty' cannot be read"):
        PretrainedTokenizerConfig(type="pretrained", pretrained="./empty").build(_context(tmp_path))
