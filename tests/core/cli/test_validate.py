"""The faults that a pipeline file can have, C1 to C12 of our list, as a user meets them."""

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from polyjanus.core.cli.validate import read_size
from polyjanus.core.errors import UsageError, WiringError

Cli = Callable[..., Any]
Write = Callable[..., Path]


def refused(cli: Cli, path: Path, *overrides: str) -> str:
    outcome = cli("validate", path, *overrides)
    assert outcome.status == 2
    assert outcome.out == ""
    return outcome.err


def line(text: str, key: str) -> int:
    return text[: text.index(key)].count("\n") + 1


def test_a_valid_file_is_summed_up(cli: Cli, write: Write, rich: str) -> None:
    outcome = cli("validate", write(rich))
    assert (outcome.status, outcome.err) == (0, "")
    assert "valid; 12 components, stages: codec, all" in outcome.out


def test_what_was_not_looked_at_is_said_with_what_looks_at_it(cli: Cli, write: Write, rich: str) -> None:
    said = "not looked at: how parts fit and what is in 'architecture' (--wiring), rows (polyjanus data check)"
    assert said in cli("validate", write(rich)).out


def test_files_of_data_sets_that_are_not_there_are_noted_by_line(cli: Cli, write: Write, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    text = """
    polyjanus: 1
    backbone: {type: lm, pretrained: ./model}
    data:
      here: {type: folder, path: ./}
      gone: {type: folder, path: ./nowhere}
      some: {type: folder, path: "shards/{000..010}.tar"}
      none: {type: folder, path: "tars/*.tar"}
      far: {type: folder, path: "s3://tars/1.tar"}
    """
    path = write(text)
    outcome = cli("validate", path)
    assert outcome.status == 0
    assert outcome.out.splitlines()[1:] == [
        f"note: {path}:6: data.gone.path: there is no './nowhere' yet",
        f"note: {path}:8: data.none.path: there is no 'tars' yet",
    ]


def test_more_passes_than_rows_are_refused_by_line(cli: Cli, write: Write, rich: str) -> None:
    path = write(rich)
    assert cli("validate", path, "training.stages.0.batch=4", "training.stages.0.accumulate=4").status == 0
    told = refused(cli, path, "training.stages.0.batch=4", "training.stages.0.accumulate=8")
    assert "training.stages.0.accumulate: a step of 4 rows cannot be done in 8 passes" in told


def test_c1_an_unknown_key(cli: Cli, write: Write, rich: str) -> None:
    path = write(rich.replace("depth: 3", "depht: 3"))
    place = f"{path}:{line(rich, 'depth: 3')}: modalities.image.understand.encoder.depht"
    assert f"{place}: unknown key; did you mean 'depth'?" in refused(cli, path)


def test_c2_a_wrong_type(cli: Cli, write: Write, rich: str) -> None:
    path = write(rich.replace("codes: 16", "codes: many"))
    place = f"{path}:{line(rich, 'codes: 16')}: modalities.image.generate.codec.codes"
    assert f"{place}: expected a whole number, found 'many'" in refused(cli, path)


def test_c3_an_unknown_encoder(cli: Cli, write: Write, rich: str) -> None:
    path = write(rich.replace("type: patch", "type: pitch"))
    assert f"{path}:{line(rich, 'type: patch')}: " in (text := refused(cli, path))
    assert "no encoder of type 'pitch'; did you mean 'patch'?" in text


def test_c4_a_duplicate_key(cli: Cli, write: Write, small: str) -> None:
    path = write(f"{small}template: auto\ntemplate: auto\n")
    assert f"{path}:4: template: is written twice, on lines 3 and 4" in refused(cli, path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a:\n\tb: 1\n", "{path}:2: a tab where YAML wants spaces; indent with spaces (column 1)"),
        (b"a: [1\n", "{path}:2: broken YAML: "),
        ("a: é\n".encode("latin-1"), "{path}:1: byte 0xe9 is not UTF-8 (column 4)"),
        ("a: 1\n".encode("utf-16"), "{path}:1: byte 0xff is not UTF-8 (column 1)"),
        (b"", "{path}: is empty"),
        (b"a: 1\n" * 2_000_000, "{path}: is larger than 1 MB"),
        (b"\xef\xbb\xbfzzz: 1\n", "{path}:1: zzz: unknown key"),
    ],
)
def test_c5_a_file_that_is_no_yaml(cli: Cli, tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "cfg.yaml"
    path.write_bytes(raw)
    assert message.format(path=path) in refused(cli, path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: eyes", "title: 017", "starts with a zero"),
        ("title: eyes", "title: 1.10", "write '1.10' if text was meant"),
        ("is_causal: true", "is_causal: on", "write true"),
        ("steps: 10", "steps: 1_000", "write 1000"),
    ],
)
def test_c6_words_that_parsers_read_differently(
    cli: Cli, write: Write, rich: str, old: str, new: str, message: str
) -> None:
    path = write(rich.replace(old, new, 1))
    assert f"{path}:{line(rich, old)}: " in (text := refused(cli, path))
    assert message in text


def test_c6_words_that_yaml_1_2_types_right(cli: Cli, write: Write, rich: str) -> None:
    assert cli("validate", write(rich.replace("title: eyes", "title: no").replace("1e-4", "1E-4"))).status == 0


def test_c7_parents_that_are_missing_outside_remote_or_a_circle(cli: Cli, write: Write) -> None:
    for parent, message in (
        ("none.yaml", "there is no file 'none.yaml'"),
        ("../x.yaml", "lies outside"),
        ("https://example.org/x.yaml", "is an address"),
        ("cfg.yaml", "cfg.yaml → "),
    ):
        path = write(f"a: 1\nextends: {parent}\n")
        text = refused(cli, path)
        assert f"{path}:2: extends: " in text
        assert message in text


def test_c8_a_missing_environment_variable(cli: Cli, write: Write, rich: str) -> None:
    path = write(rich.replace("title: eyes", "title: ${env:POLYJANUS_TEST_MISSING}"))
    assert f"{path}:{line(rich, 'title')}: " in (text := refused(cli, path))
    assert "no environment variable 'POLYJANUS_TEST_MISSING'" in text


def test_c9_bombs(cli: Cli, write: Write) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 7)
    )
    assert "more than 100,000 values" in refused(cli, write(bomb))
    assert "more than 100 blocks inside each other" in refused(cli, write("a: " + "[" * 10_000))


def test_c10_nothing_in_a_file_is_imported(cli: Cli, write: Write, rich: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Guard:
        def find_spec(self, name: str, *_: object) -> None:
            assert not name.startswith("forbidden")

    monkeypatch.setattr(sys, "meta_path", [Guard(), *sys.meta_path])
    for value in ("!!python/object:forbidden.Thing {}", "!!python/name:os.system", "!!python/module:forbidden"):
        path = write(rich.replace("type: patch", f"type: {value}"))
        assert "is not allowed; only plain YAML is read" in refused(cli, path)
    for value in ("forbidden.Thing", "forbidden:Thing", "os.system"):
        assert f"no encoder of type '{value}'" in refused(cli, write(rich.replace("type: patch", f"type: '{value}'")))


def test_c11_wiring_faults_name_the_lines_of_both_ends(
    cli: Cli, write: Write, rich: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ("image.understand.encoder", "image.understand.adaptor")
    faults = [WiringError("gives width 8, but width 4 goes in", paths=paths, hint="set width: 8")]
    wiring = SimpleNamespace(faults=faults, memory_report=lambda limit, devices: f"fits {limit} on {devices}")
    sizes = {"weights": 1, "gradients": 2, "optimizer": 3, "activations": 24_000_000_000, "gathered": 0}
    wiring.stages = lambda devices: [SimpleNamespace(name="all", total=sum(sizes.values()) // devices, **sizes)]
    module = SimpleNamespace(check_wiring=lambda loaded, registries: wiring)
    monkeypatch.setitem(sys.modules, "polyjanus.core.model.wiring", module)
    path = write(rich)
    outcome = cli("validate", path, "--wiring")
    assert outcome.status == 2
    assert outcome.err == (
        f"{path}:{line(rich, 'encoder:')}: image.understand.encoder: gives width 8, but width 4 goes in"
        f" (image.understand.adaptor is at {path}:{line(rich, 'adaptor:')}); set width: 8\n"
    )
    faults.clear()
    outcome = cli("validate", path, "--memory", "24GB")
    assert outcome.status == 1 and "fits 24000000000 on 1" in outcome.out
    outcome = cli("validate", path, "--memory", "24GB", "--devices", "8")
    assert outcome.status == 0 and "fits 24000000000 on 8" in outcome.out
    (size,) = json.loads(cli("validate", path, "--memory", "24GB", "--json").out)[0]["sizes"]
    assert size == {"stage": "all", "bytes": 24_000_000_006, **sizes, "fits": False}


@pytest.mark.parametrize("override", ["training.stages.all.lr=abc", "a.b.c=1", "training.stages.9.lr=1", "text=[1"])
def test_c12_a_wrong_override(cli: Cli, write: Write, rich: str, override: str) -> None:
    assert f"override {override!r}: " in refused(cli, write(rich), override)


def test_json_holds_the_faults_of_every_file(cli: Cli, write: Write, rich: str) -> None:
    good, bad = write(rich, "good.yaml"), write("zzz: 1\n", "bad.yaml")
    outcome = cli("validate", good, bad, "--json")
    reports = json.loads(outcome.out)
    assert outcome.status == 2
    assert [report["valid"] for report in reports] == [True, False]
    assert reports[0].keys() == {*("file", "valid", "faults", "components", "stages", "notes", "memory", "sizes")}
    assert {"file": str(bad), "line": 1, "path": "zzz"}.items() <= reports[1]["faults"][-1].items()


def test_sizes_are_read_in_the_units_that_people_write() -> None:
    assert [read_size(text) for text in ("24GB", "1GiB", "512 MB", "8g", "100")] == [
        *(24_000_000_000, 2**30, 512_000_000, 8_000_000_000, 100)
    ]
    with pytest.raises(UsageError, match="is no size"):
        read_size("big")


def _mutated(text: str, source: random.Random) -> str:
    """Return the text with one to four random changes of characters or lines."""
    for _ in range(source.randint(1, 4)):
        lines = text.split("\n")
        index, place = source.randrange(len(lines)), source.randrange(len(text) + 1)
        match source.randrange(6):
            case 0:
                text = text[:place] + source.choice("*&!%@`'\"[]{}:,-#|>?\t\n 0_é\x00${~") + text[place:]
            case 1:
                text = text[:place] + text[place + source.randint(1, 9) :]
            case 2:
                text = "\n".join([*lines[:index], *lines[index + 1 :]])
            case 3:
                text = "\n".join([*lines[:index], lines[index], *lines[index:]])
            case 4:
                text = "\n".join([*lines[:index], "  " + lines[index], *lines[index + 1 :]])
            case _:
                value = source.choice(
                    ["", "[]", "{}", "null", "-1", "1e999", "x", "[[1]]", "{a: {b: 1}}", "<<", "9" * 400]
                )
                text = "\n".join([*lines[:index], f"{lines[index].split(':')[0]}: {value}", *lines[index + 1 :]])
    return text


def test_three_hundred_broken_files_end_in_a_message_or_are_valid(cli: Cli, write: Write, rich: str) -> None:
    source = random.Random(0)
    statuses = [cli("validate", write(_mutated(rich, source))).status for _ in range(300)]
    assert set(statuses) == {0, 2}


def test_parts_that_start_from_a_checkpoint_are_components(cli: Cli, write: Write, rich: str) -> None:
    path = write(rich)
    wrong = refused(cli, path, "training.init_from={image.understand.adapter: ./a, bakbone: ./a}")
    assert "did you mean 'image.understand.adaptor'" in wrong and "did you mean 'backbone'" in wrong
    right = "training.init_from={image.understand: ./a, backbone.layers.0: ./a, text.head: ./a}"
    assert cli("validate", path, right).status == 0


def test_a_layout_of_one_length_is_refused_for_items_of_several(call: Any, tiny_yaml: Path) -> None:
    point_cloud = "modalities.point_cloud.generate={codec: {type: voxel, bits: 2, max_codes: 8}"
    status, _, told = call("validate", tiny_yaml, "--wiring", f"{point_cloud}}}")
    assert status == 2 and "layout 'grid' takes items of one length, but codec 'voxel' has items of 1 to 8" in told
    assert "write `layout: ended`" in told
    assert call("validate", tiny_yaml, "--wiring", f"{point_cloud}, layout: ended}}")[0] == 0
