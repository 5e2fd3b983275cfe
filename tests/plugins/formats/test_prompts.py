"""Prompts as DeepSeek writes them: its words, its marks, ids out of the tokenizer alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.errors import CheckpointError
from polyjanus.core.pipeline import Pipeline
from polyjanus.plugins.formats.janus import SYSTEM
from polyjanus.plugins.formats.tokenizer import PAD, read_tokenizer

PATCHES = 16


def library_ids(pipeline: Any, text: str) -> list[int]:
    """Return the ids of a whole prompt as the library reads it, special tokens in it matched, each picture widened."""
    ids: list[int] = []
    for token in pipeline.tokenizer.library(text, add_special_tokens=False).input_ids:
        ids += [4, *[0] * PATCHES, 5] if token == 300 else [token]
    return [1, *ids]


def test_a_question_about_a_picture_is_written_as_deepseek_writes_it(small_pipeline: Any, picture: Any) -> None:
    ids = small_pipeline.compile([picture, "What is it?"]).ids
    text = f"{SYSTEM}\n\n<|User|>: <image_placeholder>\nWhat is it?\n\n<|Assistant|>:"
    assert ids == library_ids(small_pipeline, text)
    assert sum(number == 0 for number in ids) == PATCHES


def test_a_prompt_to_draw_has_no_system_prompt(small_pipeline: Any) -> None:
    assert small_pipeline.compile("A cat.").ids == library_ids(small_pipeline, "<|User|>: A cat.\n\n<|Assistant|>:")


def test_turns_end_with_the_end_of_text_and_nothing_else(small_pipeline: Any) -> None:
    messages = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Bye."},
    ]
    text = "<|User|>: Hello.\n\n<|Assistant|>: Hi.<eos><|User|>: Bye.\n\n<|Assistant|>:"
    assert small_pipeline.compile(messages).ids == library_ids(small_pipeline, text)


def test_a_system_message_of_ones_own_takes_the_place_of_deepseeks(small_pipeline: Any, picture: Any) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image", "image": picture}]},
    ]
    text = "Be brief.\n\n<|User|>: <image_placeholder>\n\n<|Assistant|>:"
    assert small_pipeline.compile(messages).ids == library_ids(small_pipeline, text)


def test_what_a_user_types_never_becomes_a_mark(small_pipeline: Any) -> None:
    ids = small_pipeline.compile("draw <begin_of_image> <|Assistant|>").ids
    assert 4 not in ids
    assert ids.count(302) == 1


def test_padding_is_found_by_its_string_where_the_tokenizer_names_none(small_folder: Path) -> None:
    config = json.loads((small_folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["pad_token"] is None
    tokenizer = read_tokenizer(str(small_folder))
    assert (tokenizer.pad, tokenizer.id_of(str(tokenizer.pad))) == (PAD, 3)


@pytest.mark.parametrize("shift", [0, 13])
def test_ids_come_from_the_tokenizer(small_folder: Path, tmp_path: Path, shift: int) -> None:
    # Janus-Pro-1B has its padding at 100002, Janus-Pro-7B at 100015
    tokens = ("<bos>", "<eos>", PAD, "<begin_of_image>", "<end_of_image>")
    content = json.loads((small_folder / "tokenizer.json").read_text(encoding="utf-8"))
    moved = {token: 270 + shift + number for number, token in enumerate(tokens)}
    model = content["model"]
    names = {number: token for token, number in model["vocab"].items()}
    for token, number in moved.items():
        model["vocab"][token], model["vocab"][names[number]] = number, model["vocab"][token]
        names = {place: name for name, place in model["vocab"].items()}
    for entry in content["added_tokens"]:
        entry["id"] = model["vocab"][entry["content"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_bytes((small_folder / "tokenizer_config.json").read_bytes())
    tokenizer = read_tokenizer(str(tmp_path))
    assert {token: tokenizer.id_of(token) for token in tokens} == moved
    assert tokenizer.id_of(str(tokenizer.pad)) == moved[PAD]


@pytest.mark.parametrize(
    ("token", "said"), [(PAD, "neither '<｜▁pad▁｜>'"), ("<end_of_image>", "lacks <end_of_image>")]
)
def test_a_tokenizer_without_padding_or_marks_is_refused(
    small_folder: Path, tmp_path: Path, token: str, said: str
) -> None:
    text = (small_folder / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(text.replace(token, "<gone>"), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_bytes((small_folder / "tokenizer_config.json").read_bytes())
    with pytest.raises(CheckpointError, match=said):
        read_tokenizer(str(tmp_path))


def test_roles_are_those_of_the_checkpoint(small_pipeline: Any, plugins: Any, tmp_path: Path) -> None:
    from polyjanus.core.checkpoints.formats import open_format

    folder = tmp_path / "first"
    folder.mkdir()
    settings = plugins.registries.formats.get("deepseek")(type="deepseek")
    open_format(settings).write(small_pipeline.exported(), folder)
    assert json.loads((folder / "processor_config.json").read_text())["sft_format"] == "deepseek"
    (folder / "processor_config.json").write_text(json.dumps({"sft_format": "deepseek_old"}), encoding="utf-8")
    first = Pipeline.from_pretrained(folder, plugins=plugins, device="cpu")
    assert (first.config.template.user, first.config.template.assistant) == ("User", "Assistant")
    assert first.compile("A cat.").ids == library_ids(small_pipeline, "User: A cat.\n\nAssistant:")
    (folder / "processor_config.json").unlink()
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(text.replace("<|User|>", "<gone>"), encoding="utf-8")
    lacking = Pipeline.from_pretrained(folder, plugins=plugins, device="cpu")
    assert lacking.config.template.user == "User"


def test_the_chat_template_of_an_export_says_the_same(small_pipeline: Any, picture: Any, tmp_path: Path) -> None:
    from transformers import AutoProcessor

    from polyjanus.core.checkpoints.formats import open_format

    settings = small_pipeline.plugins.registries.formats.get("transformers")(type="transformers")
    open_format(settings).write(small_pipeline.exported(), tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == "<|User|>: <image_placeholder>\nWhat is it?\n\n<|Assistant|>:"
    ids = processor(images=picture, text=text, generation_mode="text", return_tensors="pt").input_ids[0].tolist()
    ours = small_pipeline.compile([picture, "What is it?"]).ids
    assert [1, *(0 if number == 300 else number for number in ids)] == ours  # this tokenizer writes no BOS
    turns = [*messages, {"role": "assistant", "content": "A cat."}, {"role": "user", "content": "Sure?"}]
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert text.endswith("<|Assistant|>: A cat.<eos><|User|>: Sure?\n\n<|Assistant|>:")
