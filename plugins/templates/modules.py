"""How conversations are written down: Janus' two roles, or whatever a tokenizer's Jinja template says."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

from polyjanus.core.errors import SequenceError, WiringError
from polyjanus.core.sequence.messages import MediaPart, Message, TextPart
from polyjanus.core.sequence.template import (
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

    def __init__(
        self,
        tokenizer: TextTokenizer,
        *,
        user: str = "<|User|>",
        assistant: str = "<|Assistant|>",
        system: str = "",
    ) -> None:
        if tokenizer.eos is None:
            raise WiringError("the tokenizer has no end-of-text token, which ends the assistant's turn")
        self.tokenizer = tokenizer
        self.roles = {"user": user, "assistant": assistant}
        self.system = system

    @property
    def end_of_turn(self) -> str:
        """Return the tokenizer's end of text."""
        return str(self.tokenizer.eos)

    def pieces(self, messages: Sequence[Message], *, is_prompt: bool) -> list[Piece]:
        """Return the pieces of a conversation."""
        pieces: list[Piece] = [SpecialPiece(self.tokenizer.bos)] if self.tokenizer.bos else []
        for message in [*self._default_system(messages), *messages]:
            pieces += self._message(message)
        if is_prompt:
            pieces += [*self._role("assistant"), TextPiece(":")]
        return pieces

    def _default_system(self, messages: Sequence[Message]) -> list[Message]:
        """Return what is said first where the conversation is about media and says nothing itself."""
        has_media = any(isinstance(part, MediaPart) for message in messages for part in message.parts)
        is_needed = self.system and has_media and not any(message.role in ("system", "raw") for message in messages)
        return [Message("system", (TextPart(self.system),))] if is_needed else []

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

    What each message says is carried through Jinja as one mark that nobody can guess, white space around it excepted:
    the template trims as it always does, only the special tokens that it places itself are special, and each turn is
    found again in the whole conversation, even where a template writes earlier turns in another way than the last.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        if tokenizer.chat_template is None:
            raise WiringError("the tokenizer has no chat template", hint="write template: janus, or leave it out")
        self.tokenizer = tokenizer
        self._special = re.compile("|".join(re.escape(token) for token in tokenizer.special_tokens) or r"(?!)")
        self._end = self._find_end()

    @property
    def end_of_turn(self) -> str:
        """Return the special token that the template writes after what the assistant says."""
        return self._end

    def pieces(self, messages: Sequence[Message], *, is_prompt: bool) -> list[Piece]:
        """Return the pieces of a conversation."""
        if any(message.role == "raw" for message in messages):
            return self._raw(messages)
        said = [_Said.of(message) for message in messages]
        chat = [{"role": entry.role, "content": entry.content} for entry in said]
        rendered = self._render(chat, is_prompt=is_prompt)
        pieces: list[Piece] = []
        done = 0
        for index, entry in enumerate(said):
            place = rendered.find(entry.mark, done)
            if place < 0:
                raise SequenceError(
                    f"the tokenizer's chat template leaves out or moves what the {entry.role} says",
                    where=f"messages[{index}]",
                    hint="choose another template, such as template: janus",
                )
            is_learned = entry.role == "assistant"
            first = self._start_of_reply(chat[:index], rendered, done, place) if is_learned else place
            pieces += self._read(rendered[done:first], is_learned=False)
            pieces += self._read(rendered[first:place], is_learned=is_learned)
            pieces += part_pieces(entry.core, is_learned=is_learned)
            done = place + len(entry.mark)
            if is_learned:
                end = self._end_of_reply(rendered, done, said[index + 1 :])
                pieces += self._read(rendered[done:end], is_learned=True)
                done = end
        return [*pieces, *self._read(rendered[done:], is_learned=False)]

    def _start_of_reply(self, before: Sequence[dict[str, str]], rendered: str, done: int, place: int) -> int:
        """Return where the template's prompt for the reply at `place` ends: from there on the assistant speaks."""
        opening = self._render(before, is_prompt=True)[len(self._render(before, is_prompt=False)) :]
        found = rendered.rfind(opening, done, place) if opening else -1
        return place if found < 0 else found + len(opening)

    def _end_of_reply(self, rendered: str, done: int, later: Sequence[_Said]) -> int:
        """Return where the turn that has been read up to `done` is over, its end token included."""
        limits = [rendered.find(entry.mark, done) for entry in later[:1]]
        limit = next((place for place in limits if place >= 0), len(rendered))
        found = rendered.find(self._end, done, limit)
        return done if found < 0 else found + len(self._end)

    def _raw(self, messages: Sequence[Message]) -> list[Piece]:
        pieces: list[Piece] = [SpecialPiece(self.tokenizer.bos)] if self.tokenizer.bos else []
        for message in messages:
            pieces += part_pieces(message, is_learned=True)
        return [*pieces, SpecialPiece(str(self.tokenizer.eos), is_learned=True)]

    def _render(self, chat: Sequence[dict[str, str]], *, is_prompt: bool) -> str:
        if not chat:
            return ""
        try:
            rendered = self.tokenizer.library.apply_chat_template(
                list(chat), tokenize=False, add_generation_prompt=is_prompt
            )
        except Exception as error:  # whatever Jinja makes of a template that refuses the conversation
            raise SequenceError(
                f"the tokenizer's chat template refuses this conversation: {error}",
                hint="mind the order of roles, or choose another template, such as template: janus",
            ) from error
        return str(rendered)

    def _read(self, rendered: str, *, is_learned: bool) -> list[Piece]:
        """Return the pieces of what the template itself wrote: its text and its special tokens."""
        pieces: list[Piece] = []
        position = 0
        for match in self._special.finditer(rendered):
            pieces += [TextPiece(rendered[position : match.start()], is_learned), SpecialPiece(match[0], is_learned)]
            position = match.end()
        return [*pieces, TextPiece(rendered[position:], is_learned)]

    def _find_end(self) -> str:
        """Return the first special token after an assistant's words in a short conversation."""
        words = f"w{uuid4().hex}"
        chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": words}]
        after = self._render(chat, is_prompt=False).split(words)[-1]
        found = self._special.search(after)
        token = found.group() if found else self.tokenizer.eos
        if token is None:
            raise WiringError("the chat template ends no turn with a special token, and the tokenizer has no eos")
        return token


@dataclass(frozen=True)
class _Said:
    """What one message says: the mark that stands for it, the white space around it, and its parts without that."""

    role: str
    mark: str
    content: str
    core: Message

    @classmethod
    def of(cls, message: Message) -> _Said:
        """Return a message with a mark in place of all but the white space around it."""
        parts = deque(part for part in message.parts if isinstance(part, MediaPart) or part.text)
        before, after = "", ""
        while parts and isinstance(first := parts[0], TextPart) and first.text != (rest := first.text.lstrip()):
            before += first.text[: len(first.text) - len(rest)]
            parts.popleft()
            if rest:
                parts.appendleft(TextPart(rest))
        while parts and isinstance(last := parts[-1], TextPart) and last.text != (rest := last.text.rstrip()):
            after = last.text[len(rest) :] + after
            parts.pop()
            if rest:
                parts.append(TextPart(rest))
        mark = f"@@{uuid4().hex}@@"
        return cls(message.role, mark, before + mark + after, Message(message.role, tuple(parts)))
