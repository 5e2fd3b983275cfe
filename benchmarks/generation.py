"""Drawing pictures of 576 codes with guidance 5: ours, transformers, the plain loop, and the bare products.

    python benchmarks/generation.py [--sizes 3M,60M,190M] [--rounds 5] [--steps 576] [--threads N] [--json FILE]
    python benchmarks/generation.py --device cuda --dtype bfloat16 --sizes 1B,7B --images 1,16

All sides share weights, dtype, prompt, guidance and sampling from all 16384 codes, run in one process and take turns;
medians are printed, and ratios to the *bare products*: all products of a step with weight matrices, same rows and
order, nothing else. The plain loop is what DeepSeek ships: a cache that grows by concatenation, no mask, no positions.
`--ways` are the ways in which our step is run (plain, compiled, captured); what making one ready costs beyond a steady
round is printed apart. On a GPU the limit is the time to read the weights once, at the speed of a copy.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from polyjanus import Pipeline, __version__
from polyjanus.core.generation.choosing import Request

SIZES = {
    "3M": (192, 512, 6, 6),
    "60M": (640, 1728, 12, 10),
    "190M": (1024, 2816, 15, 16),
    "1B": (2048, 5632, 24, 16),
    "7B": (4096, 11008, 30, 32),
}
"""Width, inner width, layers, heads; the last two are Janus-Pro's."""
PROMPT = "A portrait of a young girl."
VQ = {"base_channels": 32, "channel_multiplier": [1, 1], "num_patches": 24, "latent_channels": 32, "num_res_blocks": 1}

YAML = """
polyjanus: 1
backbone:
  type: causal_lm
  architecture: {{model_type: llama, hidden_size: {0}, intermediate_size: {1}, num_hidden_layers: {2},
                 num_attention_heads: {3}, max_position_embeddings: 2048}}
text: {{tokenizer: bytes}}
modalities:
  image:
    generate:
      codec: {{type: vq16, architecture: {4}}}
      embedding: {{width: 8}}
      sampler: {{type: guided, scale: 5.0, temperature: 1.0}}
"""


def our_pipeline(size: str, device: str = "cpu", dtype: str = "float32") -> Pipeline:
    """Return a pipeline of one of the sizes, its weights random."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(YAML.format(*SIZES[size], json.dumps(VQ)), encoding="utf-8")
        return Pipeline.from_yaml(path, device="cpu").to(device, dtype)


def their_model(pipeline: Pipeline, size: str) -> Any:
    """Return transformers' Janus with the same transformer, head, code embedding and adaptor."""
    width, inner, layers, heads = SIZES[size]
    text = {
        "model_type": "llama",
        "vocab_size": pipeline.model.vocabulary.size,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": 2048,
    }
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 384,
        "patch_size": 16,
        "projection_dim": width,
        "num_image_tokens": 576,
    }
    vq = {**VQ, "projection_dim": width, "image_token_embed_dim": width}
    config = transformers.JanusConfig(text_config=text, vision_config=vision, vq_config=vq, tie_word_embeddings=False)
    ours = pipeline.model
    with torch.device(ours.device):
        model = transformers.JanusForConditionalGeneration(config).eval().to(ours.dtype)
    theirs = model.model
    theirs.language_model.load_state_dict(
        {**ours.part("backbone").transformer.state_dict(), "embed_tokens.weight": ours.part("text.embedding").weight}
    )
    head, adaptor = ours.part("image.generate.head"), ours.part("image.generate.adaptor")
    for mine, their in (
        (head.hidden, theirs.generation_head.proj_out),
        (head.output, theirs.generation_head.vision_head),
        (adaptor.layers[0], theirs.generation_aligner.fc1),
        (adaptor.layers[2], theirs.generation_aligner.hidden_layers[0]),
        (ours.part("image.generate.embedding").tables[0], theirs.generation_embeddings),
    ):
        their.load_state_dict(mine.state_dict())
    return model


class Sides:
    """The ways to write `steps` codes of some pictures."""

    def __init__(self, size: str, steps: int, images: int = 1, device: str = "cpu", dtype: str = "float32") -> None:
        self.pipeline, self.steps, self.images = our_pipeline(size, device, dtype), steps, images
        self.model, self.device = self.pipeline.model, torch.device(device)
        self.model.layouts["image"].max_steps = steps
        self.model.part("image.generate.codec").decode = lambda codes: [None for _ in codes]  # codes are what is timed
        self.engines: dict[str, Any] = {}
        self.theirs = their_model(self.pipeline, size)
        self.theirs.model.vision_model.config.num_image_tokens = steps
        self.theirs.generation_config.generation_kwargs = {"boi_token_id": self.pipeline.tokenizer.id_of("<bos>")}
        self.prompt = self.pipeline.compile(PROMPT)
        self.opening = self.model.vocabulary.begins["image"]
        tokenizer = self.pipeline.tokenizer
        self.pad, self.bos = tokenizer.id_of(tokenizer.pad), tokenizer.id_of(tokenizer.bos)
        modules = [self.model.part(path) for path in ("backbone", "image.generate.head", "image.generate.adaptor")]
        self.products = [part for module in modules for part in module.modules() if isinstance(part, nn.Linear)]
        self.inputs = [
            torch.randn(2 * images, product.in_features, device=self.device, dtype=self.model.dtype)
            for product in self.products
        ]

    def ours(self, way: str = "plain") -> None:
        """Write with the engine, its step run in one of the ways; each way has an engine of its own."""
        engine = self.engines.setdefault(way, replace(self.pipeline.engine, step=way))
        list(engine.generate([self.prompt] * self.images, Request(("image",))))

    @torch.no_grad()
    def plain(self) -> Tensor:
        """Write as DeepSeek's script does."""
        ids = torch.tensor([self.prompt.ids + [self.opening]], device=self.device).repeat(2 * self.images, 1)
        ids[1::2, 1:-1] = self.pad
        embeddings, cache, codes = self.model.embed_text(ids), transformers.DynamicCache(), []
        transformer, head = self.model.part("backbone").transformer, self.model.part("image.generate.head")
        for _ in range(self.steps):
            output = transformer(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
            logits = head.logits(output.last_hidden_state[:, -1])[:, 0]
            logits = logits[1::2] + 5 * (logits[0::2] - logits[1::2])
            code = torch.multinomial(torch.softmax(logits, -1), 1)
            codes.append(code)
            embeddings = self.model.embed_frames("image", code.repeat_interleave(2, 0)).unsqueeze(1)
        return torch.cat(codes, 1)

    @torch.no_grad()
    def transformers(self) -> Tensor:
        """Write with transformers' generate; `begin of image` is a text id that it knows."""
        ids = torch.tensor([[*self.prompt.ids, self.bos]], device=self.device).repeat(self.images, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.theirs.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_mode="image",
                do_sample=True,
                top_k=0,
                guidance_scale=5.0,
                bos_token_id=self.bos,
                eos_token_id=self.pipeline.engine.end_of_turn,
                pad_token_id=self.pad,
            )

    @torch.no_grad()
    def bare(self) -> None:
        """Do the products of every step and nothing else."""
        for _ in range(self.steps):
            for product, values in zip(self.products, self.inputs, strict=True):
                nn.functional.linear(values, product.weight, product.bias)

    def limit(self) -> float:
        """Return the milliseconds that reading the weights of a step once takes, at the speed of a copy on the GPU."""
        source = torch.empty(1 << 30, dtype=torch.uint8, device=self.device)
        target, times = torch.empty_like(source), list[float]()
        for _ in range(10):
            torch.cuda.synchronize()
            started = time.perf_counter()
            target.copy_(source)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        speed = 2 * source.numel() / statistics.median(times)
        weights = [parameter for product in self.products for parameter in product.parameters()]
        return sum(weight.numel() * weight.element_size() for weight in weights) / speed * 1e3


def rounds_of(sides: Sides, ways: list[str], rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds per step of each side in each round, the first included."""
    runs: dict[str, Callable[[], Any]] = {}
    for way in ways:
        runs["ours" if way == "plain" else way] = partial(sides.ours, way)
    runs |= {name: getattr(sides, name) for name in ("transformers", "plain", "bare")}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if sides.device.type == "cuda":
                torch.cuda.synchronize()
            times[name].append((time.perf_counter() - started) / sides.steps * 1e3)
    return times


def measure(size: str, images: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the median milliseconds per step of each side, the first round apart, and what making ready cost."""
    steps, ways = arguments.steps, arguments.ways.split(",")
    sides = Sides(size, steps, images, arguments.device, arguments.dtype)
    times = rounds_of(sides, ways, arguments.rounds)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    bare = medians["bare"]
    if arguments.device == "cuda":
        medians["limit"] = sides.limit()
    ready = {name: (times[name][0] - medians[name]) * steps / 1e3 for name in ways if name != "plain"}
    return {
        "size": size,
        "images": images,
        "steps": steps,
        "rounds": arguments.rounds,
        "parameters": sum(parameter.numel() for product in sides.products for parameter in product.parameters()),
        "ms_per_step": medians,
        "ratio": {name: value / bare for name, value in medians.items()},
        "spread": {name: [min(values[1:]), max(values[1:])] for name, values in times.items()},
        "first_round": {name: values[0] for name, values in times.items()},
        "seconds_to_make_ready": ready,
    }


def show(result: dict[str, Any]) -> None:
    """Print the rows of one size."""
    for name, value in result["ms_per_step"].items():
        first, ready = result["first_round"].get(name), result["seconds_to_make_ready"].get(name)
        notes = "" if first is None else f"({first:.3f})"
        notes += "" if ready is None else f" {ready:.1f} s to make ready"
        where = f"{result['size']:>6} {result['images']:>3}"
        print(f"{where} {name:>13} {value:9.3f} {result['ratio'][name]:7.2f}   {notes}", flush=True)


def arguments_of() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="3M,60M,190M")
    parser.add_argument("--images", default="1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=576)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--ways", help="plain, compiled, captured; plain, and captured on a GPU, when absent")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.ways = arguments.ways or ("plain,captured" if arguments.device == "cuda" else "plain")
    return arguments


def main() -> None:
    """Measure the sizes asked for and print a table."""
    arguments = arguments_of()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    machine = f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}"
    if arguments.device == "cuda":
        machine += f", {torch.cuda.get_device_name()}, {arguments.dtype}"
    print(f"polyjanus {__version__}, transformers {transformers.__version__}, {machine}")
    print(f"{'size':>6} {'n':>3} {'side':>13} {'ms/step':>9} {'x bare':>7}   (first round)")
    results = []
    for size in arguments.sizes.split(","):
        for images in map(int, arguments.images.split(",")):
            results.append(measure(size, images, arguments))
            show(results[-1])
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
