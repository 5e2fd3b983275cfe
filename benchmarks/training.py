"""A training step: ours beside a plain padded one of transformers that computes both heads over all positions.

    python benchmarks/training.py [--rounds 5] [--rows 24] [--threads N] [--json FILE]

All sides train the same weights on the same rows (a third are text of many lengths, a third read a picture, a third
draw one), with the same AdamW, in one process, taking turns; medians are printed. `plain` gives transformers' model a
row per sequence, padded, and takes the logits of both heads at every position; each further line changes one thing.
Losses of all sides must agree. `peak` is what a step of a fresh process holds beyond what was there before it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor
from torch.nn import functional

from polyjanus import Pipeline, __version__
from polyjanus.core import losses
from polyjanus.core.features import Kept
from polyjanus.core.sequence.packing import IGNORED, causal_mask, collate
from polyjanus.core.sequence.spans import TokenSequence
from polyjanus.core.training.globs import chosen
from polyjanus.core.training.stages import freeze_all_but

YAML = """
polyjanus: 1
backbone:
  type: causal_lm
  architecture: {model_type: llama, vocab_size: 32000, hidden_size: 384, intermediate_size: 1024,
                 num_hidden_layers: 6, num_attention_heads: 6, max_position_embeddings: 2048}
template: {type: janus, user: User, assistant: Assistant}
text: {tokenizer: bytes}
modalities:
  image:
    understand:
      encoder:
        type: siglip
        architecture: {model_type: siglip_vision_model, image_size: 192, patch_size: 16, hidden_size: 192,
                       intermediate_size: 768, num_hidden_layers: 4, num_attention_heads: 3}
    generate:
      codec: {type: vq16, architecture: {num_patches: 12, base_channels: 32}}
"""
TRAINED = ("backbone", "text", "marks", "image.understand.adaptor", "image.generate.embedding")
TRAINED += ("image.generate.adaptor", "image.generate.head")
WORDS = "a small boat on the sea at night under a red moon and far behind it the lights of a town "


class Steps:
    """The sides: each returns the loss of a batch, its graph attached."""

    def __init__(self, pipeline: Pipeline, rows: Sequence[TokenSequence]) -> None:
        self.model, self.rows = pipeline.model, rows
        self.pad = pipeline.tokenizer.require(pipeline.tokenizer.pad, "padding")
        self.kept = [with_codes(row, pipeline) for row in rows]
        self.sides: dict[str, Callable[[], Tensor]] = {
            "plain": lambda: self.everywhere(is_packed=False),
            "+ packing": lambda: self.everywhere(is_packed=True),
            "+ routing": lambda: self.ours(self.rows),
            "+ kept codes": lambda: self.ours(self.kept),
            "+ fused loss": self.fused,
        }
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=0.0, fused=True)  # so that all sides have the same weights

    def step(self, name: str) -> float:
        """Take a training step and return its loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.sides[name]()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def everywhere(self, *, is_packed: bool) -> Tensor:
        """Return the loss with both heads at every position."""
        model, batch = self.model, collate(self.rows, pad=self.pad, shares_rows=is_packed)
        embeddings, frames = model.embed(batch)
        if is_packed:
            hidden = model.hidden(embeddings, batch["positions"], causal_mask(batch["documents"]))
        else:
            mask = (batch["documents"] >= 0).long()
            transformer: Any = model.part("backbone").transformer
            hidden = transformer(inputs_embeds=embeddings, attention_mask=mask, use_cache=False).last_hidden_state
        text = model.text_logits(hidden).float().flatten(0, 1)
        image = model.part("image.generate.head").logits(hidden).float().flatten(0, 2)
        codes = self.codes(batch, frames["image"])
        total = functional.cross_entropy(text, batch["targets"].flatten(), reduction="sum")
        total = total + functional.cross_entropy(image, codes.flatten(), reduction="sum")
        return total / ((batch["targets"] != IGNORED).sum() + (codes != IGNORED).sum())

    def codes(self, batch: dict[str, Any], frames: Tensor) -> Tensor:
        """Return the code to be predicted at every position, or -100."""
        codes, block = torch.full_like(batch["targets"], IGNORED), batch["media"]["image.generate"]
        items = frames[:, 0].split(block["lengths"].tolist())
        for row, start, item in zip(block["rows"], block["starts"], items, strict=True):
            codes[row, start - 1 : start - 1 + len(item)] = item
        return codes

    def ours(self, rows: Sequence[TokenSequence]) -> Tensor:
        """Return the loss of the unified model as it is trained."""
        return self.model(**collate(rows, pad=self.pad)).loss

    def fused(self) -> Tensor:
        """Return it with product and loss in one operation, which is otherwise left to larger steps."""
        before, losses.FUSED_FROM = losses.FUSED_FROM, 1
        try:
            return self.ours(self.kept)
        finally:
            losses.FUSED_FROM = before


@torch.no_grad()
def with_codes(row: TokenSequence, pipeline: Pipeline) -> TokenSequence:
    """Return a sequence whose generated items are codes already."""
    codec: Any = pipeline.model.part("image.generate.codec")
    drawn = {span.item for span in row.spans if span.pathway == "generate"}
    items = [Kept(codec.encode([item])[0]) if place in drawn else item for place, item in enumerate(row.items)]
    return replace(row, items=items)


def make_steps(count: int) -> Steps:
    """Return the sides over so many rows: a third are text, a third read a picture, a third draw one."""
    noise = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "pipeline.yaml").write_text(YAML, encoding="utf-8")
        pipeline = Pipeline.from_yaml(Path(home) / "pipeline.yaml", device="cpu")
    freeze_all_but(
        pipeline.model, chosen(TRAINED, pipeline.config.component_paths()), pipeline.config.component_paths()
    )
    rows: list[TokenSequence] = []
    for number in range(count):
        words = (WORDS * 4)[: int(noise.integers(20, 320))]
        picture = Image.fromarray(noise.integers(0, 255, (192, 192, 3), dtype=np.uint8))
        part = {"type": "image", "image": picture}
        sides = [["Say it."], [words]], [[part, "What is it?"], [words[:60]]], [[words[:60]], [part]]
        turns = zip(("user", "assistant"), sides[number % 3], strict=True)
        rows.append(pipeline.compile([{"role": r, "content": side} for r, side in turns], is_prompt=False))
    return Steps(pipeline, rows)


def measure(steps: Steps, rounds: int) -> dict[str, float]:
    """Return the median seconds of each side, which take turns; the first turn does not count."""
    times: dict[str, list[float]] = {name: [] for name in steps.sides}
    for turn in range(rounds + 1):
        found: list[float] = []
        for name in steps.sides:
            started = time.perf_counter()
            found.append(steps.step(name))
            if turn:
                times[name].append(time.perf_counter() - started)
        assert max(found) - min(found) < 1e-4 * max(found), found
    return {name: statistics.median(each) for name, each in times.items()}


def peak_of(steps: Steps, name: str) -> int:
    """Return the bytes that a step holds at most beyond what was there (Linux)."""
    steps.sides[name]().backward()  # what is made once, such as gradients, is made now
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    steps.step(name)
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    steps = make_steps(arguments.rows)
    if arguments.peak:
        print(peak_of(steps, arguments.peak))
        return
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    machine = f"{platform.machine()}, {arguments.threads} threads, {versions}"
    print(f"polyjanus {__version__}, {machine}; {arguments.rows} rows per step")
    times = measure(steps, arguments.rounds)
    again = [sys.executable, __file__, "--rows", str(arguments.rows), "--threads", str(arguments.threads), "--peak"]
    peaks = {name: int(subprocess.run([*again, name], capture_output=True, check=True).stdout) for name in times}
    for name, seconds in times.items():
        faster, smaller = times["plain"] / seconds, peaks[name] / peaks["plain"]
        print(
            f"{name:>14}  {seconds:6.2f} s  {arguments.rows / seconds:6.1f} rows/s  {faster:.2f} x"
            f"   peak {peaks[name] / 1e9:.2f} GB, {smaller:.2f} of plain"
        )
    if arguments.json:
        result = {"machine": machine, "rows": arguments.rows, "seconds": times, "peak_bytes": peaks}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
