"""From pieces to a sequence: text ids, and the spans of positions that media take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from polyjanus.core.decoding.decoder import Decoder
from polyjanus.core.errors import PolyjanusError, SequenceError
from polyjanus.core.modality import Modality
from polyjanus.core.modules import Adaptor, Codec, Encoder, Item, Kept, Layout, Prepared
from polyjanus.core.sequence.messages import MediaPart, Message, Pathway, Pathways, read_messages
from polyjanus.core.sequence.template import MediaPiece, Piece, SpecialPiece, Template, TextPiece
from polyjanus.core.sequence.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Vocabulary:
    """The ids of the text head: the tokenizer's, then the marks that the tokenizer lacks."""

    size: int
    """Rows of the text embedding; marks beyond the tokenizer are numbered from here."""
    begins: Mapping[str, int]
    """Id of `<begin_of_X>` per generated modality X."""
    ends: Mapping[str, int]
    """Id of `<end_of_X>`."""

    @property
    def num_marks(self) -> int:
        """Return how many marks the tokenizer lacks."""
        return sum(token >= self.size for token in [*self.begins.values(), *self.ends.values()])

    @classmethod
    def of(cls, tokenizer: TextTokenizer, size: int, generated: Sequence[str]) -> Vocabulary:
        """Return the vocabulary in which each generated modality has its two marks."""
        spare = size
        begins: dict[str, int] = {}
        ends: dict[str, int] = {}
        for name in generated:
            for table, word in ((begins, "begin"), (ends, "end")):
                known = tokenizer.id_of(f"<{word}_of_{name}>")
                table[name], spare = (spare, spare + 1) if known is None else (known, spare)
        return cls(size, begins, ends)


@dataclass(frozen=True)
class Span:
    """The run of positions [start, start + length) that one item takes, without its marks."""

    modality: str
    pathway: Pathway
    start: int
    length: int
    item: int
    is_learned: bool = False
    is_marked: bool = True
    """Whether a begin mark stands before it and an end mark behind."""

    @property
    def outer(self) -> tuple[int, int]:
        """Return the first position, marks included, and the one after the last."""
        return self.start - self.is_marked, self.start + self.length + self.is_marked


@dataclass
class TokenSequence:
    """One conversation as ids (N,), which of them are learned as text, and the spans of its items."""

    ids: list[int] = field(default_factory=list[int])
    learned: list[bool] = field(default_factory=list[bool])
    spans: list[Span] = field(default_factory=list[Span])
    items: list[Item] = field(default_factory=list[Item])
    dropped: list[str] = field(default_factory=list[str])

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self.ids)

    def add(self, ids: Sequence[int], learned: Sequence[bool]) -> None:
        """Append text positions."""
        self.ids.extend(ids)
        self.learned.extend(learned)


@dataclass(frozen=True)
class Understanding:
    """The parts that say how many positions an understood item takes."""

    encoder: Encoder
    adaptor: Adaptor

    def prepare(self, media: Any) -> tuple[Prepared, int]:
        """Return the tensors of one medium and the number of its positions."""
        prepared = self.encoder.prepare(media)
        return prepared, self.adaptor.num_tokens(*self.encoder.num_tokens(prepared))[0]

    def length(self, kept: Kept) -> int:
        """Return the number of positions that kept features take."""
        return self.adaptor.num_tokens(kept.values.shape[0], kept.grid)[0]


@dataclass(frozen=True)
class Generation:
    """The parts that say how many positions a generated item takes."""

    codec: Codec
    layout: Layout

    def prepare(self, media: Any) -> tuple[Prepared, int]:
        """Return the tensors of one medium and the number of its positions."""
        prepared = self.codec.prepare(media)
        return prepared, self.layout.num_steps(self.codec.num_codes(prepared))

    def length(self, kept: Kept) -> int:
        """Return the number of positions that kept codes take."""
        return self.layout.num_steps(kept.values.shape[0])


Load = Callable[..., Any]
"""From modality, source, start and duration to a medium."""


class Keeper(Protocol):
    """Whoever knows what components gave for items before."""

    def look(self, part: MediaPart, load: Load, *, is_prompt: bool) -> tuple[Kept | None, Any]:
        """Return what is kept for a part, if anything is, and its medium where it had to be loaded to find out."""
        ...


@dataclass(frozen=True)
class Compiler:
    """Everything that turns messages into sequences."""

    tokenizer: TextTokenizer
    template: Template
    vocabulary: Vocabulary
    modalities: Mapping[str, Modality[Any, Any]]
    understandings: Mapping[str, Understanding]
    generations: Mapping[str, Generation]
    decoder: Decoder | None = None
    """What loads files; without one they are loaded in this process."""
    keeper: Keeper | None = None
    """What knows codes and features that were computed before."""

    def compile(self, messages: Sequence[Mapping[str, Any]], *, is_prompt: bool = False) -> TokenSequence:
        """Return the sequence of messages; a prompt ends where the assistant begins to speak."""
        pathways = Pathways(frozenset(self.understandings), frozenset(self.generations))
        typed: list[Message] = read_messages(messages, self.modalities, pathways)
        sequence = TokenSequence()
        swallow_left = False
        for run in _runs(self.template.pieces(typed, is_prompt=is_prompt)):
            if isinstance(run, MediaPiece):
                self._add_media(sequence, run, is_prompt=is_prompt)
            elif isinstance(run, SpecialPiece):
                token = self.tokenizer.require(run.token, f"template's {run.token!r}")
                sequence.add([token], [run.is_learned])
                swallow_left = self.tokenizer.swallows(run.token)[1]
                continue
            else:
                self._add_text(sequence, run, swallow_left)
            swallow_left = False
        return sequence

    def _add_text(self, sequence: TokenSequence, run: _TextRun, swallow_left: bool) -> None:
        text = run.text.lstrip() if swallow_left else run.text
        shift = len(run.text) - len(text)
        if run.before_special is not None and self.tokenizer.swallows(run.before_special)[0]:
            text = text.rstrip()
        ids, starts = self.tokenizer.encode(text, is_first=not sequence.ids)
        sequence.add(ids, [run.is_learned_at(start + shift) for start in starts])

    def _add_media(self, sequence: TokenSequence, piece: MediaPiece, *, is_prompt: bool) -> None:
        part, name = piece.part, piece.part.modality
        item, length = self._prepare(part, is_prompt=is_prompt)
        is_marked = name in self.vocabulary.begins
        is_generated = part.pathway == "generate"
        if is_marked:
            sequence.add([self.vocabulary.begins[name]], [is_generated and piece.is_learned])
        learned = is_generated and piece.is_learned
        sequence.spans.append(Span(name, part.pathway, len(sequence), length, len(sequence.items), learned, is_marked))
        sequence.items.append(item)
        sequence.add([0] * length, [False] * length)
        if is_marked:
            sequence.add([self.vocabulary.ends[name]], [False])

    def load(self, modality: str, source: Any, start: float | None = None, duration: float | None = None) -> Any:
        """Return the medium of a source; a file is decoded in another process."""
        if self.decoder is None:
            return self.modalities[modality].load(source, start, duration)
        return self.decoder.load(modality, source, start, duration)

    def _prepare(self, part: MediaPart, *, is_prompt: bool) -> tuple[Item, int]:
        pathway = (self.generations if part.pathway == "generate" else self.understandings)[part.modality]
        media: Any = None
        try:
            if self.keeper is not None:
                kept, media = self.keeper.look(part, self.load, is_prompt=is_prompt)
                if kept is not None:
                    return kept, pathway.length(kept)
            if media is None:
                media = self.load(part.modality, part.source, part.start, part.duration)
            return pathway.prepare(media)
        except PolyjanusError:
            raise
        except Exception as error:
            raise SequenceError(
                f"{part.modality!r} could not be prepared: {type(error).__name__}: {error}",
                where=f"{part.source!r:.80}",
            ) from error


@dataclass(frozen=True)
class _TextRun:
    """All the text between two specials or parts, read as one string."""

    pieces: tuple[TextPiece, ...]
    before_special: str | None

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    def is_learned_at(self, character: int) -> bool:
        """Tell whether the piece that holds this character is learned."""
        end = 0
        for piece in self.pieces:
            end += len(piece.text)
            if character < end:
                return piece.is_learned
        return bool(self.pieces) and self.pieces[-1].is_learned


def _runs(pieces: Sequence[Piece]) -> Iterator[_TextRun | SpecialPiece | MediaPiece]:
    """Yield the pieces with neighbouring text joined."""
    texts: list[TextPiece] = []
    for piece in pieces:
        if isinstance(piece, TextPiece):
            texts.append(piece)
            continue
        if any(text.text for text in texts):
            yield _TextRun(tuple(texts), piece.token if isinstance(piece, SpecialPiece) else None)
        texts = []
        yield piece
    if any(text.text for text in texts):
        yield _TextRun(tuple(texts), None)


def truncate(sequence: TokenSequence, max_tokens: int) -> TokenSequence:
    """Return the sequence cut to `max_tokens`; an item that does not fit whole is dropped with its marks, and named."""
    if len(sequence) <= max_tokens:
        return sequence
    kept = [span for span in sequence.spans if span.outer[1] <= max_tokens]
    lost = [span for span in sequence.spans if span not in kept]
    end = min([max_tokens, *(span.outer[0] for span in lost)])
    named = [f"{span.modality} ({span.pathway}, {span.length} positions)" for span in lost]
    named.append(f"{len(sequence) - end} of {len(sequence)} positions")
    return TokenSequence(
        sequence.ids[:end], sequence.learned[:end], kept, sequence.items[: len(kept)], [*sequence.dropped, *named]
    )


def without_context(sequence: TokenSequence, span: Span, *, bos: int | None, pad: int) -> TokenSequence:
    """Return the sequence whose context before a span is only padding: what guidance is measured against.

    Everything before the span's opening mark, BOS excepted, becomes a pad that is attended to; the length stays.
    """
    opening = span.start - 1
    ids, learned = negative_ids(sequence.ids[:opening], bos=bos, pad=pad), [False] * opening
    kept = [other for other in sequence.spans if other.start >= span.start]
    return replace(sequence, ids=ids + sequence.ids[opening:], learned=learned + sequence.learned[opening:], spans=kept)


def negative_ids(ids: Sequence[int], *, bos: int | None, pad: int) -> list[int]:
    """Return the ids of the unconditional context: BOS kept where it stands first, all else padding."""
    keeps_bos = bool(ids) and bos is not None and ids[0] == bos
    return [ids[0] if keeps_bos and index == 0 else pad for index in range(len(ids))]
