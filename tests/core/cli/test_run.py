import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from polyjanus.core.cli import main
from polyjanus.core.cli.run import read_parts, read_words
from polyjanus.core.errors import UsageError


@pytest.fixture(scope="module")
def checkpoint(make_tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny().save(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture
def photo(tmp_path: Path, picture: Any) -> str:
    path = tmp_path / "a photo.png"
    picture.save(path)
    return str(path)


def test_options_that_are_modalities_become_parts_before_the_text() -> None:
    assert read_parts(["what", "--image", "a.png", "is it?", "--eeg=b.edf"]) == [
        {"type": "image", "path": "a.png"},
        {"type": "eeg", "path": "b.edf"},
        "what is it?",
    ]
    with pytest.raises(UsageError, match="--image needs a file"):
        read_parts(["x", "--image"])


def test_words_of_the_form_key_value_are_settings_and_texts_with_blanks_are_prompts() -> None:
    words = ["Draw", "image.generate.sampler.scale=5", "a=b", "--image", "x=1.png", "text.sampler={type: greedy}"]
    parts, overrides = read_words(words)
    assert parts == [{"type": "image", "path": "x=1.png"}, "Draw"]
    assert overrides == ["image.generate.sampler.scale=5", "a=b", "text.sampler={type: greedy}"]
    for prompt in ("x=1 is it?", "x = 1", "is a=b", "=x", "1=1", "why?=", "a.=b"):
        assert read_words([prompt]) == ([prompt], [])


def test_settings_after_the_prompt_change_the_reply(checkpoint: str, tmp_path: Path) -> None:
    drawn: list[bytes] = []
    for temperature in ("0.01", "5.0", "0.01"):
        out = tmp_path / f"{len(drawn)}.png"
        words = ["draw", f"image.generate.sampler.temperature={temperature}", "--output", "image", "-o", str(out)]
        assert main(["run", checkpoint, *words]) == 0
        drawn.append(out.read_bytes())
    assert drawn[0] == drawn[2] != drawn[1]


def test_run_prints_text(checkpoint: str, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", checkpoint, "--image", photo, "what is it?", "--max-tokens", "4", "--json"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert [part["type"] for part in reply["replies"][0]["parts"]] == ["text"]


def test_run_writes_pictures_where_it_is_told(checkpoint: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "seven.png"
    assert main(["run", checkpoint, "draw", "--output", "image", "-o", str(out)]) == 0
    with Image.open(out) as drawn:
        assert drawn.size == (16, 16)


def test_several_pictures_are_numbered(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.png"
    assert main(["run", checkpoint, "draw", "--output", "image", "--n", "3", "-o", str(out), "--seed", "1"]) == 0
    paths = capsys.readouterr().out.split()
    assert len(set(paths)) == 3 and all(Path(path).is_file() for path in paths)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "digitz", "x"], "there is no pipeline 'digitz'"),
        (["run", "{checkpoint}", "--imgae", "a.png", "x"], "no option --imgae; did you mean 'image'?"),
        (["run", "{checkpoint}", "--image", "missing.png", "x"], "there is no file 'missing.png'"),
        (["run", "{checkpoint}", "x", "--output", "audio"], "no output 'audio'"),
        (["run", "{checkpoint}"], "there is nothing to answer"),
        (["run", "{checkpoint}", "x=1"], "nothing to answer; 'x=1' is a setting"),
        (["run", "{checkpoint}", "x", "image.generate.sampler.scael=1"], "unknown key; did you mean 'scale'?"),
        (["run", "{checkpoint}", "x", "backbone.architecture.hidden_size=8"], "this pipeline needs"),
        (["chat", "{checkpoint}", "text.smapler=greedy"], "unknown key; did you mean 'sampler'?"),
        (["eval", "{checkpoint}", "text.smapler=greedy"], "unknown key; did you mean 'sampler'?"),
        (["eval", "{checkpoint}", "sampler"], "'sampler' is no override"),
        (["eval", "{checkpoint}"], "has no 'evaluation' block"),
    ],
)
def test_faults_of_the_user_are_one_message_and_status_2(
    checkpoint: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(checkpoint=checkpoint) for word in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_untrained_yaml_says_how_to_train_it(
    tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(tiny_yaml), "x"]) == 2
    assert f"polyjanus train {tiny_yaml}" in capsys.readouterr().err


def test_chat_answers_and_remembers(
    checkpoint: str, photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        "/help",
        f"/image {photo.replace(' ', '_')} look",
        "hello",
        "/new",
        "/output image",
        "draw",
        "again",
        "/quit",
    ]
    waiting = iter(lines)
    monkeypatch.setattr("builtins.input", lambda _: next(waiting))
    assert main(["chat", checkpoint, "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "/image FILE …  hand over image" in shown.err and "among text, image" in shown.err
    assert "there is no file" in shown.err  # the name with a blank was not quoted, and chat went on
    assert (tmp_path / "out" / "image-1.png").is_file() and (tmp_path / "out" / "image-2.png").is_file()


def test_train_writes_a_run_that_can_be_run_and_resumed(
    tiny_yaml: Path, picture: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture.save(tiny_yaml.parent / "p.png")
    part = {"type": "image", "path": "p.png"}
    row = {"messages": [{"role": "user", "content": "draw"}, {"role": "assistant", "content": [part]}]}
    (tiny_yaml.parent / "captions.jsonl").write_text(json.dumps(row) + "\n")
    monkeypatch.chdir(tiny_yaml.parent)
    assert main(["train", "tiny.yaml", "training.stages.0.steps=2", "--quiet"]) == 0
    run = capsys.readouterr().out.strip()
    assert run == "runs/tiny/1" and (Path(run) / "log.jsonl").read_text().count("\n") == 2
    assert main(["run", "tiny.yaml", "draw", "--output", "image"]) == 0
    assert main(["train", "tiny.yaml", "training.stages.0.steps=2", "--quiet", "--resume"]) == 0
    monkeypatch.setattr("polyjanus.core.cli.train.TOLD_EVERY", 0.0)
    assert main(["train", "tiny.yaml", "training.stages.0.steps=2"]) == 0
    assert Path("runs/tiny/2").is_dir()
    told = capsys.readouterr().err
    assert " 1: " in told and " 2: " in told, "where there is no terminal for a bar, lines say how far it is"


def test_inspect_shows_every_part(tiny_yaml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tiny_yaml), "--json"]) == 0
    parts = {row["path"] for row in json.loads(capsys.readouterr().out)["parts"]}
    assert {"backbone", "image.generate.codec", "image.understand.encoder", "marks"} <= parts
    assert main(["inspect", str(tiny_yaml), "--mermaid"]) == 0
    assert "flowchart" in capsys.readouterr().out
    assert main(["inspect", str(tiny_yaml)]) == 0
    assert "image.generate: 4 positions per item" in capsys.readouterr().out


def test_main_is_what_python_m_would_call() -> None:
    assert callable(main) and "polyjanus.core.cli.main" in sys.modules


def test_a_word_that_is_no_override_is_refused(tiny_yaml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("train", "inspect"):
        assert main([command, str(tiny_yaml), "training.seed"]) == 2
        assert "'training.seed' is no override" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_told_with_what_is_beside_it(
    checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(Path(checkpoint).with_name("tinny")), "x"]) == 2
    assert "did you mean 'tiny'?" in capsys.readouterr().err
    assert main(["run", "no/such/thing", "x"]) == 2
    assert "there is no pipeline 'no/such/thing'" in capsys.readouterr().err


def test_an_unfinished_training_is_noted(
    tiny_yaml: Path, picture: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}
    (tiny_yaml.parent / "captions.jsonl").write_text(json.dumps(row) + "\n")
    monkeypatch.chdir(tiny_yaml.parent)
    save = "training.save.every=1"

    def stop(self: Any, record: Any) -> None:
        if record.get("step") == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("polyjanus.core.cli.train._Bar.step", stop)
    assert main(["train", "tiny.yaml", save, "--quiet"]) == 130
    assert "go on with: polyjanus train runs/tiny/1 --resume" in capsys.readouterr().err
    assert main(["run", "runs/tiny/1", "x", "--max-tokens", "1"]) == 0
    assert "stopped at step 1 of 4, in stage 'all'" in capsys.readouterr().err
    assert main(["train", "tiny.yaml", save, "training.seed=3", "--quiet", "--resume"]) == 2
    assert "training.seed was 0, is 3" in capsys.readouterr().err


def test_chat_names_commands_that_are_not_there(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = iter(["/foo bar", "/output sound", "/quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(waiting))
    assert main(["chat", checkpoint]) == 0
    said = capsys.readouterr().err
    assert "no command /foo" in said and "no output 'sound'" in said


def test_a_folder_is_no_file(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", checkpoint, "--image", str(tmp_path), "what?"]) == 2
    assert f"{str(tmp_path)!r} is a folder\n  --image takes a file in it" in capsys.readouterr().err
