"""What a run writes down about its data can be read again."""

import json
from typing import Any

import pytest

BLOCKS: list[dict[str, Any]] = [
    {"type": "caption_folder", "path": "./d", "task": "audio.understand"},
    {"type": "caption_folder", "path": "./d", "task": "generate", "modality": "eeg"},
    {"type": "class_folder", "path": "./d", "task": "emg.understand", "suffixes": [".csv"]},
    {"type": "class_folder", "path": "./d", "task": "generate"},
    {"type": "parquet", "path": "./d.parquet", "task": "audio.generate", "columns": {"a": "audio", "b": "text"}},
    {
        "type": "webdataset",
        "path": "./{000..003}.tar",
        "task": "image.generate",
        "columns": {"jpg": "image", "txt": "text"},
    },
    {"type": "llava", "path": "./d.json"},
    {"type": "jsonl", "path": "./d.jsonl"},
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block['type']}-{block.get('task', '')}")
def test_settings_of_a_source_are_read_as_they_were_written(plugins: Any, block: dict[str, Any]) -> None:
    settings = plugins.registries.of("source").get(block["type"])
    try:
        first = settings.model_validate(block, context={"registries": plugins.registries})
    except ValueError as error:
        pytest.fail(f"{block}: {error}")
    dump = json.loads(json.dumps(first.model_dump(mode="json", serialize_as_any=True)))
    again = settings.model_validate(dump, context={"registries": plugins.registries})
    assert again == first
    if "task" in block and "." in block["task"]:
        assert again.medium == block["task"].split(".")[0]
