"""Templates: how conversations are written down."""

from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from polyjanus.core.errors import WiringError
from polyjanus.core.sequence.messages import MediaPart, Message, TextPart
from polyjanus.core.sequence.template import MediaPiece, SpecialPiece, TextPiece
from polyjanus.core.sequence.tokenizer import TextTokenizer, byte_tokenizer
from polyjanus.core.settings import BuildContext
from polyjanus.plugins.templates import AutoTemplateConfig, ChatTemplateConfig, JanusTemplateConfig
from polyjanus.plugins.templates.modules import ChatTemplate, JanusTemplate

IMAGE = MediaPart("image", "understand", "a.png")
DRAWN = MediaPart("image", "generate", "b.png")
CHAT = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<eos>{% endfor %}"


def _context(tokenizer: TextTokenizer) -> BuildContext:
    return BuildContext(path="template", parts={"text.tokenizer": tokenizer})


def _shown(template: Any, messages: list[Message], *, is_prompt: bool) -> str:
    """Return the pieces as text: specials in angle brackets, parts in square ones, what is learned in braces."""
    text = ""
    for piece in template.pieces(messages, is_prompt=is_prompt):
        content = piece.text if isinstance(piece, TextPiece) else ""
        content = piece.token if isinstance(piece, SpecialPiece) else content
        content = f"[{piece.part.pathway}]" if isinstance(piece, MediaPiece) else content
        text += f"{{{content}}}" if piece.is_learned and content else content
    return text.replace("}{", "")


def _message(role: Any, *parts: Any) -> Message:
    return Message(role, tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def test_janus_writes_as_deepseek_does() -> None:
    template = JanusTemplateConfig(type="janus").build(_context(byte_tokenizer()))
    messages = [
        _message("system", "be brief"),
        _message("user", IMAGE, "what?"),
        _message("assistant", "a house"),
        _message("user", "draw it"),
        _message("assistant", DRAWN),
    ]
    assert _shown(template, messages[:2], is_prompt=True) == (
        "<bos>be brief\n\n<|User|>: [understand]\nwhat?\n\n<|Assistant|>:"
    )
    assert _shown(template, messages, is_prompt=False) == (
        "<bos>be brief\n\n<|User|>: [understand]\nwhat?\n\n<|Assistant|>:{ a house<eos>}"
        "<|User|>: draw it\n\n<|Assistant|>:{[generate]<eos>}"
    )
    assert template.end_of_turn == "<eos>"


def test_the_roles_of_janus_can_be_named() -> None:
    template = JanusTemplateConfig(type="janus", user="U", assistant="A").build(_context(byte_tokenizer()))
    assert _shown(template, [_message("user", "x")], is_prompt=True) == "<bos>U: x\n\nA:"


def test_raw_text_stands_outside_of_any_template() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.library.chat_template = CHAT
    for template in (JanusTemplate(tokenizer), ChatTemplate(tokenizer)):
        assert _shown(template, [_message("raw", "a", IMAGE, "b")], is_prompt=False) == "<bos>{a[understand]b<eos>}"


def test_auto_takes_the_tokenizers_own_template_where_there_is_one() -> None:
    tokenizer = byte_tokenizer()
    assert isinstance(AutoTemplateConfig(type="auto").build(_context(tokenizer)), JanusTemplate)
    tokenizer.library.chat_template = CHAT
    chat = AutoTemplateConfig(type="auto").build(_context(tokenizer))
    assert isinstance(chat, ChatTemplate)
    assert chat.end_of_turn == "<eos>"


def test_a_chat_template_learns_what_the_assistant_says_and_its_end() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.library.chat_template = CHAT
    template = ChatTemplateConfig(type="chat").build(_context(tokenizer))
    messages = [_message("user", "x", IMAGE), _message("assistant", "y", DRAWN), _message("user", "z")]
    assert _shown(template, messages, is_prompt=False) == (
        "user: x[understand]<eos>assistant: {y[generate]<eos>}user: z<eos>"
    )


def test_what_a_template_needs_and_lacks_is_named() -> None:
    with pytest.raises(WiringError, match="the tokenizer has no chat template(.|\n)*template: janus"):
        ChatTemplateConfig(type="chat").build(_context(byte_tokenizer()))
    bare = TextTokenizer(PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer().library.backend_tokenizer))
    with pytest.raises(WiringError, match="no end-of-text token"):
        JanusTemplateConfig(type="janus").build(_context(bare))
