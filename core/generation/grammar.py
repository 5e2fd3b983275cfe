"""What a row may write next: text, an opening mark, the frames of an item, or nothing more."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from polyjanus.core.errors import UsageError, suggest
from polyjanus.core.sequence.spans import Vocabulary

Frame = tuple[int, ...]
Input = tuple[str, Frame]
"""What is fed at one position: a modality and a frame of its codes; the frames of text are single ids."""
TEXT = "text"
DONE = "done"


@dataclass(frozen=True)
class Grammar:
    """The outputs that a caller allows: with text among them freely interleaved, else each forced once, in order."""

    allowed: tuple[str, ...]
    vocabulary: Vocabulary

    @classmethod
    def of(cls, output: Sequence[str], vocabulary: Vocabulary) -> Grammar:
        """Return the grammar of the outputs asked for; a UsageError names one that the pipeline cannot give."""
        known = [TEXT, *vocabulary.begins]
        for name in output:
            if name not in known:
                raise UsageError(f"no output {name!r} in this pipeline{suggest(name, known, noun='outputs')}")
        if not output:
            raise UsageError(f"no output asked for; there are {', '.join(known)}")
        return cls(tuple(output), vocabulary)

    @property
    def writes_text(self) -> bool:
        """Tell whether rows may write text."""
        return TEXT in self.allowed

    @property
    def media(self) -> tuple[str, ...]:
        """Return the modalities that may be generated."""
        return tuple(name for name in self.allowed if name != TEXT)


@dataclass
class Row:
    """One sequence being written.

    `inputs` are what has been decided and not yet fed; while there are any, nothing is sampled.
    """

    index: int
    grammar: Grammar
    length: int
    """Positions fed so far."""
    mode: str = TEXT
    inputs: deque[Input] = field(default_factory=deque[Input])
    frames: list[Frame] = field(default_factory=list[Frame])
    text_ids: list[int] = field(default_factory=list[int])
    told: int = 0
    """Text ids that are over and done with: all their characters were told."""
    shown: int = 0
    """Characters of the text of the ids after those that were told already."""
    draws: int = 0
    """Codes and tokens sampled so far: the row's own step, for its noise."""
    forced: deque[str] = field(default_factory=deque[str])
    is_guided: bool = False

    def start(self) -> None:
        """Decide what comes first: text, or the first item that is forced."""
        if not self.grammar.writes_text:
            self.forced.extend(self.grammar.media)
            self.open_next()

    @property
    def is_done(self) -> bool:
        """Tell whether the row has ended."""
        return self.mode == DONE

    @property
    def has_input(self) -> bool:
        """Tell whether something waits to be fed."""
        return bool(self.inputs)

    def take(self) -> Input:
        """Return the next input, which is fed now."""
        self.length += 1
        return self.inputs.popleft()

    def _write(self, token: int) -> None:
        self.inputs.append((TEXT, (token,)))

    def open(self, modality: str) -> None:
        """Begin an item: its opening mark is fed next."""
        self.mode = modality
        self._write(self.grammar.vocabulary.begins[modality])

    @property
    def is_opening(self) -> bool:
        """Tell whether the opening mark of the row's item is fed next."""
        begins = self.grammar.vocabulary.begins
        return self.mode in begins and self.inputs[0] == (TEXT, (begins[self.mode],))

    def open_next(self) -> None:
        """Begin the next forced item, or end."""
        if self.forced:
            self.open(self.forced.popleft())
        else:
            self.mode = DONE
            self.inputs.clear()

    def add_token(self, token: int, ends: frozenset[int]) -> None:
        """Take a sampled text id."""
        self.draws += 1
        opened = next((name for name in self.grammar.media if self.grammar.vocabulary.begins[name] == token), None)
        if token in ends:
            self.mode = DONE
        elif opened is not None:
            self.open(opened)
        else:
            self.text_ids.append(token)
            self._write(token)

    def add_frame(self, frame: Frame, *, is_last: bool) -> None:
        """Take a sampled frame; after the last one the closing mark is fed, and text or the next item follows."""
        self.draws += 1
        self.frames.append(frame)
        self.inputs.append((self.mode, frame))
        if not is_last:
            return
        self._write(self.grammar.vocabulary.ends[self.mode])
        if self.grammar.writes_text:
            self.mode = TEXT
        else:
            self.open_next()
