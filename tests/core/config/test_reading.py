import re
from collections.abc import Callable
from pathlib import Path
from shutil import copy

import pytest

from polyjanus.core.config.reading import Loaded, read_pipeline
from polyjanus.core.errors import ConfigError
from polyjanus.core.manager import load_plugins
from polyjanus.core.registry import Registries

EXAMPLES = sorted(Path(__file__).parents[3].joinpath("examples").glob("*.yaml"))
KEY = re.compile(r"(?<![\w'\"./-])([A-Za-z_][A-Za-z0-9_]*)(?=:(?:\s|$))")
FREE = re.compile(r"\s*architecture:")
NAMES = re.compile(r"\s*(?:evaluation|positions):\s*$")


def mutations(text: str) -> list[tuple[int, str, str]]:
    """Return line, key and text for every key of a YAML text with one letter too many.

    Left out: what is inside `architecture`, where any key is allowed, and names that nothing refers to.
    """
    found = []
    lines = text.split("\n")
    free_below, names_below = 1000, 1000
    for index, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        code = "" if line.lstrip().startswith("#") else line.split(" #")[0]
        if code.strip():
            free_below = free_below if indent > free_below else 1000
            names_below = names_below if indent > names_below else 1000
        for match in KEY.finditer(code):
            is_inline = "architecture: {" in code[: match.start()]
            is_name = lines[index + 1 : index + 2] and re.match(r" {4}type: ", lines[index + 1]) and indent == 2
            if not is_inline and not is_name and indent <= free_below and indent != names_below + 2:
                changed = f"{line[: match.end()]}q{line[match.end() :]}"
                found.append((index + 1, match[1], "\n".join([*lines[:index], changed, *lines[index + 1 :]])))
        free_below = indent if FREE.match(code) else free_below
        names_below = indent if NAMES.match(code) else names_below
    return found


def missed(text: str, path: Path, registries: Registries) -> list[str]:
    """Return the mutated keys that no fault names with their line."""
    failures = []
    for line, key, changed in mutations(text):
        path.write_text(changed, encoding="utf-8")
        try:
            read_pipeline(path, registries, environ={})
            failures.append(f"line {line}: {key}q went unnoticed")
        except ConfigError as error:
            if not any(fault.line == line or f"line {line})" in fault.message for fault in error.faults):
                failures.append(f"line {line}: {key}q is not named by {error}")
    return failures


def test_the_rich_pipeline_is_valid(read: Callable[..., Loaded], rich: str) -> None:
    config = read(rich).config
    assert config.component_paths()[-1] == "marks"
    assert config.training is not None and len(config.training.stages) == 2


def test_a_mutated_key_on_any_line_is_named_with_that_line(rich: str, tmp_path: Path, registries: Registries) -> None:
    assert len(mutations(rich)) > 80
    assert missed(rich, tmp_path / "cfg.yaml", registries) == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_a_mutated_key_of_an_example_is_named_with_its_line(example: Path, tmp_path: Path) -> None:
    registries = load_plugins(third_party=False).registries
    text = example.read_text(encoding="utf-8")
    for neighbour in example.parent.glob("*.yaml"):  # parents that it may extend
        copy(neighbour, tmp_path)
    assert missed(text, tmp_path / example.name, registries) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "depth: 3",
            "depht: 3",
            "{line}: modalities.image.understand.encoder.depht: unknown key; did you mean 'depth'?",
        ),
        (
            "depth: 3",
            "depth: many",
            "{line}: modalities.image.understand.encoder.depth: expected a whole number, found 'many'",
        ),
        ("depth: 3", "depth: 1e1", "found 1e1; write 10"),
        ("depth: 3", "depth: true", "expected a whole number, found true"),
        ("depth: 3", "depth: 0", "{line}: modalities.image.understand.encoder.depth: expected more than 0, found 0"),
        ("depth: 3", "depth: [3]", "expected a whole number, found a list"),
        ("depth: 3", "depth:", "expected a whole number, found nothing"),
        ("mean: [0.1, 0.2]", "mean: 3", "{line}: modalities.image.understand.encoder.mean: expected a list, found 3"),
        (
            "mean: [0.1, 0.2]",
            "mean: [0.1, x]",
            "{line}: modalities.image.understand.encoder.mean.1: expected a number, found 'x'",
        ),
        (
            "size: [4, 4]",
            "size: x",
            "{line}: modalities.image.understand.encoder.size: expected a list or a whole number, found 'x'",
        ),
        ("is_causal: true", "is_causal: yes", "expected true or false, found 'yes'; write true"),
        ("title: eyes", "title: 1.10", "expected text, found 1.10; write '1.10' if text was meant"),
        (
            "type: patch",
            "type: pach",
            "{line}: modalities.image.understand.encoder.type: no encoder of type 'pach'; did you mean 'patch'?",
        ),
        ("type: patch", "type: zzz", "no encoder of type 'zzz'; installed: patch, shared"),
        ("type: patch", "type: 5", "no encoder of type '5'"),
        ("type: patch", "type: os.system", "no encoder of type 'os.system'"),
        ("type: patch", "kind: patch", "modalities.image.understand.encoder: has no 'type'"),
        ("codes: 16", "other: 16", "modalities.image.generate.codec.codes: is missing"),
        (
            "precision: auto",
            "precision: flaot32",
            "expected 'auto', 'float32' or 'bfloat16', found 'flaot32'; did you mean 'float32'?",
        ),
        ("polyjanus: 1", "polyjanus: 2", "{line}: polyjanus: expected 1, found 2"),
        ("name: codec", "name: a b", "does not match the pattern"),
        ("train: [image.generate.codec]", "train: []", "expected at least 1 item, found 0"),
        (
            "layout: grid",
            "layout: grdi",
            "{line}: modalities.image.generate.layout: no layout of type 'grdi'; did you mean 'grid'?",
        ),
        ("name: all", "name: codec", "two stages are named 'codec'"),
        ("lr: 1e-4", "lr: .inf", ".inf is no finite number"),
        ("pretrained: ./model", "pretrained:", "needs either 'pretrained' or 'architecture'"),
    ],
)
def test_a_fault_is_told_in_plain_words_with_its_line(
    messages: Callable[..., list[str]], rich: str, old: str, new: str, message: str
) -> None:
    line = rich[: rich.index(old)].count("\n") + 1
    found = messages(rich.replace(old, new, 1))
    assert any(message.format(line=line) in each for each in found), found
    assert len(found) == 1 or "type" in message or "codes" in message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  captions: 1", "  captoins: 1", "no data set 'captoins'; did you mean 'captions' (line {captions})?"),
        (
            "best: captions.loss",
            "best: caption.loss",
            "no data set 'caption'; did you mean 'captions' (line {captions})?",
        ),
        ("best: captions.loss", "best: captions.acc", "expected `data set.loss`, found 'captions.acc'"),
        ('"*.adaptor"', '"*.adaptr"', "'*.adaptr' selects no component; did you mean '*.adaptor' (line {adaptor})?"),
        ("imu, marks", "imo, marks", "'imo' selects no component; did you mean 'imu' (line {imu})?"),
        ("[image.generate.codec]", "[image.generate]", "a 'reconstruct' stage trains only codecs"),
        ("of: image.generate.codec", "of: image.generate.codex", "did you mean 'image.generate.codec' (line {codec})?"),
        ("of: image.generate.codec", "of: imu.understand.encoder", "of: is the component itself"),
        ("task: imu.understand", "task: imu.generate", "'imu' has no 'generate' block"),
        ("task: imu.understand", "task: imo.understand", "no modality 'imo'; did you mean 'imu' (line {imu})?"),
        ("        motion: 1\n", "", "{line}: data.motion: no stage's mix uses this data set"),
    ],
)
def test_a_name_that_points_nowhere_is_named_with_what_was_meant(
    messages: Callable[..., list[str]], rich: str, old: str, new: str, message: str
) -> None:
    lines = {key: rich[: rich.index(f"  {key}:\n")].count("\n") + 1 for key in ("adaptor", "codec", "imu", "captions")}
    text = rich.replace(old, new, 1)
    if not new:
        text = text.replace("data: motion", "data: nothing")
    found = messages(text)
    line = rich[: rich.index("  motion:\n")].count("\n") + 1
    assert any(message.format(line=line, **lines) in each for each in found), found


def test_parts_that_share_each_other_in_a_circle_are_refused(messages: Callable[..., list[str]], rich: str) -> None:
    text = rich.replace("type: patch", "type: shared\n        of: imu.understand.encoder")
    text = text.replace("of: image.generate.codec", "of: image.understand.encoder")
    assert any("components share in a circle" in each for each in messages(text))


@pytest.mark.parametrize("name", ["text", "backbone", "marks", "Image", "1x", "a-b", "a.b"])
def test_reserved_and_odd_modality_names_are_refused(messages: Callable[..., list[str]], small: str, name: str) -> None:
    found = messages(f"{small}modalities:\n  '{name}': {{type: image}}\n")
    assert found[0].startswith("4: ")


def test_data_sets_without_training_need_no_mix(read: Callable[..., Loaded], small: str) -> None:
    assert read(f"{small}data:\n  a: {{type: folder, path: x}}\n").config.training is None


def test_structure_text_and_names_are_faulted_together(messages: Callable[..., list[str]], rich: str) -> None:
    text = rich.replace("depth: 3", "depht: 3").replace("captions: 1", "captoins: 1").replace("seed: 1", "seed: 1_0")
    found = messages(text, "text.nothing=1")
    lines = [rich[: rich.index(each)].count("\n") + 1 for each in ("depth: 3", "seed: 1", "captions: 1")]
    assert [each.split(":")[0] for each in found] == [*map(str, lines), "override 'text.nothing=1'"]


def test_a_place_that_could_not_be_read_is_faulted_once(messages: Callable[..., list[str]], rich: str) -> None:
    assert len(messages(rich.replace("seed: 1", "seed: 1_0"))) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "training.stages.all.lr=abc",
            "override 'training.stages.all.lr=abc': training.stages.1.lr: expected a number",
        ),
        ("a.b.c=1", "override 'a.b.c=1': a: unknown key"),
        ("text.sampler.temprature=1", "text.sampler.temprature: unknown key; did you mean 'temperature'?"),
        ("backbone.type=x", "override 'backbone.type=x': backbone.type: no backbone of type 'x'; installed: lm"),
    ],
)
def test_a_wrong_override_is_named(messages: Callable[..., list[str]], rich: str, override: str, message: str) -> None:
    assert message in "\n".join(messages(rich, override))


def test_secrets_do_not_show_in_faults(messages: Callable[..., list[str]], rich: str) -> None:
    environ = {"KEY": "hunter2"}
    for old in (
        "depth: 3",
        "type: patch",
        "path: ./motion",
        "best: captions.loss",
        "name: all",
        "of: image.generate.codec",
    ):
        key = old.split(":")[0]
        text = rich.replace(old, f"{key}: ${{env:KEY}}", 1) + "zzz: 1\n"
        assert "hunter2" not in "\n".join(messages(text, environ=environ)), old


def test_a_claimed_twice_type_names_both_places(rich: str, write: Callable[..., Path]) -> None:
    from typing import Literal

    from polyjanus.core.settings import BackboneConfig

    class One(BackboneConfig):
        type: Literal["lm"]

    class Two(BackboneConfig):
        type: Literal["lm"]

    registries = Registries()
    registries.backbones.add(One)
    registries.backbones.add(Two)
    with pytest.raises(ConfigError, match=r"registered twice: by .*One and by .*Two"):
        read_pipeline(write(rich), registries)
