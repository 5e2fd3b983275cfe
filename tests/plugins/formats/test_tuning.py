"""Tuning a published checkpoint on both pathways, and giving it back in the layouts that others read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from polyjanus.core.checkpoints.components import unique_state
from polyjanus.core.cli import main
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.training.log import LOG

STAGE = {
    "name": "tune",
    "train": ["backbone", "*.adaptor", "image.generate.head"],
    "mix": {"rows": 1},
    "steps": 12,
    "batch": 2,
    "lr": 3e-3,
}
TRAINED = ("backbone.", "image.understand.adaptor.", "image.generate.adaptor.", "image.generate.head.")
LORA = {"backbone": {"rank": 8, "alpha": 16, "modules": ["*_proj"]}}


def _tune(source: Path, pipeline: Any, picture: Any, home: Path, lora: dict[str, Any]) -> tuple[Path, list[float]]:
    """Train on a caption and a question, and return the run and its losses."""
    picture.save(home / "a.png")
    part = {"type": "image", "path": "a.png"}
    rows = [
        [{"role": "user", "content": "a red square"}, {"role": "assistant", "content": [part]}],
        [{"role": "user", "content": [part, "what is it?"]}, {"role": "assistant", "content": "a square"}],
    ]
    (home / "rows.jsonl").write_text("\n".join(json.dumps({"messages": row}) for row in rows))
    dump = pipeline.config.model_dump(mode="json", serialize_as_any=True)
    dump |= {
        "pretrained": str(source),
        "data": {"rows": {"type": "jsonl", "path": "./rows.jsonl"}},
        "training": {"caption_dropout": 0.0, "lora": lora, "stages": [STAGE]},
    }
    dump["text"]["tokenizer"] = {"type": "auto"}
    yaml = home / "tune.yaml"
    yaml.write_text(json.dumps(dump), encoding="utf-8")  # JSON is YAML
    run = home / "run"
    assert main(["precompute", str(yaml), "--features", "--device", "cpu"]) == 0  # seconds per picture
    assert main(["train", str(yaml), "--run", str(run), "--device", "cpu", "--quiet"]) == 0
    return run, [json.loads(line)["loss"] for line in (run / LOG).read_text().splitlines()]


def _check_tuned(run: Path, losses: list[float], pipeline: Any, plugins: Any) -> Pipeline:
    assert sum(losses[-3:]) / 3 < 0.8 * losses[0]
    tuned = Pipeline.from_pretrained(run, plugins=plugins, device="cpu", dtype="float32")
    before, after = unique_state(pipeline.model), unique_state(tuned.model)
    assert set(before) == set(after)
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert all(any(name.startswith(path) for name in moved) for path in TRAINED)
    assert all(name.startswith(TRAINED) for name in moved)
    return tuned


@pytest.mark.parametrize("lora", [{}, LORA], ids=["whole", "lora"])
def test_a_tuned_checkpoint_is_read_by_transformers(
    small_folder: Path, small_pipeline: Any, picture: Any, plugins: Any, tmp_path: Path, lora: dict[str, Any]
) -> None:
    from transformers import JanusForConditionalGeneration

    run, losses = _tune(small_folder, small_pipeline, picture, tmp_path, lora)
    tuned = _check_tuned(run, losses, small_pipeline, plugins)
    assert main(["convert", str(run), str(tmp_path / "out"), "--to", "transformers"]) == 0
    theirs = JanusForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    sequence = tuned.compile("hello there")
    ids = torch.tensor([sequence.ids])
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        hidden = tuned.model.hidden(tuned.model.embed_text(ids), torch.arange(ids.shape[1])[None], None)
        torch.testing.assert_close(tuned.model.text_logits(hidden), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [{}, LORA], ids=["whole", "lora"])
def test_deepseeks_checkpoint_is_tuned_and_given_back_in_its_own_layout(
    whole_folder: Path, golden_pipeline: Any, picture: Any, plugins: Any, tmp_path: Path, lora: dict[str, Any]
) -> None:
    run, losses = _tune(whole_folder, golden_pipeline, picture, tmp_path, lora)
    tuned = _check_tuned(run, losses, golden_pipeline, plugins)
    assert main(["convert", str(run), str(tmp_path / "out"), "--to", "deepseek"]) == 0
    first, last = (load_file(folder / "model.safetensors") for folder in (whole_folder, tmp_path / "out"))
    assert all(first[name].shape == value.shape for name, value in last.items())
    assert all("attn_pool" in name or "codebook_used" in name for name in set(first) - set(last))  # never used
    again = Pipeline.from_pretrained(tmp_path / "out", plugins=plugins, device="cpu", dtype="float32")
    mine, theirs = unique_state(tuned.model), unique_state(again.model)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
