import time
import tracemalloc

import pytest

from polyjanus.core.config.nodes import Node, read_nodes


def faults(text: str) -> list[str]:
    return [str(fault) for fault in read_nodes(text, "cfg.yaml")[1]]


def block(text: str) -> dict[str, Node]:
    root, found = read_nodes(text, "cfg.yaml")
    assert root is not None and isinstance(root.value, dict) and not found
    return root.value


def test_a_value_knows_line_and_column_of_its_key_and_its_text() -> None:
    inner = block("a:\n  b: 1e-4\n")["a"].value
    assert isinstance(inner, dict)
    assert (inner["b"].origin.line, inner["b"].origin.column, inner["b"].origin.text) == (2, 3, "1e-4")


def test_a_value_below_its_key_has_the_line_of_the_key() -> None:
    assert block("a:\n  'text'\n")["a"].origin.line == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "cfg.yaml:3: a: is written twice, on lines 1 and 3; keep one"),
        ("a:\n\tb: 1\n", "cfg.yaml:2: a tab where YAML wants spaces; indent with spaces (column 1)"),
        ("a: [1\nb: 2\n", "cfg.yaml:2: broken YAML: expected ',' or ']'"),
        ("a: 'x\n", "cfg.yaml:2: broken YAML: found unexpected end of stream"),
        ("a: b: c\n", "cfg.yaml:1: a ':' that YAML cannot place"),
        ("a: \x01\n", "cfg.yaml:1: character 0x0001 is not allowed in YAML (column 4)"),
        ("a: 1\n---\nb: 2\n", "cfg.yaml:2: a second document starts here"),
        ("%YAML 1.1\n---\na: no\n", "cfg.yaml:2: files are read as YAML 1.2"),
        ("b: !!python/object:os.system x\n", "cfg.yaml:1: b: the tag !!python/object:os.system is not allowed"),
        ("b: !!int '5'\n", "cfg.yaml:1: b: the tag !!int is not allowed"),
        ("b: !own {a: 1}\n", "cfg.yaml:1: b: the tag !own is not allowed"),
        ("a: &x {c: 1}\nb:\n  <<: *x\n", "cfg.yaml:3: b.<<: merge keys are not read; use `extends:`"),
        ("a:\n - *.adaptor\n", "quote it: '*.adaptor'"),
        ("a: [*.adaptor]\n", "cfg.yaml:1: a.0: *.adaptor reads as a YAML alias"),
        ("a: *\n", "cfg.yaml:1: an unquoted '*' or '&' starts an alias"),
        ("1: x\n", "cfg.yaml:1: a key must be text; write it in quotes: '1'"),
        ("? [a]\n: 1\n", "cfg.yaml:1: a key must be text"),
        ("a: 1_000\n", "cfg.yaml:1: a: 1_000 has '_' in a number; write 1000"),
        ("a: &a [*a]\n", "nothing is named &a"),
    ],
)
def test_a_fault_of_the_text_has_its_line_and_a_remedy(text: str, message: str) -> None:
    assert message in "\n".join(faults(text))


def test_all_faults_are_listed_at_once() -> None:
    assert len(faults("a: 1\na: 2\nb: !x 1\nc: 017\nd: *.e\n")) == 4


def test_quoted_words_stay_text() -> None:
    assert [node.value for node in block("a: '1'\nb: \"no\"\nc: |\n  5\n").values()] == ["1", "no", "5\n"]


def test_an_alias_repeats_what_its_anchor_names() -> None:
    inner = block("a: &x [1, 2]\nb: *x\n")["b"].value
    assert isinstance(inner, list)
    assert [node.value for node in inner] == [1, 2]


def test_text_without_values_has_no_tree() -> None:
    assert read_nodes("# nothing\n", "cfg.yaml") == (None, [])


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 8)
)
LADDER = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 5000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 100,000 values"),
        (LADDER, "more than 100 blocks inside each other"),
        ("[" * 10_000, "more than 100 blocks inside each other"),
        ("{a: " * 10_000, "more than 100 blocks inside each other"),
        ("- " * 10_000 + "x", "more than 100 blocks inside each other"),
        ("".join(" " * i + "a:\n" for i in range(1000)), "more than 100 blocks inside each other"),
    ],
)
def test_bombs_are_refused_quickly_and_in_little_memory(text: str, message: str) -> None:
    start = time.perf_counter()
    tracemalloc.start()
    found = faults(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert message in found[-1]
    assert time.perf_counter() - start < 2  # traced; untraced it takes milliseconds
    assert peak < 50_000_000
