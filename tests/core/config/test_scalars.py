from typing import Any

import pytest

from polyjanus.core.config.scalars import ScalarError, read_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("1.10", 1.1),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("0.5", 0.5),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("2020-01-01", "2020-01-01"),
        ("12:30", "12:30"),
        ("1.2.3", "1.2.3"),
        ("4x4", "4x4"),
        ("a_b", "a_b"),
        ("-", "-"),
        ("./a", "./a"),
    ],
)
def test_unquoted_words_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    found = read_scalar(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.Inf", ".nan", "1e999", "-1e999"])
def test_numbers_without_end_are_refused(text: str) -> None:
    with pytest.raises(ScalarError, match="is no finite number"):
        read_scalar(text)


@pytest.mark.parametrize(("text", "remedy"), [("1_000", "1000"), ("017", "17"), ("-007", "-7"), ("1_0.5", "10.5")])
def test_numbers_that_parsers_read_differently_are_refused_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ScalarError, match=rf"write {remedy}.*quote it"):
        read_scalar(text)


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(ScalarError, match="5000 digits"):
        read_scalar("9" * 5000)
