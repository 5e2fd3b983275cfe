"""Folders of media: captions beside them, captions in one file, and classes."""

from typing import Any

import pytest
from pydantic import ValidationError

from polyjanus.core.errors import DataError


def _image(path: Any) -> dict[str, Any]:
    return {"type": "image", "path": str(path)}


def test_a_caption_beside_a_picture_asks_for_it_or_describes_it(make: Any, write: Any, said: Any) -> None:
    first, second = write("photos/a.png"), write("photos/deep/b.JPG")
    write("photos/a.txt", "\ufeff a cat\n")
    write("photos/deep/b.txt", "a dog")
    write("photos/.hidden/c.png")
    drawn = make("caption_folder", path="./photos", task="image.generate")
    assert len(drawn) == 2
    assert said(drawn, 0) == [["a cat"], [_image(first)]]
    assert drawn.place(1) == str(second)
    read = make("caption_folder", path="./photos", task="understand")
    assert said(read, 1) == [[_image(second), "Describe this image."], ["a dog"]]


def test_prompts_are_the_users_own_and_braces_in_captions_are_only_text(make: Any, write: Any, said: Any) -> None:
    write("a.png")
    write("a.txt", "a {text} {0}")
    drawn = make("caption_folder", path=".", task="generate", prompt=["Draw {text}!", "{text}, please"])
    assert {said(drawn, 0, seed)[0][0] for seed in range(20)} == {"Draw a {text} {0}!", "a {text} {0}, please"}


def test_a_picture_without_words_is_a_fault_of_that_row_alone(make: Any, write: Any, said: Any) -> None:
    write("a.png")
    write("b.png")
    write("b.txt", " \n")
    source = make("caption_folder", path=".", task="generate")
    with pytest.raises(DataError, match=r"has no caption: there is no a\.txt beside it"):
        said(source, 0)
    with pytest.raises(DataError, match="its caption is empty"):
        said(source, 1)


@pytest.mark.parametrize("name", ["captions.jsonl", "metadata.jsonl"])
def test_one_file_with_all_captions_names_its_lines(make: Any, write: Any, said: Any, tmp_path: Any, name: str) -> None:
    write(
        f"set/{name}",
        '{"file_name": "x/1.png", "text": "one"}\n\n{"file_name": "2.png", "text": ["two", "zwei"]}\n'
        '{"file_name": 3}\n',
    )
    source = make("caption_folder", path="set", task="generate")
    assert len(source) == 3
    assert said(source, 0) == [["one"], [_image(tmp_path / "set/x/1.png")]]
    assert {said(source, 1, seed)[0][0] for seed in range(20)} == {"two", "zwei"}
    assert source.place(1).endswith(f"{name}:3")
    with pytest.raises(DataError, match="has no 'text'; its columns are file_name"):
        said(source, 2)


def test_a_csv_may_have_other_columns_and_texts_of_several_lines(make: Any, write: Any, said: Any) -> None:
    write("metadata.csv", 'id,picture,caption\n1,a.png,"one\nand more"\n2,b.png,two\n')
    options = {"file_column": "picture", "text_column": "caption"}
    source = make("caption_folder", path=".", task="generate", **options)
    assert [said(source, row)[0][0] for row in (0, 1)] == ["one\nand more", "two"]
    assert [source.place(row).rpartition(":")[2] for row in (0, 1)] == ["2", "4"]
    with pytest.raises(DataError, match="has no column 'file_name'; it has id, picture, caption"):
        make("caption_folder", path=".", task="generate")


def test_an_empty_or_missing_folder_is_said_when_it_is_opened(make: Any, tmp_path: Any) -> None:
    with pytest.raises(DataError, match="no file under .* ends in .bmp"):
        make("caption_folder", path=".", task="generate")
    with pytest.raises(DataError, match="no folder .*nowhere"):
        make("caption_folder", path="nowhere", task="generate")
    with pytest.raises(DataError, match="no file .*mine.csv"):
        make("caption_folder", path=".", task="generate", captions="mine.csv")


def test_folders_are_classes_and_may_be_given_words(make: Any, write: Any, said: Any) -> None:
    cat, dog = write("n01/1.png"), write("big_dog/2.png")
    options: dict[str, Any] = {"path": ".", "names": {"n01": "cat"}}
    read = make("class_folder", task="image.understand", **options)
    assert said(read, 0) == [[_image(dog), "What is this?"], ["big dog"]]
    assert said(read, 1) == [[_image(cat), "What is this?"], ["cat"]]
    assert read.place(1) == str(cat)
    own = make("class_folder", task="understand", prompt="Which class?", answer="It is a {class}.", **options)
    assert said(own, 1)[1] == ["It is a cat."]
    drawn = make("class_folder", task="generate", prompt="Draw a {class}.", **options)
    assert said(drawn, 1) == [["Draw a cat."], [_image(cat)]]
    with pytest.raises(DataError, match="'names' names a folder 'n1'"):
        make("class_folder", path=".", task="generate", names={"n1": "x"})


def test_media_of_any_modality_are_found_by_their_suffixes(make: Any, write: Any, said: Any) -> None:
    heard, shape = write("a/x.WAV", "sound"), write("b/y.npy", "shape")
    assert said(make("class_folder", path=".", task="audio.understand"), 0)[0][0] == {
        "type": "audio",
        "path": str(heard),
    }
    other = make("class_folder", path=".", task="generate", modality="tensor", suffixes=[".npy"])
    assert said(other, 0)[1] == [{"type": "tensor", "path": str(shape)}]


@pytest.mark.parametrize(
    ("block", "match"),
    [
        ({"task": "draw"}, "'draw' is neither 'understand' nor 'generate'"),
        ({"task": "image.generate", "modality": "audio"}, "name two modalities"),
        ({"task": "tensor.generate"}, "which files are media of 'tensor'"),
        ({"task": "generate", "prompt": "Draw."}, "needs {text} where media are generated"),
        ({"task": "understand", "prompt": []}, "is empty"),
        ({}, "task"),
    ],
)
def test_settings_that_make_no_rows_are_refused(make: Any, block: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        make("caption_folder", path=".", **block)
