"""What `polyjanus precompute` gains: a training step that computes everything, one with kept codes, and features too.

    python benchmarks/keeping.py [--rounds 7] [--batch 8] [--threads N] [--results 1000000] [--json FILE]

All sides train the same model (SigLIP-like encoder, VQ-16 codec and transformer of a size for a CPU; encoder and codec
are frozen) on the same rows, half of which read and half draw a 512 x 512 JPEG, in one process, taking turns; medians
are printed. A step reads its rows, goes forward and backward. Losses of all sides must be equal to the bit. Then a
store of so many results is opened, and some are looked up.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from polyjanus import Pipeline, __version__
from polyjanus.core.cli.main import main as polyjanus
from polyjanus.core.features import Kept
from polyjanus.core.keeping.shards import Shelf
from polyjanus.core.sequence.packing import collate
from polyjanus.core.training.stages import freeze_all_but

YAML = """
polyjanus: 1
backbone:
  type: causal_lm
  architecture: {model_type: llama, hidden_size: 256, intermediate_size: 704, num_hidden_layers: 6,
                 num_attention_heads: 4, max_position_embeddings: 1024}
template: {type: janus, user: User, assistant: Assistant}
text: {tokenizer: bytes}
modalities:
  image:
    understand:
      encoder:
        type: siglip
        architecture: {model_type: siglip_vision_model, image_size: 192, patch_size: 16, hidden_size: 384,
                       intermediate_size: 1536, num_hidden_layers: 8, num_attention_heads: 6}
    generate:
      codec: {type: vq16, architecture: {num_patches: 12, base_channels: 32}}
data:
  rows: {type: jsonl, path: ./rows.jsonl}
training:
  stages:
    - {name: all, train: [backbone, text, marks, "*.adaptor", image.generate.embedding, image.generate.head],
       mix: {rows: 1}, steps: 1, batch: 8, lr: 1e-4}
"""
SIDES = {"computed": None, "codes": (), "codes and features": ("--features",)}


def write_rows(folder: Path, batch: int) -> list[list[dict[str, Any]]]:
    """Write a YAML, pictures and rows that read and draw them in turn; return the messages of the rows."""
    noise, rows = np.random.default_rng(0), list[list[dict[str, Any]]]()
    for number in range(batch):
        small = Image.fromarray(noise.integers(0, 255, (32, 32, 3), dtype=np.uint8))
        small.resize((512, 512)).save(folder / f"{number}.jpg")
        part = {"type": "image", "path": str(folder / f"{number}.jpg")}
        sides = [["Draw it."], [part]] if number % 2 else [[part, "What is it?"], ["A word."]]
        rows.append([{"role": r, "content": side} for r, side in zip(("user", "assistant"), sides, strict=True)])
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"messages": row}) for row in rows))
    (folder / "pipeline.yaml").write_text(YAML)
    return rows


def kept(folder: Path, name: str, options: tuple[str, ...]) -> dict[str, Any]:
    """Run `polyjanus precompute` into a store of that name and return its report."""
    with redirect_stdout(io.StringIO()) as out:
        assert (
            polyjanus(["precompute", str(folder / "pipeline.yaml"), f"training.kept={name}", "--json", *options]) == 0
        )
    return json.loads(out.getvalue())


def step_of(pipeline: Pipeline, rows: list[list[dict[str, Any]]]) -> Callable[[], float]:
    """Return a training step over rows, which gives its loss."""
    pad = pipeline.tokenizer.require(pipeline.tokenizer.pad, "padding")
    paths = ["backbone", "text.embedding", "text.head", "marks", "image.understand.adaptor"]
    paths += [f"image.generate.{part}" for part in ("embedding", "adaptor", "head")]
    freeze_all_but(pipeline.model, paths, pipeline.config.component_paths())

    def step() -> float:
        loss = pipeline.model(**collate([pipeline.compile(row, is_prompt=False) for row in rows], pad=pad)).loss
        loss.backward()
        pipeline.model.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def measure(rounds: int, batch: int) -> dict[str, Any]:
    """Return milliseconds per step of each side, which take turns; the first turn does not count."""
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        rows = write_rows(folder, batch)
        steps: dict[str, Callable[[], float]] = {}
        found: dict[str, Any] = {}
        for name, options in SIDES.items():
            if options is not None:
                found[name] = kept(folder, name, options)
            pipeline = Pipeline.from_yaml(folder / "pipeline.yaml", [f"training.kept={name}"], device="cpu")
            steps[name] = step_of(pipeline, rows)
        for turn in range(rounds + 1):
            losses: set[float] = set()
            for name, step in steps.items():
                started = time.perf_counter()
                losses.add(step())
                if turn:
                    times[name].append(time.perf_counter() - started)
            assert len(losses) == 1, losses
    return {
        "step_ms": {name: 1e3 * statistics.median(each) for name, each in times.items()},
        "precompute_s": {name: report["seconds"] for name, report in found.items()},
        "bytes": {name: sum(each["bytes"] for each in report["components"]) for name, report in found.items()},
    }


def open_store(number: int) -> dict[str, float]:
    """Return seconds to open a store of so many results of 16 codes, and microseconds to find one."""
    noise, codes = np.random.default_rng(0), Kept(torch.zeros(16, 1, dtype=torch.int64))
    with tempfile.TemporaryDirectory() as home:
        shelf, some = Shelf(Path(home), print), list[bytes]()
        while number > 0:
            count = min(number, 1 << 16)
            keys = [noise.bytes(32) for _ in range(count)]
            shelf.add(dict.fromkeys(keys, codes), torch.uint16)
            some += keys[:: max(count // 64, 1)]
            number -= count
        started = time.perf_counter()
        shelf = Shelf(Path(home), print)
        opened = time.perf_counter() - started
        assert all(shelf.find(key) is not None for key in some[::7])
        started = time.perf_counter()
        assert all(shelf.find(key) is not None for key in some)
        return {"open_s": opened, "find_us": 1e6 * (time.perf_counter() - started) / len(some)}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    machine = f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}"
    print(f"polyjanus {__version__}, {machine}; ms per training step of {arguments.batch} rows")
    result = measure(arguments.rounds, arguments.batch)
    whole = result["step_ms"]["computed"]
    for name, value in result["step_ms"].items():
        store = f"   {result['bytes'][name] / 1e6:.2f} MB kept" if name in result["bytes"] else ""
        print(f"{name:>20}  {value:8.1f}   {whole / value:.2f} times as fast{store}")
    store = open_store(arguments.results)
    print(f"{arguments.results} results: opened in {store['open_s']:.2f} s, found in {store['find_us']:.0f} us each")
    if arguments.json:
        text = json.dumps({"machine": machine, **result, "results": arguments.results, "store": store}, indent=1)
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
