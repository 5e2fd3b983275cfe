"""Tokenizers of every family, trained here on a few sentences, with added tokens of every sort."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from polyjanus.core.sequence.spans import Compiler, Vocabulary
from polyjanus.core.sequence.tokenizer import TextTokenizer
from polyjanus.core.settings import BuildContext
from polyjanus.plugins.templates import ChatTemplateConfig, JanusTemplateConfig

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "User says: draw me a  small   red house, please!\n\n",
] * 20
ADDED = ("<|User|>", "<|Assistant|>", "<image_placeholder>", "<begin_of_image>", "<end_of_image>", "<|end|>")
CHAT = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'].capitalize() + '|>' }}\n"
    "{{ m['content'] | trim }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|Assistant|>\n{% endif %}"
)
FAMILIES = ("byte_level", "byte_level_prefixed", "metaspace_first", "metaspace_always", "prepended")
STRIPS = ("keep", "lstrip", "rstrip", "both")


@cache
def _trained(family: str) -> str:
    backend = Tokenizer(models.BPE(unk_token=None if family.startswith("byte") else "<unk>", byte_fallback=True))
    options: dict[str, Any] = {"vocab_size": 420, "show_progress": False}
    if family.startswith("byte"):
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=family.endswith("prefixed"))
        backend.decoder = decoders.ByteLevel()
        options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    else:
        if family == "prepended":
            backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        else:
            scheme = family.removeprefix("metaspace_")
            backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)  # type: ignore[arg-type]
        backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        options["special_tokens"] = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.train_from_iterator(SENTENCES, trainers.BpeTrainer(**options))
    blueprint = json.loads(backend.to_str())
    return json.dumps({**blueprint, "added_tokens": []})  # the trainer would have the 256 bytes special


def build(family: str, strip: str = "keep", chat: str | None = CHAT) -> TextTokenizer:
    backend = Tokenizer.from_str(_trained(family))
    left, right = strip in {"lstrip", "both"}, strip in {"rstrip", "both"}
    backend.add_special_tokens([AddedToken(word, lstrip=left, rstrip=right) for word in ADDED])
    backend.add_tokens([AddedToken("<tool>", special=False), AddedToken("<wide tool>", special=False)])
    library = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    library.chat_template = chat
    return TextTokenizer(library)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def tokenizer_of() -> Callable[..., TextTokenizer]:
    return build


def compiler(tokenizer: TextTokenizer, template: str) -> Compiler:
    """Return a compiler of text alone."""
    settings = JanusTemplateConfig(type="janus") if template == "janus" else ChatTemplateConfig(type="chat")
    built = settings.build(BuildContext(path="template", parts={"text.tokenizer": tokenizer}))
    return Compiler(tokenizer, built, Vocabulary.of(tokenizer, len(tokenizer), []), {}, {}, {})


@pytest.fixture
def compiler_of() -> Callable[..., Compiler]:
    return compiler
