from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from polyjanus.core.config.document import read_document
from polyjanus.core.config.json_schema import json_schema
from polyjanus.core.manager import load_plugins
from polyjanus.core.registry import Registries

EXAMPLES = sorted(Path(__file__).parents[3].joinpath("examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator(registries: Registries) -> Draft7Validator:
    schema = json_schema(registries)
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def data(write: Callable[..., Path], text: str) -> Any:
    return read_document(write(text), environ={}).data


def test_the_schema_of_what_is_installed_is_draft_07() -> None:
    Draft7Validator.check_schema(json_schema(load_plugins(third_party=False).registries))


def test_a_valid_pipeline_is_valid_by_the_schema(
    validator: Draft7Validator, write: Callable[..., Path], rich: str
) -> None:
    assert [error.message for error in validator.iter_errors(data(write, rich))] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_valid_by_the_schema(example: Path) -> None:
    schema = json_schema(load_plugins(third_party=False).registries)
    found = Draft7Validator(schema).iter_errors(read_document(example, environ={}).data)
    assert [f"{list(error.absolute_path)}: {error.message}" for error in found] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("depth: 3", "depht: 3"),
        ("depth: 3", "depth: many"),
        ("depth: 3", "depth: 0"),
        ("type: patch", "type: pach"),
        ("type: patch", "kind: patch"),
        ("codes: 16", "codez: 16"),
        ("layout: grid", "layout: grdi"),
        ("max_pixels: 64", "max_pixel: 64"),
        ("  imu:", "  Imu:"),
        ("  imu:", "  text:"),
        ("type: timeseries", "type: time"),
        ("precision: auto", "precision: fast"),
        ("betas: [0.9, 0.99]", "betas: [0.9, 0.99, 0.1]"),
        ("polyjanus: 1", "polyjanus: 2"),
    ],
)
def test_what_reading_refuses_the_schema_refuses(
    validator: Draft7Validator, write: Callable[..., Path], rich: str, old: str, new: str
) -> None:
    assert list(validator.iter_errors(data(write, rich.replace(old, new, 1))))


def test_the_short_form_is_only_for_types_that_need_nothing_else(
    validator: Draft7Validator, write: Callable[..., Path], small: str
) -> None:
    assert validator.is_valid(data(write, f"{small}text: {{sampler: greedy}}\n"))
    assert not validator.is_valid(data(write, f"{small}text: {{sampler: gredy}}\n"))
    assert not validator.is_valid(data(write, f"{small}modalities:\n  image: {{understand: {{encoder: shared}}}}\n"))


@pytest.mark.parametrize(
    "block", ["", "{max_pixels: 5}", "{type: image}", "{type: timeseries, channels: [a], sample_rate: 1}"]
)
def test_a_modality_has_the_type_of_its_name_unless_it_says_another(
    validator: Draft7Validator, write: Callable[..., Path], small: str, block: str
) -> None:
    assert validator.is_valid(data(write, f"{small}modalities:\n  image: {block}\n"))


def test_a_child_may_leave_out_what_its_parent_says_but_not_misspell_it(validator: Draft7Validator) -> None:
    assert validator.is_valid(
        {"extends": "base.yaml", "modalities": {"image": {"understand": {"encoder": {"title": "x"}}}}}
    )
    assert not validator.is_valid({"extends": "base.yaml", "trainin": {}})
    assert not validator.is_valid({"extends": "base.yaml", "training": {"sed": 1}})


def test_fields_of_plugins_and_their_units_are_in_the_schema(registries: Registries) -> None:
    field = json_schema(registries)["definitions"]["modality.timeseries"]["properties"]["sample_rate"]
    assert field["description"] == "Hz"
