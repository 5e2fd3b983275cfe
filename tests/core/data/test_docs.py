"""docs/data.md is true: its data sets are settings, its commands and JSON keys are those that there are."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from polyjanus.core.cli.main import COMMANDS
from polyjanus.core.config.schema import BadRowsConfig
from polyjanus.core.data.checking import SourceReport

TEXT = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")


def _blocks() -> list[dict[str, Any]]:
    return [
        YAML(typ="safe").load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    ]


def test_every_data_set_is_read_as_settings_and_every_source_of_ours_is_there(plugins: Any) -> None:
    seen: set[str] = set()
    for block in _blocks():
        for settings in block.get("data", {}).values():
            entry = plugins.registries.sources.entry(settings["type"])
            entry.settings.model_validate(settings, context={"registries": plugins.registries})
            seen.add(settings["type"])
    ours = {
        entry.settings.type_name() for entry in plugins.registries.sources if "plugins" in entry.settings.__module__
    }
    assert seen == ours


def test_the_rate_shown_is_the_default() -> None:
    (shown,) = (block["training"]["bad_rows"] for block in _blocks() if "training" in block)
    assert BadRowsConfig(**shown) == BadRowsConfig()


def test_every_key_of_the_report_is_explained() -> None:
    for key in SourceReport("x", "jsonl").as_json():
        assert f"`{key}`" in TEXT or f"sources[].{key}`" in TEXT, key


def test_commands_and_links_are_those_that_there_are() -> None:
    for line in re.findall(r"^polyjanus (\w+)", TEXT, re.MULTILINE):
        assert line in COMMANDS
    for target in re.findall(r"\]\((?!http)([^)#]+)", TEXT):
        assert (Path(__file__).parents[3] / "docs" / target).exists(), target
