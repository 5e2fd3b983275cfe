"""Where items go, what is learned, and what truncation and guidance leave."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.errors import SequenceError
from polyjanus.core.sequence.messages import readable
from polyjanus.core.sequence.spans import Span, TokenSequence, negative_ids, truncate, without_context

CODES = 4  # 16 pixels, 8 a code side
PATCHES = 4


@pytest.fixture(scope="module", params=["janus", "chat"])
def marked(request: Any, make_tiny: Any, tokenizer_of: Any, tmp_path_factory: Any) -> Any:
    """A pipeline whose tokenizer has the marks."""
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    tokenizer_of("byte_level").save(folder)
    return make_tiny(
        f"text.tokenizer={{type: pretrained, pretrained: {folder}}}", f"template={{type: {request.param}}}"
    )


def _said(pipeline: Any, sequence: TokenSequence) -> list[str]:
    """Return the learned text ids, runs joined, as a reader sees them."""
    runs: list[list[int]] = []
    previous = False
    for token, is_learned in zip(sequence.ids, sequence.learned, strict=True):
        if is_learned:
            runs = runs if previous else [*runs, []]
            runs[-1].append(token)
        previous = is_learned
    size = pipeline.compiler.vocabulary.size
    names = {token: f"[begin {name}]" for name, token in pipeline.compiler.vocabulary.begins.items()}
    end = pipeline.engine.end_of_turn
    shown: list[str] = []
    for run in runs:
        text = ""
        for token in run:
            text += names.get(token) or ("[end]" if token == end else "")
            if token not in names and token != end and token < size:
                text += pipeline.tokenizer.library.decode([token])
        shown.append(text)
    return shown


def _conversation(picture: Any) -> list[dict[str, Any]]:
    image = {"type": "image", "image": picture}
    return [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": ["compare", image, image, "and this", image]},
        {"role": "assistant", "content": ["here", image, "and", image, "done"]},
        {"role": "user", "content": [{**image, "pathway": "generate"}, "again"]},
        {"role": "assistant", "content": [{**image, "pathway": "understand"}, image]},
    ]


@pytest.mark.parametrize("has_marks", [True, False])
def test_spans_of_a_long_conversation_are_exact(marked: Any, tiny: Any, picture: Any, has_marks: bool) -> None:
    pipeline = marked if has_marks else tiny
    sequence = pipeline.compile(_conversation(picture), is_prompt=False)
    vocabulary = pipeline.compiler.vocabulary
    begin, end = vocabulary.begins["image"], vocabulary.ends["image"]
    assert (begin < vocabulary.size) == has_marks
    kinds = [span.pathway for span in sequence.spans]
    assert kinds == ["understand"] * 3 + ["generate"] * 2 + ["generate"] + ["understand", "generate"]
    assert [span.is_learned for span in sequence.spans] == [False] * 3 + [True] * 2 + [False] * 2 + [True]
    assert [span.item for span in sequence.spans] == list(range(8)) == list(range(len(sequence.items)))
    for span in sequence.spans:
        assert span.length == (PATCHES if span.pathway == "understand" else CODES)
        assert sequence.ids[span.start - 1] == begin
        assert sequence.ids[span.start + span.length] == end
        assert sequence.learned[span.start - 1] == span.is_learned
        assert not any(sequence.learned[span.start : span.start + span.length + 1])
    assert sequence.ids.count(begin) == sequence.ids.count(end) == 8
    assert len(sequence.ids) == len(sequence.learned)


def test_the_assistant_is_learned_up_to_its_end_of_turn(tiny: Any, picture: Any) -> None:
    sequence = tiny.compile(_conversation(picture), is_prompt=False)
    assert _said(tiny, sequence) == [" here[begin image]", "and[begin image]", "done[end]", "[begin image]", "[end]"]


def test_a_chat_template_learns_the_same(marked: Any, picture: Any) -> None:
    sequence = marked.compile(_conversation(picture), is_prompt=False)
    said = [text.strip() for text in _said(marked, sequence)]
    assert said == ["here[begin image]", "and[begin image]", "done[end]", "[begin image]", "[end]"]


def test_raw_text_is_learned_whole(tiny: Any, picture: Any) -> None:
    content = ["a", {"type": "image", "image": picture, "pathway": "understand"}, "b"]
    sequence = tiny.compile([{"role": "raw", "content": content}], is_prompt=False)
    assert _said(tiny, sequence) == ["a", "b[end]"]


def test_a_prompt_ends_where_the_assistant_begins(tiny: Any) -> None:
    prompt, whole = tiny.compile("hello"), None
    whole = tiny.compile(
        [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}], is_prompt=False
    )
    assert whole.ids[: len(prompt)] == prompt.ids
    assert not any(prompt.learned)
    assert whole.learned[len(prompt)]


def test_a_medium_that_cannot_be_prepared_is_named(tiny: Any) -> None:
    with pytest.raises(Exception, match=r"nowhere\.png.*does not exist"):
        tiny.compile([{"type": "image", "path": "nowhere.png"}])


def test_a_codec_that_raises_is_named_with_its_source(make_tiny: Any, picture: Any, monkeypatch: Any) -> None:
    pipeline = make_tiny()
    monkeypatch.setattr(pipeline.model.part("image.understand.encoder"), "prepare", lambda media: 1 / 0, raising=True)
    with pytest.raises(SequenceError, match="'image' could not be prepared: ZeroDivisionError"):
        pipeline.compile([picture])


# truncation and guidance


def _hand_made() -> TokenSequence:
    """1 [ 5 5 ] 2 3 [ 5 5 ] 4, marks 10 and 11."""
    ids = [1, 10, 0, 0, 11, 2, 3, 10, 0, 0, 11, 4]
    spans = [Span("image", "understand", 2, 2, 0), Span("image", "generate", 8, 2, 1, is_learned=True)]
    return TokenSequence(ids, [False] * 7 + [True] + [False] * 3 + [True], spans, [{}, {}], [])


@pytest.mark.parametrize(
    ("room", "length", "kept"),
    [(12, 12, 2), (11, 11, 2), (10, 7, 1), (8, 7, 1), (7, 7, 1), (6, 6, 1), (5, 5, 1), (4, 1, 0), (2, 1, 0), (1, 1, 0)],
)
def test_truncation_drops_whole_items_with_their_marks(room: int, length: int, kept: int) -> None:
    cut = truncate(_hand_made(), room)
    assert (len(cut), len(cut.spans), len(cut.items), len(cut.learned)) == (length, kept, kept, length)
    assert cut.ids == _hand_made().ids[:length]
    assert cut.ids.count(10) == cut.ids.count(11) == kept


def test_truncation_says_what_it_dropped() -> None:
    assert truncate(_hand_made(), 9).dropped == ["image (generate, 2 positions)", "5 of 12 positions"]
    assert truncate(_hand_made(), 12).dropped == []
    assert truncate(_hand_made(), 11).dropped == ["1 of 12 positions"]


def test_truncation_of_an_item_without_marks_cuts_at_its_start() -> None:
    sequence = TokenSequence([1, 2, 0, 0, 3], [True] * 5, [Span("eeg", "understand", 2, 2, 0, is_marked=False)], [{}])
    assert truncate(sequence, 4).spans == sequence.spans
    assert truncate(sequence, 3).ids == [1, 2]


def test_without_context_keeps_bos_mark_length_and_the_item() -> None:
    whole = _hand_made()
    bare = without_context(whole, whole.spans[1], bos=1, pad=9)
    assert bare.ids == [1, 9, 9, 9, 9, 9, 9, 10, 0, 0, 11, 4]
    assert bare.spans == [whole.spans[1]]
    assert bare.learned == whole.learned
    assert bare.items[bare.spans[0].item] is whole.items[1]
    assert whole.ids[5] == 2  # the original is left alone


def test_what_only_the_context_says_is_not_learned_without_it() -> None:
    whole = _hand_made()
    whole.learned[:7] = [True] * 7
    assert without_context(whole, whole.spans[1], bos=1, pad=9).learned[:7] == [False] * 7


def test_negative_ids_keep_a_bos_that_stands_first_and_the_length() -> None:
    assert negative_ids([1, 2, 3], bos=1, pad=9) == [1, 9, 9]
    assert negative_ids([2, 1, 3], bos=1, pad=9) == [9, 9, 9]
    assert negative_ids([2, 3], bos=None, pad=9) == [9, 9]
    assert negative_ids([], bos=1, pad=9) == []


def test_readable_text_is_not_changed() -> None:
    assert readable("añ🙂\x00") == "añ🙂\x00"
    assert readable("\ud83d\ude42") == "🙂"


def test_a_later_turn_may_be_written_in_another_way(tokenizer_of: Callable[..., Any], compiler_of: Any) -> None:
    """Qwen 3 writes an empty thought before the last reply only."""
    chat = (
        "{% for m in messages %}<|User|>{{ m['role'] }}\n"
        "{% if m['role'] == 'assistant' and loop.last %}THINK {% endif %}{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|User|>assistant\n{% endif %}"
    )
    tokenizer = tokenizer_of("byte_level", "keep", chat)
    messages = [{"role": role, "content": word} for role, word in zip(["user", "assistant"] * 2, "abcd", strict=True)]
    sequence = compiler_of(tokenizer, "chat").compile(messages)
    expected = tokenizer.library.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert sequence.ids == expected
    learned = [i for i, is_learned in zip(sequence.ids, sequence.learned, strict=True) if is_learned]
    assert tokenizer.library.decode(learned) == "b<|end|>THINK d<|end|>"


@pytest.mark.parametrize(
    ("chat", "match"),
    [
        ("{{ messages[-1]['content'] }}<|end|>", r"leaves out.*the user says"),
        (
            "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
            "{% for m in messages %}{{ m['content'] }}<|end|>{% endfor %}",
            "refuses this conversation: no system here",
        ),
    ],
)
def test_a_template_that_loses_or_refuses_messages_is_named(
    tokenizer_of: Any, compiler_of: Any, chat: str, match: str
) -> None:
    compiler = compiler_of(tokenizer_of("byte_level", "keep", chat), "chat")
    first = "system" if "refuses" in match else "user"
    with pytest.raises(SequenceError, match=match):
        compiler.compile([{"role": first, "content": "x"}, {"role": "user", "content": "y"}])


def test_white_space_around_parts_and_words_is_kept_or_trimmed_as_the_template_does(
    tokenizer_of: Any, compiler_of: Any
) -> None:
    tokenizer = tokenizer_of("byte_level")
    messages = [{"role": "user", "content": [{"type": "text", "text": text} for text in (" \n", " a", "b \n", " ")]}]
    flat = [{"role": "user", "content": " \n ab \n "}]
    expected = tokenizer.library.apply_chat_template(flat, tokenize=True, return_dict=False)
    assert compiler_of(tokenizer, "chat").compile(messages).ids == expected
