"""A plugin that was written for api_version 1 goes on working: it keeps its contracts, learns, reads and writes."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from polyjanus.core.cli.main import main
from polyjanus.core.testing import parametrize_with_checks

FILE = Path(__file__).with_name("tide.py")
KEPT = "982df99cf9308c07ff6795d060a2fa9c2136b3e01f5e9c30173fdc05d9a536c4"
PIPELINE = """
polyjanus: 1
backbone:
  type: causal_lm
  architecture: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1,
                 num_attention_heads: 4}
template: {type: janus, user: User, assistant: Assistant}
text: {tokenizer: bytes}
modalities:
  tide:
    understand: {encoder: tide_hours, adaptor: tide_adaptor}
    generate: {codec: tide_steps, layout: tide_layout, adaptor: tide_adaptor, head: tide_head, sampler: tide_sampler}
data:
  rows: {type: jsonl, path: rows.jsonl}
training:
  stages:
    - {name: all, train: [backbone, text, marks, tide], mix: {rows: 1}, steps: 2, batch: 2, lr: 1e-3}
"""


@parametrize_with_checks(FILE)
def test_a_plugin_of_version_1_keeps_its_contracts(case: Callable[[], None]) -> None:
    case()


def test_a_pipeline_of_its_parts_trains_writes_and_calls_its_hooks(tmp_path: Path) -> None:
    (tmp_path / "a.tide").write_bytes(bytes(48))
    part = {"type": "tide", "path": "a.tide"}
    rows = [
        [{"role": "user", "content": [part, "High?"]}, {"role": "assistant", "content": "no"}],
        [{"role": "user", "content": "A tide."}, {"role": "assistant", "content": [part]}],
    ]
    lines = "".join(json.dumps({"messages": row}) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "tide.yaml").write_text(PIPELINE, encoding="utf-8")
    plugin, run = ["--plugin", str(FILE)], str(tmp_path / "run")
    assert main([*plugin, "train", str(tmp_path / "tide.yaml"), "--run", run]) == 0
    assert (tmp_path / "run" / "tide.txt").read_text().split() == ["1", "2", "saved"]
    made = tmp_path / "made.tide"
    assert main([*plugin, "run", run, "A tide.", "--output", "tide", "-o", str(made)]) == 0
    assert len(made.read_bytes()) == 48


def test_the_plugin_is_as_it_was_written() -> None:
    """What has to be changed in it would have to be changed in everyone's: that takes a new api_version."""
    assert sha256(FILE.read_bytes()).hexdigest() == KEPT
