"""What the model answers to a few prompts whenever held-out rows are scored, kept for a person to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polyjanus.core.config.schema import SampleConfig
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.training.log import append

SAMPLES = "samples"
LINES = "samples.jsonl"


def write_samples(pipeline: Pipeline, prompts: tuple[SampleConfig, ...], run: Path, total: int, folder: Path) -> None:
    """Answer every prompt with the same seed, and write media, previews and a line per answer under `samples/`."""
    home = run / SAMPLES
    for number, sample in enumerate(prompts):
        parts: list[Any] = [{"type": name, "path": str(folder / path)} for name, path in sample.inputs.items()]
        reply = pipeline.run([*parts, sample.prompt], sample.output, seed=0, max_tokens=sample.max_tokens)
        home.mkdir(exist_ok=True)
        kept: list[dict[str, Any]] = []
        for place, part in enumerate(reply.parts):
            if part["type"] == "text":
                kept.append({"type": "text", "text": part["text"].strip()})
                continue
            modality = pipeline.compiler.modalities[part["type"]]
            stem = f"{total:07d}-{number}-{place}"
            modality.save(part["media"], home / f"{stem}{modality.suffixes[0]}")
            (home / f"{stem}.preview.png").write_bytes(modality.preview(part["media"]))
            names = {"path": f"{stem}{modality.suffixes[0]}", "preview": f"{stem}.preview.png"}
            kept.append({"type": part["type"], **names})
        append(home / LINES, {"total": total, "prompt": sample.prompt, "parts": kept})
