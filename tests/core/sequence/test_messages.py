"""Messages: typed parts, their pathways, and faults that say where they are."""

from typing import Any

import pytest

from polyjanus.core.errors import SequenceError
from polyjanus.core.sequence.messages import MediaPart, Pathways, TextPart, read_messages

BOTH = Pathways(frozenset({"image"}), frozenset({"image"}))


def _read(tiny: Any, content: Any, role: str = "user", pathways: Pathways = BOTH) -> Any:
    return read_messages([{"role": role, "content": content}], tiny.compiler.modalities, pathways)[0].parts


@pytest.mark.parametrize(
    ("role", "asked", "pathway"),
    [
        ("user", None, "understand"),
        ("system", None, "understand"),
        ("raw", None, "understand"),
        ("assistant", None, "generate"),
        ("user", "generate", "generate"),
        ("assistant", "understand", "understand"),
    ],
)
def test_who_sends_a_part_says_how_it_is_read(tiny: Any, role: str, asked: str | None, pathway: str) -> None:
    part = {"type": "image", "path": "a.png"} | ({"pathway": asked} if asked else {})
    assert _read(tiny, [part], role) == (MediaPart("image", pathway, "a.png"),)  # type: ignore[arg-type]


def test_text_comes_as_a_string_or_as_parts(tiny: Any) -> None:
    assert _read(tiny, "a") == _read(tiny, ["a"]) == _read(tiny, [{"type": "text", "text": "a"}]) == (TextPart("a"),)


def test_the_part_of_a_signal_is_kept(tiny: Any) -> None:
    part = {"type": "image", "path": "a.png", "start": 1.5, "duration": 2.0}
    assert _read(tiny, [part])[0] == MediaPart("image", "understand", "a.png", 1.5, 2.0)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([{"type": "imgae", "path": "x"}], r"messages\[0\]\.content\[0\]: no modality 'imgae'.*did you mean 'image'"),
        (["a", 3], r"messages\[0\]\.content\[1\]: a part is a mapping with a 'type', not 3"),
        ([{"path": "x"}], "a part is a mapping with a 'type'"),
        ([{"type": "text"}], "a text part has 'type' and 'text' alone"),
        ([{"type": "text", "text": 3}], "a text part has 'type' and 'text' alone"),
        ([{"type": "image"}], r"needs exactly one of 'image', 'path', has \[\]"),
        ([{"type": "image", "path": "a", "image": "b"}], "needs exactly one of"),
        ([{"type": "image", "pth": "a"}], "unknown key 'pth'; did you mean 'path'"),
        ([{"type": "image", "path": "a", "pathway": "generat"}], "no pathway 'generat'; did you mean 'generate'"),
        (7, "content is a int, not text or a list of parts"),
    ],
)
def test_faults_say_where_they_are(tiny: Any, content: Any, match: str) -> None:
    with pytest.raises(SequenceError, match=match):
        _read(tiny, content)


def test_an_unknown_role_or_key_is_refused(tiny: Any) -> None:
    with pytest.raises(SequenceError, match="role 'usr'; did you mean 'user'"):
        _read(tiny, "a", "usr")
    with pytest.raises(SequenceError, match=r"messages\[0\]: has the keys \['content', 'role', 'text'\]"):
        read_messages([{"role": "user", "content": "a", "text": "b"}], tiny.compiler.modalities, BOTH)


def test_a_pathway_that_is_not_there_names_what_to_add(tiny: Any) -> None:
    with pytest.raises(
        SequenceError, match=r"'image' cannot be generated(.|\n)*'generate' block under modalities\.image"
    ):
        _read(tiny, [{"type": "image", "path": "a"}], "assistant", Pathways(frozenset({"image"}), frozenset()))
