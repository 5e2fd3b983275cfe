from collections.abc import Callable
from pathlib import Path

import pytest

from polyjanus.core.config.document import read_document
from polyjanus.core.errors import ConfigError


def fault(path: Path, *overrides: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read_document(path, overrides, environ or {})
    return str(caught.value)


def test_a_file_becomes_plain_data_with_origins(write: Callable[..., Path]) -> None:
    path = write("a:\n  - {b: 1}\n")
    document = read_document(path)
    assert document.data == {"a": [{"b": 1}]}
    assert str(document.origin(("a", 0, "b"))) == f"{path}:2"
    assert str(document.origin(("a", 0, "b", "c", "d"))) == f"{path}:2"
    assert document.folder == path.parent


def test_an_empty_file_is_explained(write: Callable[..., Path]) -> None:
    assert "is empty; a pipeline starts with `polyjanus: 1`" in fault(write("# only a comment\n"))


def test_a_file_that_holds_no_keys_is_explained(write: Callable[..., Path]) -> None:
    assert "holds no keys" in fault(write("- a\n"))


def test_a_missing_file_and_a_folder_are_explained(tmp_path: Path) -> None:
    assert "no such file" in fault(tmp_path / "none.yaml")
    assert "is a directory" in fault(tmp_path)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "cfg.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert read_document(path).data == {"a": 1}


def test_latin_1_is_refused_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "cfg.yaml"
    path.write_bytes("a: 1\nb: é\n".encode("latin-1"))
    assert f"{path}:2: byte 0xe9 is not UTF-8 (column 4)" in fault(path)


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "cfg.yaml"
    path.write_bytes(b"a: 1\n" * 2_000_000)
    assert "larger than 1 MB" in fault(path)


class TestExtends:
    def test_the_child_wins_and_lists_are_replaced(self, write: Callable[..., Path]) -> None:
        write("a: {x: 1, y: 2}\nb: [1, 2]\nc: 3\n", "base.yaml")
        document = read_document(write("extends: base.yaml\na: {y: 5}\nb: [9]\n"))
        assert document.data == {"a": {"x": 1, "y": 5}, "b": [9], "c": 3}
        assert document.origin(("c",)).kind == "extends"
        assert document.origin(("c",)).file.endswith("base.yaml")
        assert document.origin(("a", "y")).line == 2

    def test_another_type_replaces_the_block_of_the_parent(self, write: Callable[..., Path]) -> None:
        write("e: {type: a, depth: 1}\nf: {type: a, depth: 1}\ns: nucleus\nimage: {x: 1}\n", "base.yaml")
        child = "extends: base.yaml\ne: {type: b}\nf: {type: a, width: 2}\ns: {top: 1}\nimage: {type: image, y: 2}\n"
        assert read_document(write(child)).data == {
            "e": {"type": "b"},
            "f": {"type": "a", "depth": 1, "width": 2},
            "s": {"type": "nucleus", "top": 1},
            "image": {"x": 1, "type": "image", "y": 2},
        }

    def test_paths_of_a_parent_in_another_folder_stay_its_own(self, write: Callable[..., Path]) -> None:
        write("a: ./model\nb: [../data]\nc: hub/model\n", "bases/deep/base.yaml")
        data = read_document(write("extends: bases/deep/base.yaml\n")).data
        assert data == {"a": "./bases/deep/model", "b": ["./bases/data"], "c": "hub/model"}

    def test_a_circle_is_shown_as_a_chain(self, write: Callable[..., Path]) -> None:
        write("extends: b.yaml\n", "a.yaml")
        write("extends: cfg.yaml\n", "b.yaml")
        text = fault(write("extends: a.yaml\n"))
        assert "in a circle: " in text
        assert " → ".join("cfg a b cfg".split()) == " → ".join(
            Path(each).stem for each in text.split("circle: ")[1].split(" → ")
        )
        assert "b.yaml:1: extends" in text

    def test_a_missing_parent_is_named_with_its_line(self, write: Callable[..., Path]) -> None:
        write("a: 1\n", "bases.yaml")
        path = write("a: 1\nextends: base.yaml\n")
        assert f"{path}:2: extends: there is no file 'base.yaml'; did you mean 'bases.yaml'?" in fault(path)

    @pytest.mark.parametrize("name", ["../outside.yaml", "/etc/hostname", "sub/../../outside.yaml"])
    def test_a_parent_outside_the_folder_is_refused(self, write: Callable[..., Path], name: str) -> None:
        write("a: 1\n", "outside.yaml")
        assert "lies outside" in fault(write(f"extends: {name}\n", "project/cfg.yaml"))

    def test_a_link_out_of_the_folder_is_refused(self, write: Callable[..., Path], tmp_path: Path) -> None:
        write("a: 1\n", "outside.yaml")
        path = write("extends: link.yaml\n", "project/cfg.yaml")
        (tmp_path / "project/link.yaml").symlink_to(tmp_path / "outside.yaml")
        assert "lies outside" in fault(path)

    def test_a_parent_may_reach_back_within_the_folder(self, write: Callable[..., Path]) -> None:
        write("a: 1\n", "top.yaml")
        write("extends: ../top.yaml\n", "sub/middle.yaml")
        assert read_document(write("extends: sub/middle.yaml\n")).data == {"a": 1}

    @pytest.mark.parametrize("name", ["https://example.org/a.yaml", "file:///etc/passwd"])
    def test_an_address_is_refused(self, write: Callable[..., Path], name: str) -> None:
        assert "is an address" in fault(write(f"extends: {name}\n"))

    def test_an_unknown_shipped_pipeline_is_refused(self, write: Callable[..., Path]) -> None:
        assert "no pipeline 'none_such' ships" in fault(write("extends: builtin:none_such\n"))

    def test_a_shipped_pipeline_can_be_extended(
        self, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        shipped = write("a: 1\nb: ./x\n", "shipped/tiny.yaml")
        monkeypatch.setattr("polyjanus.core.config.document.shipped", lambda: {"tiny": shipped})
        document = read_document(write("extends: builtin:tiny\na: 2\n", "home/cfg.yaml"))
        assert document.data == {"a": 2, "b": "../shipped/x"}
        assert str(document.origin(("b",))) == "builtin:tiny:2"

    def test_faults_of_parent_and_child_are_listed_together(self, write: Callable[..., Path]) -> None:
        write("a: 017\n", "base.yaml")
        text = fault(write("extends: base.yaml\nb: 1_0\n"))
        assert "base.yaml:1: a: 017" in text
        assert "cfg.yaml:2: b: 1_0" in text

    @pytest.mark.parametrize("value", ["5", "[a.yaml]", "''"])
    def test_extends_names_one_file(self, write: Callable[..., Path], value: str) -> None:
        assert "expected the name of one file" in fault(write(f"extends: {value}\n"))

    def test_an_endless_chain_is_refused(self, write: Callable[..., Path]) -> None:
        for index in range(30):
            write(f"extends: p{index + 1}.yaml\n", f"p{index}.yaml")
        assert "more than 20 files" in fault(write("extends: p0.yaml\n"))


class TestEnvironment:
    def test_names_are_filled_and_marked(self, write: Callable[..., Path]) -> None:
        document = read_document(write("a: x-${env:KEY}-y\nb: plain\n"), environ={"KEY": "secret"})
        assert document.data == {"a": "x-secret-y", "b": "plain"}
        assert [document.origin((key,)).kind for key in "ab"] == ["env", "file"]

    def test_an_unquoted_value_has_the_type_that_it_would_have_in_the_file(self, write: Callable[..., Path]) -> None:
        data = read_document(write("a: ${env:N}\nb: '${env:N}'\n"), environ={"N": "8"}).data
        assert data == {"a": 8, "b": "8"}

    def test_a_missing_name_is_a_fault_with_its_line(self, write: Callable[..., Path]) -> None:
        path = write("a: 1\nb: [x, '${env:MISSING}']\n")
        assert f"{path}:2: b.1: no environment variable 'MISSING'; set it" in fault(path)

    def test_a_default_stands_in_for_a_missing_name(self, write: Callable[..., Path]) -> None:
        assert read_document(write("a: ${env:N:-3}\nb: x${env:N:-}\n"), environ={}).data == {"a": 3, "b": "x"}

    def test_a_value_that_a_child_replaces_is_not_asked_for(self, write: Callable[..., Path]) -> None:
        write("a: ${env:MISSING}\n", "base.yaml")
        assert read_document(write("extends: base.yaml\na: 1\n"), environ={}).data == {"a": 1}

    def test_a_broken_form_is_a_fault(self, write: Callable[..., Path]) -> None:
        assert "is not of the form ${env:NAME}" in fault(write("a: '${env:}'\n"))

    def test_a_value_cannot_smuggle_blocks_in(self, write: Callable[..., Path]) -> None:
        assert read_document(write("a: ${env:X}\n"), environ={"X": "{b: 1}"}).data == {"a": "{b: 1}"}


class TestOverrides:
    TEXT = "a: {b: 1, s: greedy}\nlist:\n  - {name: one, x: 1}\n  - {name: two, x: 2}\n"

    @pytest.mark.parametrize(
        ("override", "place", "value"),
        [
            ("a.b=1e-4", ("a", "b"), 1e-4),
            ("a.new=[1, x]", ("a", "new"), [1, "x"]),
            ("list.0.x=5", ("list", 0, "x"), 5),
            ("list.two.x=5", ("list", 1, "x"), 5),
            ("a.s.top=5", ("a", "s"), {"type": "greedy", "top": 5}),
            ("a={c: 1}", ("a",), {"c": 1}),
            ("a.b=", ("a", "b"), None),
            ("a.b='017'", ("a", "b"), "017"),
            ("new.deep.key=x=y", ("new", "deep", "key"), "x=y"),
        ],
    )
    def test_a_value_is_put_at_its_path(
        self, write: Callable[..., Path], override: str, place: tuple[str | int, ...], value: object
    ) -> None:
        document = read_document(write(self.TEXT), [override])
        assert document.value(place) == value
        assert str(document.origin(place)) in (f"override {override!r}", f"{document.file}:1")

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("a.b", "an override is written key.path=value"),
            ("=3", "an override is written key.path=value"),
            ("a..b=3", "an override is written key.path=value"),
            ("list.2.x=3", "list: has 2 items, and none is '2'"),
            ("list.tow.x=3", "none is 'tow'; did you mean 'two'?"),
            ("a.b.c=3", "a.b: is no block, so it has no 'c'"),
            ("a.b=[1", "a.b: broken YAML"),
            ("a.b=*.adaptor", "quote it: '*.adaptor'"),
            ("a.b=1_000", "write 1000"),
            ("extends=x.yaml", "`extends` cannot be overridden"),
        ],
    )
    def test_a_fault_names_the_override(self, write: Callable[..., Path], override: str, message: str) -> None:
        text = fault(write(self.TEXT), override)
        assert text.startswith(f"override {override!r}: ")
        assert message in text

    def test_a_component_path_is_one_below_modalities(self, write: Callable[..., Path]) -> None:
        path = write("modalities: {eye: {x: 1}, list: {x: 1}}\n" + self.TEXT)
        document = read_document(path, ["eye.x=2", "list.0.x=3", "modalities.eye.y=4", "eyes.x=5"])
        assert document.data["modalities"] == {"eye": {"x": 2, "y": 4}, "list": {"x": 1}}
        assert document.data["list"][0]["x"] == 3 and document.data["eyes"] == {"x": 5}

    def test_the_last_override_wins_and_all_faults_are_listed(self, write: Callable[..., Path]) -> None:
        assert read_document(write(self.TEXT), ["a.b=2", "a.b=3"]).data["a"]["b"] == 3
        assert fault(write(self.TEXT), "x", "y").count("override") >= 2
