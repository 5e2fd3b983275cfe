"""What every registered component promises, whoever wrote it: a new one is held to this without a new test.

The checks are those of `polyjanus.core.testing`, which plugin authors run too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from polyjanus.core.manager import load_plugins
from polyjanus.core.testing import parametrize_with_checks
from polyjanus.core.testing.bench import BUILT

COMPONENTS: dict[str, Any] = YAML(typ="safe").load(Path(__file__).with_name("components.yaml"))
SOURCES: dict[str, Any] = {
    "jsonl": {"path": str(Path(__file__).parents[1] / "examples" / "motion" / "read.jsonl")},
    "digits": {"task": "draw"},
    "decoupling": {"task": "write", "sense": "image"},
    **dict.fromkeys(("tones", "shapes", "ssvep"), {"task": "name"}),
    **dict.fromkeys(("caption_folder", "class_folder"), {"task": "image.understand"}),
}
PLUGINS = load_plugins(third_party=False)


@parametrize_with_checks(PLUGINS, settings={**COMPONENTS, "source": SOURCES})
def test_every_component_keeps_its_contracts(case: Callable[[], None]) -> None:
    case()


def test_the_table_of_small_settings_has_every_component_and_none_that_is_gone() -> None:
    assert set(COMPONENTS) == set(BUILT)
    for kind, entries in COMPONENTS.items():
        assert set(entries) == set(PLUGINS.registries.of(kind).names())
