"""Conversations in LLaVA's and ShareGPT's form: tags become parts, in order, and their number must be right."""

import json
from typing import Any

import pytest

from polyjanus.core.errors import DataError

RECORD = {
    "id": "r1",
    "image": "a/1.png",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is this?"},
        {"from": "gpt", "value": "A cat."},
        {"from": "human", "value": "Sure?"},
        {"from": "gpt", "value": "Yes."},
    ],
}


def _record(text: str, **fields: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": text}, {"from": "gpt", "value": "ok"}]
    return {"id": 7, "conversations": turns, **fields}


def test_a_tag_becomes_the_records_picture_and_the_line_break_beside_it_goes(
    make: Any, write: Any, said: Any, tmp_path: Any
) -> None:
    write("vqa.json", [RECORD])
    source = make("llava", path="./vqa.json", image_root="coco")
    part = {"type": "image", "path": str(tmp_path / "coco/a/1.png")}
    assert said(source, 0) == [[part, "What is this?"], ["A cat."], ["Sure?"], ["Yes."]]
    roles = [message["role"] for message in source.row(0, None)["messages"]]
    assert roles == ["user", "assistant"] * 2


def test_several_pictures_are_placed_in_order_whichever_field_holds_them(make: Any, write: Any, said: Any) -> None:
    write("x.json", [_record("<image> and <image>?", images=["1.png", "2.png"]), _record("<image>", image=["3.png"])])
    source = make("llava", path="x.json")
    content = said(source, 0)[0]
    assert [part if isinstance(part, str) else part["path"][-5:] for part in content] == [
        "1.png",
        " and ",
        "2.png",
        "?",
    ]
    assert said(source, 1)[0][0]["path"].endswith("3.png")


@pytest.mark.parametrize(
    ("record", "match"),
    [
        (
            _record("<image>", image=["1.png", "2.png"]),
            r"record 7: field 'image' has 2 items but the text has 1 <image>",
        ),
        (_record("no tag", image="1.png"), r"record 7: field 'image' has 1 item but the text has 0 <image>"),
        (_record("<image><image>", images=["1.png"]), r"field 'images' has 1 item but the text has 2"),
        (_record("<image>"), r"field 'image' has 0 items but the text has 1"),
        (_record("<image>", image=[3]), r"field 'image' holds 3, not a path"),
        ({"id": 7, "text": "x"}, r"record 7: has the fields \['id', 'text'\]; it needs 'conversations' or 'messages'"),
        ({"id": 7, "conversations": []}, "field 'conversations' is no list of turns"),
        ({"id": 7, "conversations": [{"from": "bot", "value": "x"}]}, r"'conversations\[0\]' is said by 'bot'"),
        ({"id": 7, "conversations": [{"from": "human"}]}, r"'conversations\[0\]' has no text"),
        ([1], "is a list, not an object"),
    ],
)
def test_d6_a_fault_names_record_and_field(make: Any, write: Any, said: Any, record: Any, match: str) -> None:
    write("x.json", [RECORD, record])
    source = make("llava", path="x.json")
    with pytest.raises(DataError, match=match):
        said(source, 1)


def test_other_tags_stand_for_other_modalities(make: Any, write: Any, said: Any) -> None:
    record = _record("<sound> or <image>?", sounds=[{"path": "a.wav", "start": 1.0}], image="1.png")
    write("x.json", [record])
    content = said(make("llava", path="x.json", tags={"image": "camera", "sound": "audio"}), 0)[0]
    assert [part["type"] for part in content if isinstance(part, dict)] == ["audio", "camera"]
    assert content[0]["start"] == 1.0 and content[0]["path"].endswith("/a.wav")
    assert said(make("llava", path="x.json"), 0)[0][0] == "<sound> or "  # a tag that nobody named is text


def test_sharegpt_has_roles_and_contents_and_a_system_turn(make: Any, write: Any, said: Any) -> None:
    turns = [{"role": "user", "content": "hi <image>"}, {"role": "assistant", "content": "hello"}]
    write(
        "x.jsonl", "\n".join(json.dumps({"system": "Be kind.", "messages": turns, "images": ["1.png"]}) for _ in "ab")
    )
    source = make("sharegpt", path="x.jsonl")
    assert len(source) == 2
    row = source.row(1, None)["messages"]
    assert [(message["role"], message["content"][0]) for message in row] == [
        *(("system", "Be kind."), ("user", "hi "), ("assistant", "hello"))
    ]


def test_records_of_a_list_are_found_wherever_they_stand_and_name_their_lines(make: Any, write: Any, said: Any) -> None:
    """Brackets and quotes inside texts are no structure; lines are those on which a record begins."""
    odd = _record('a ] } " \\" [ { \\ \u2028 text')
    text = "\ufeff [\n" + json.dumps(odd, indent=1) + "\n,\n\n" + json.dumps(RECORD) + ", " + json.dumps(odd) + "\n]\n"
    write("x.json", text)
    source = make("llava", path="x.json")
    assert len(source) == 3
    assert said(source, 0) == said(source, 2) == [[odd["conversations"][0]["value"]], ["ok"]]
    assert source.place(0).endswith("x.json:2")
    line = text.count("\n", 0, text.index(json.dumps(RECORD))) + 1
    assert source.place(1).endswith(f"x.json:{line}") and source.place(2).endswith(f"x.json:{line}")


@pytest.mark.parametrize("text", ['[{"a": 1}, {"b": ', '[{"a": "x', '["a"]'])
def test_a_list_that_is_cut_off_or_holds_no_objects_is_said_at_once(make: Any, write: Any, text: str) -> None:
    write("x.json", text)
    with pytest.raises(DataError, match=r"x\.json is (cut off|a list of texts)"):
        make("llava", path="x.json")
