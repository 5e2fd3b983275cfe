"""How conversations are written down: Janus' two roles, or whatever a tokenizer's Jinja template says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

from polyjanus.core.errors import SequenceError, WiringError
from polyjanus.core.sequence.messages import MediaPart, Message
from polyjanus.core.sequence.template import (
    MediaPiece,
    Piece,
    SpecialPiece,
    Template,
    TextPiece,
    part_pieces,
)
from polyjanus.core.sequence.tokenizer import TextTokenizer


class JanusTemplate(Template):
    """DeepSeek's: `system\\n\\n<|User|>: …\\n\\n<|Assistant|>: …<eos>`; each part of the user on its own line.

    Role names are special tokens where the tokenizer has them, else text.
    """

    def __init__(self, tokenizer: TextTokenizer, *, user: str = "<|User|>", assistant: str = "<|Assistant|>") -> None:
        if tokenizer.eos is None:
            raise WiringError("the tokenizer has no end-of-text token, which ends the assistant's turn")
        self.tokenizer = tokenizer
        self.roles = {"user": user, "assistant": assistant}

    @property
    def end_of_turn(self) -> str:
        """Return the tokenizer's end of text."""
        return str(self.tokenizer.eos)

    def pieces(self, messages: Sequence[Message], *, is_prompt: bool) -> list[Piece]:
        """Return the pieces of a conversation."""
        pieces: list[Piece] = [SpecialPiece(self.tokenizer.bos)] if self.tokenizer.bos else []
        for message in messages:
            pieces += self._message(message)
        if is_prompt:
            pieces += [*self._role("assistant"), TextPiece(":")]
        return pieces

    def _message(self, message: Message) -> Iterator[Piece]:
        if message.role == "raw":
            yield from part_pieces(message, is_learned=True)
            yield SpecialPiece(self.end_of_turn, is_learned=True)
        elif message.role == "system":
            yield from part_pieces(message, is_learned=False)
            yield TextPiece("\n\n")
        elif message.role == "user":
            yield from self._role("user")
            yield TextPiece(": ")
            yield from _joined(part_pieces(message, is_learned=False), "\n")
            yield TextPiece("\n\n")
        else:
            yield from self._role("assistant")
            yield TextPiece(":")
            if message.parts and not isinstance(message.parts[0], MediaPart):
                yield TextPiece(" ", is_learned=True)
            yield from part_pieces(message, is_learned=True)
            yield SpecialPiece(self.end_of_turn, is_learned=True)

    def _role(self, role: str) -> list[Piece]:
        name = self.roles[role]
        return [SpecialPiece(name) if name in self.tokenizer.special_tokens else TextPiece(name)]


def _joined(pieces: Sequence[Piece], separator: str) -> Iterator[Piece]:
    for index, piece in enumerate(pieces):
        if index:
            yield TextPiece(separator)
        yield piece


class ChatTemplate(Template):
    """A tokenizer's own Jinja chat template.

    Parts, and every special token that a user typed, are carried through Jinja as marks that nobody can guess, so that
    only the special tokens which the template itself places are special.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        if tokenizer.chat_template is None:
            raise WiringError("the tokenizer has no chat template", hint="write template: janus, or leave it out")
        self.tokenizer = tokenizer
        self._end = self._find_end()

    @property
    def end_of_turn(self) -> str:
        """Return the special token that the template writes after what the assistant says."""
        return self._end

    def pieces(self, messages: Sequence[Message], *, is_prompt: bool) -> list[Piece]:
        """Return the pieces of a conversation."""
        if any(message.role == "raw" for message in messages):
            return self._raw(messages)
        marks = _Marks({}, self._special_pattern())
        chat = [{"role": message.role, "content": marks.content(message)} for message in messages]
        pieces: list[Piece] = []
        done = ""
        for index, message in enumerate(messages):
            if message.role == "assistant":
                start = self._extend(self._render(chat[:index], is_prompt=True), done)
                pieces += marks.pieces(start, is_learned=False)
                done += start
            text = self._extend(self._render(chat[: index + 1], is_prompt=False), done)
            pieces += self._turn(marks, text, is_learned=message.role == "assistant")
            done += text
        if is_prompt:
            pieces += marks.pieces(self._extend(self._render(chat, is_prompt=True), done), is_learned=False)
        return pieces

    def _raw(self, messages: Sequence[Message]) -> list[Piece]:
        pieces: list[Piece] = [SpecialPiece(self.tokenizer.bos)] if self.tokenizer.bos else []
        for message in messages:
            pieces += part_pieces(message, is_learned=True)
        return [*pieces, SpecialPiece(str(self.tokenizer.eos), is_learned=True)]

    def _turn(self, marks: _Marks, text: str, *, is_learned: bool) -> list[Piece]:
        """Return the pieces of one turn; what follows the end of turn is not learned."""
        pieces = marks.pieces(text, is_learned=is_learned)
        ends = [i for i, piece in enumerate(pieces) if isinstance(piece, SpecialPiece) and piece.token == self._end]
        if not is_learned or not ends:
            return pieces
        tail = [TextPiece(p.text) if isinstance(p, TextPiece) else p for p in pieces[ends[-1] + 1 :]]
        return [*pieces[: ends[-1] + 1], *tail]

    def _render(self, chat: Sequence[dict[str, str]], *, is_prompt: bool) -> str:
        if not chat:
            return ""
        rendered = self.tokenizer.library.apply_chat_template(
            list(chat), tokenize=False, add_generation_prompt=is_prompt
        )
        return str(rendered)

    def _extend(self, rendered: str, done: str) -> str:
        if not rendered.startswith(done):
            raise SequenceError(
                "the tokenizer's chat template rewrites earlier turns, so turns cannot be told apart",
                hint="choose another template, such as template: janus",
            )
        return rendered[len(done) :]

    def _special_pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(re.escape(token) for token in self.tokenizer.special_tokens) or r"(?!)")

    def _find_end(self) -> str:
        """Return the first special token after an assistant's words in a short conversation."""
        words = f"w{uuid4().hex}"
        chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": words}]
        after = self._render(chat, is_prompt=False).split(words)[-1]
        found = self._special_pattern().search(after)
        token = found.group() if found else self.tokenizer.eos
        if token is None:
            raise WiringError("the chat template ends no turn with a special token, and the tokenizer has no eos")
        return token


@dataclass
class _Marks:
    """What stands behind each mark that was carried through Jinja."""

    hidden: dict[str, MediaPart | str]
    special: re.Pattern[str]

    def _hide(self, value: MediaPart | str) -> str:
        mark = f"@@{uuid4().hex}@@"
        self.hidden[mark] = value
        return mark

    def content(self, message: Message) -> str:
        """Return a message's text with parts, and special tokens that were typed, hidden behind marks."""
        texts = [
            self._hide(part)
            if isinstance(part, MediaPart)
            else self.special.sub(lambda match: self._hide(match.group()), part.text)
            for part in message.parts
        ]
        return "".join(texts)

    def pieces(self, rendered: str, *, is_learned: bool) -> list[Piece]:
        """Return the pieces of rendered text: its special tokens, and what the marks stand for."""
        pattern = "|".join([*map(re.escape, self.hidden), f"(?:{self.special.pattern})"])
        pieces: list[Piece] = []
        position = 0
        for match in re.finditer(pattern, rendered):
            if match.start() > position:
                pieces.append(TextPiece(rendered[position : match.start()], is_learned))
            pieces.append(self._piece(match.group(), is_learned))
            position = match.end()
        return [*pieces, TextPiece(rendered[position:], is_learned)]

    def _piece(self, found: str, is_learned: bool) -> Piece:
        value = self.hidden.get(found)
        if value is None:
            return SpecialPiece(found, is_learned)
        return MediaPiece(value, is_learned) if isinstance(value, MediaPart) else TextPiece(value, is_learned)
