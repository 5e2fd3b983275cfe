"""Drawing one picture of 576 codes with guidance 5: ours, transformers, the plain loop, and the bare products.

    python benchmarks/generation.py [--sizes 3M,60M,190M] [--rounds 5] [--steps 576] [--threads N] [--json FILE]

All sides share weights, dtype, prompt, guidance and sampling from all 16384 codes, run in one process and take turns;
medians are printed, and ratios to the *bare products*: all products of a step with weight matrices, same rows and
order, nothing else. The plain loop is what DeepSeek ships: a cache that grows by concatenation, no mask, no positions.
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
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from polyjanus import Pipeline, __version__
from polyjanus.core.generation.choosing import Request

SIZES = {"3M": (192, 512, 6, 6), "60M": (640, 1728, 12, 10), "190M": (1024, 2816, 15, 16)}
"""Width, inner width, layers, heads."""
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


def our_pipeline(size: str) -> Pipeline:
    """Return a pipeline of one of the sizes, its weights random."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(YAML.format(*SIZES[size], json.dumps(VQ)), encoding="utf-8")
        return Pipeline.from_yaml(path)


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
    model = transformers.JanusForConditionalGeneration(config).eval()
    ours, theirs = pipeline.model, model.model
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
    """The four ways to write `steps` codes."""

    def __init__(self, size: str, steps: int) -> None:
        self.pipeline, self.steps = our_pipeline(size), steps
        self.model = self.pipeline.model
        self.model.layouts["image"].max_steps = steps
        self.model.part("image.generate.codec").decode = lambda codes: [None for _ in codes]  # codes are what is timed
        self.theirs = their_model(self.pipeline, size)
        self.theirs.model.vision_model.config.num_image_tokens = steps
        self.theirs.generation_config.generation_kwargs = {"boi_token_id": self.pipeline.tokenizer.id_of("<bos>")}
        self.prompt = self.pipeline.compile(PROMPT)
        self.opening = self.model.vocabulary.begins["image"]
        tokenizer = self.pipeline.tokenizer
        self.pad, self.bos = tokenizer.id_of(tokenizer.pad), tokenizer.id_of(tokenizer.bos)
        modules = [self.model.part(path) for path in ("backbone", "image.generate.head", "image.generate.adaptor")]
        self.products = [part for module in modules for part in module.modules() if isinstance(part, nn.Linear)]
        self.inputs = [torch.randn(2, product.in_features) for product in self.products]

    def ours(self) -> None:
        """Write with the engine."""
        list(self.pipeline.engine.generate([self.prompt], Request(("image",))))

    @torch.no_grad()
    def plain(self) -> Tensor:
        """Write as DeepSeek's script does."""
        ids = torch.tensor([self.prompt.ids + [self.opening]]).repeat(2, 1)
        ids[1, 1:-1] = self.pad
        embeddings, cache, codes = self.model.embed_text(ids), transformers.DynamicCache(), []
        transformer, head = self.model.part("backbone").transformer, self.model.part("image.generate.head")
        for _ in range(self.steps):
            output = transformer(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
            logits = head.logits(output.last_hidden_state[:, -1])[:, 0]
            logits = logits[1::2] + 5 * (logits[0::2] - logits[1::2])
            code = torch.multinomial(torch.softmax(logits, -1), 1)
            codes.append(code)
            embeddings = self.model.embed_frames("image", code.repeat(2, 1)).unsqueeze(1)
        return torch.cat(codes, 1)

    @torch.no_grad()
    def transformers(self) -> Tensor:
        """Write with transformers' generate; `begin of image` is a text id that it knows."""
        ids = torch.tensor([[*self.prompt.ids, self.bos]])
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


def measure(size: str, rounds: int, steps: int) -> dict[str, Any]:
    """Return the median milliseconds per step of each side, and the first round apart."""
    sides = Sides(size, steps)
    names = ("ours", "transformers", "plain", "bare")
    runs: dict[str, Callable[[], Any]] = {name: getattr(sides, name) for name in names}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - started) / steps * 1e3)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    return {
        "size": size,
        "steps": steps,
        "rounds": rounds,
        "parameters": sum(parameter.numel() for product in sides.products for parameter in product.parameters()),
        "ms_per_step": medians,
        "ratio": {name: value / medians["bare"] for name, value in medians.items()},
        "spread": {name: [min(values[1:]), max(values[1:])] for name, values in times.items()},
        "first_round": {name: values[0] for name, values in times.items()},
    }


def main() -> None:
    """Measure the sizes asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="3M,60M,190M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=576)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    machine = f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}"
    print(f"polyjanus {__version__}, transformers {transformers.__version__}, {machine}")
    print(f"{'size':>6} {'side':>13} {'ms/step':>9} {'x bare':>7}   (first round)")
    results = []
    for size in arguments.sizes.split(","):
        result = measure(size, arguments.rounds, arguments.steps)
        results.append(result)
        for name, value in result["ms_per_step"].items():
            ratio, first = result["ratio"][name], result["first_round"][name]
            print(f"{size:>6} {name:>13} {value:9.3f} {ratio:7.2f}   ({first:.3f})", flush=True)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
