"""Text, first token, decoding pictures and loading: ours beside transformers.

    python benchmarks/inference.py [--size 60M] [--rounds 5] [--threads N] [--json FILE]

Both sides share weights and dtype, run in one process and take turns; medians are printed. `text` is 64 tokens by
sampling, per token; `first token` is a prompt of 200 positions and one token; `decode` is one picture of 384 x 384 by
VQ-16 at its real size; `load` is a checkpoint from disk, files cached; `peak memory` is what a fresh process needs,
beyond its imports, to load and write eight tokens, as a multiple of the weights' size.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from generation import SIZES, our_pipeline
from torch import Tensor

from polyjanus import Pipeline, __version__
from polyjanus.core.generation.choosing import Request
from polyjanus.core.modules import Sampler
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.image import Vq16Config

TOKENS = 64
WORDS = "How many roads must a man walk down, before you call him a man? "


class Endless(Sampler):
    """Draws from the whole softmax, but never the end."""

    def __init__(self, end: int) -> None:
        self.end = end

    def __call__(self, logits: Tensor, noise: Tensor | None) -> Tensor:
        """Return the ids (R,) of logits (R, V)."""
        logits[:, self.end] = float("-inf")
        return (logits - torch.log(-torch.log(noise))).argmax(-1)


def median_times(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each side, per unit if it returns their number.

    The sides take turns, and the first round does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, run in sides.items():
            started = time.perf_counter()
            units = run()
            elapsed = time.perf_counter() - started
            times[name].append(elapsed / units if isinstance(units, int) else elapsed)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def their_llama(pipeline: Pipeline) -> Any:
    """Return transformers' causal language model of the same weights."""
    transformer = pipeline.model.part("backbone").transformer
    model = transformers.LlamaForCausalLM(transformer.config).eval()
    state = {f"model.{name}": value for name, value in transformer.state_dict().items()}
    state["model.embed_tokens.weight"] = pipeline.model.part("text.embedding").weight
    state["lm_head.weight"] = pipeline.model.part("text.head").weight
    model.load_state_dict(state)
    return model


def text_sides(pipeline: Pipeline, theirs: Any, tokens: int, prompt: str) -> dict[str, Callable[[], Any]]:
    """Return both ways to write so many tokens after a prompt; neither may end early."""
    sequence = pipeline.compile(prompt)
    ids = torch.tensor([sequence.ids])
    engine = pipeline.engine
    request = Request(("text",), max_tokens=tokens, samplers={"text": Endless(engine.end_of_turn)})

    def ours() -> int:
        list(engine.generate([sequence], request))
        return tokens

    def transformers_() -> int:
        theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=True,
            top_k=0,
            pad_token_id=0,
        )
        return tokens

    return {"ours": ours, "transformers": transformers_}


def decode_sides() -> dict[str, Callable[[], Any]]:
    """Return both ways to decode one picture of 576 codes with VQ-16 at its real size, weights random."""
    codec = Vq16Config(type="vq16", architecture={}).build(BuildContext(path="codec")).eval()
    theirs = transformers.models.janus.modeling_janus.JanusVQVAE(
        transformers.models.janus.configuration_janus.JanusVQVAEConfig(num_patches=24)
    ).eval()
    codes = torch.randint(0, 16384, (576, 1))

    @torch.no_grad()
    def transformers_() -> None:
        theirs.decode(codes.T)

    return {"ours": lambda: codec.decode([codes]), "transformers": transformers_}


def load_sides(pipeline: Pipeline, theirs: Any, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return both ways to load from disk."""
    pipeline.save(folder / "ours")
    theirs.save_pretrained(folder / "theirs")
    return {
        "ours, verified": lambda: Pipeline.from_pretrained(folder / "ours"),
        "ours": lambda: Pipeline.from_pretrained(folder / "ours", is_verified=False),
        "transformers": lambda: transformers.LlamaForCausalLM.from_pretrained(folder / "theirs"),
    }


PROBES = {
    "ours": """
from polyjanus import Pipeline
import polyjanus.core.model.unified, transformers.models.llama.modeling_llama
def load(): return Pipeline.from_pretrained(FOLDER, is_verified=False, device="cpu")
def write(model): model.run("Hi", max_tokens=8)
""",
    "transformers": """
import polyjanus.core.hf, torch, transformers, transformers.models.llama.modeling_llama
def load(): return transformers.LlamaForCausalLM.from_pretrained(FOLDER)
def write(model): model.generate(torch.tensor([[1, 2]]), max_new_tokens=8, min_new_tokens=8, pad_token_id=0)
""",
}
MEASURE = """
def resident(name):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(name)) * 1024
before = resident("VmRSS")
write(load())
print(resident("VmHWM") - before)
"""


def peak_memory(folder: Path, weights: int) -> dict[str, float]:
    """Return the peak memory of loading and writing in a fresh process, as multiples of the weights' bytes (Linux)."""
    found: dict[str, float] = {}
    for name, code in PROBES.items():
        place = folder / ("ours" if name == "ours" else "theirs")
        script = f"FOLDER = {str(place)!r}\n{code}\n{MEASURE}"
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
        )
        found[name] = int(done.stdout.split()[-1]) / weights
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="60M", choices=SIZES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    pipeline = our_pipeline(arguments.size)
    theirs = their_llama(pipeline)
    results: dict[str, dict[str, float]] = {
        "text (s per token)": median_times(text_sides(pipeline, theirs, TOKENS, "Hi"), arguments.rounds),
        "first token (s)": median_times(text_sides(pipeline, theirs, 1, WORDS * 3), arguments.rounds),
        "decode (s)": median_times(decode_sides(), 3),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results["load (s)"] = median_times(load_sides(pipeline, theirs, folder), arguments.rounds)
        weights = sum(parameter.numel() * 4 for parameter in theirs.parameters())
        results["peak memory (x weights)"] = peak_memory(folder, weights)
    machine = f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}"
    print(f"polyjanus {__version__}, transformers {transformers.__version__}, {machine}, {arguments.size}")
    for what, values in results.items():
        print(f"{what:>34}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
