"""Templates: messages to text, special tokens and parts, in order; knows no ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from polyjanus.core.sequence.messages import MediaPart, Message


@dataclass(frozen=True)
class TextPiece:
    """Text that is read together with its neighbours up to the next special token or part."""

    text: str
    is_learned: bool = False


@dataclass(frozen=True)
class SpecialPiece:
    """A special token that the template places."""

    token: str
    is_learned: bool = False


@dataclass(frozen=True)
class MediaPiece:
    """A part that becomes a span of positions."""

    part: MediaPart
    is_learned: bool = False


Piece = TextPiece | SpecialPiece | MediaPiece


class Template(ABC):
    """How a conversation is written down for the model."""

    @abstractmethod
    def pieces(self, messages: Sequence[Message], *, is_prompt: bool) -> list[Piece]:
        """Return the pieces of a conversation.

        What the assistant says is learned, its end of turn included. A prompt ends where the assistant begins to speak.
        """

    @property
    @abstractmethod
    def end_of_turn(self) -> str:
        """Return the special token with which the assistant ends its turn."""


def part_pieces(message: Message, *, is_learned: bool) -> list[Piece]:
    """Return the pieces of one message's parts."""
    return [
        MediaPiece(part, is_learned) if isinstance(part, MediaPart) else TextPiece(part.text, is_learned)
        for part in message.parts
    ]
