"""Janus checkpoints as others write them: one with DeepSeek's recorded outputs, and small ones made by transformers."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "janus"
SEED = 11
SPECIALS = {"<bos>": 1, "<eos>": 2, "<｜▁pad▁｜>": 3, "<begin_of_image>": 4, "<end_of_image>": 5}
VOCABULARY = 512
PLACEHOLDER = "<image_placeholder>"


def write_tokenizer(folder: Path, specials: dict[str, int], size: int, **config: Any) -> None:
    """Write a byte tokenizer whose special tokens have the ids that are asked for; `pad_token` is null as published."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    taken = {number: token for token, number in specials.items()}
    letters = iter(sorted(pre_tokenizers.ByteLevel.alphabet()))
    vocabulary = {taken.get(number) or next(letters, f"<unused{number}>"): number for number in range(size)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(specials))
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    known = {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": None}
    (folder / "tokenizer_config.json").write_text(json.dumps({**known, **config}), encoding="utf-8")


def write_small_tokenizer(folder: Path) -> None:
    """Write the tokenizer of the small models."""
    write_tokenizer(folder, {**SPECIALS, PLACEHOLDER: 300, "<|User|>": 301, "<|Assistant|>": 302}, 320)


def write_json(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="session")
def golden() -> dict[str, Tensor]:
    """Return what DeepSeek's own modules computed."""
    if not GOLDEN.is_dir():
        pytest.skip("DeepSeek's recorded outputs are not beside this checkout")
    return load_file(GOLDEN / "expected.safetensors")


@pytest.fixture(scope="session")
def golden_shapes(golden: dict[str, Tensor]) -> dict[str, list[int]]:
    return json.loads((GOLDEN / "shapes.json").read_text(encoding="utf-8"))


def make_weights(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Return the weights that the recorded outputs were computed with."""
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_weights(shapes, seed=SEED)


@pytest.fixture(scope="session")
def golden_folder(golden_shapes: dict[str, list[int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in DeepSeek's layout with the recorded weights, made once for all workers."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if root.name.startswith("popen-") else root
    folder = root / "golden-janus"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            draft = folder.with_suffix(".draft")
            _write_golden(draft, golden_shapes)
            draft.rename(folder)
    return folder


def _write_golden(folder: Path, shapes: dict[str, list[int]]) -> None:
    write_tokenizer(folder, SPECIALS, VOCABULARY)
    save_file(make_weights(shapes), folder / "model.safetensors", metadata={"format": "pt"})
    language = {"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 4}
    config = {
        "model_type": "multi_modality",
        "language_config": {**language, "max_position_embeddings": 16384},
        "vision_config": {"cls": "CLIPVisionTower", "params": {"model_name": "siglip_large_patch16_384"}},
        "gen_vision_config": {"cls": "VQ-16", "params": {"image_token_size": 16384, "n_embed": 8}},
    }
    write_json(folder, "config.json", config)


@pytest.fixture
def whole_folder(golden_folder: Path, tmp_path: Path) -> Path:
    """Return that folder with a tokenizer that has a place for pictures in a prompt, as the published ones have."""
    folder = tmp_path / "whole"
    shutil.copytree(golden_folder, folder)
    write_tokenizer(folder, {**SPECIALS, PLACEHOLDER: VOCABULARY - 1}, VOCABULARY)
    return folder


@pytest.fixture(scope="session")
def golden_pipeline(golden_folder: Path, plugins: Any) -> Any:
    from polyjanus.core.pipeline import Pipeline

    return Pipeline.from_pretrained(golden_folder, plugins=plugins, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def make_janus() -> Callable[..., Any]:
    """Return what makes small models of transformers."""
    return make_small_janus


@pytest.fixture(scope="session")
def add_tokenizer() -> Callable[[Path], None]:
    """Return what writes the small models' tokenizer into a folder."""
    return write_small_tokenizer


@pytest.fixture(scope="session")
def small_janus() -> Any:
    """Return a small JanusForConditionalGeneration with random weights and rows of unequal length in its code book."""
    return make_small_janus()


def make_small_janus(*, is_tied: bool = False, dtype: torch.dtype = torch.float32) -> Any:
    from transformers import JanusConfig, JanusForConditionalGeneration

    torch.manual_seed(0)
    width, vocabulary = 32, 320
    text = {
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": is_tied,
    }
    vision = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 16,
        "patch_size": 4,
        "mlp_ratio": 2.0,
        "projection_dim": width,
        "num_image_tokens": 16,
    }
    vq = {
        "embed_dim": 6,
        "num_embeddings": 40,
        "latent_channels": 32,
        "base_channels": 32,
        "channel_multiplier": [1, 1, 2],
        "num_res_blocks": 1,
        "projection_dim": width,
        "image_token_embed_dim": width,
    }
    config = JanusConfig(
        text_config=text, vision_config=vision, vq_config=vq, tie_word_embeddings=is_tied, image_token_id=300
    )
    model = JanusForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            scale = 4.0 if name in ("lm_head.weight", "model.generation_head.vision_head.weight") else 1.0
            if tensor.ndim >= 2:
                tensor.copy_(torch.randn_like(tensor) * scale / tensor[0].numel() ** 0.5)
            elif name.endswith("bias"):
                tensor.copy_(0.02 * torch.randn_like(tensor))
        if is_tied:
            model.tie_weights()
    model.generation_config.generation_kwargs = {"boi_token_id": 4}
    model.generation_config.bos_token_id, model.generation_config.pad_token_id = 1, 3
    model.generation_config.eos_token_id = 2
    return model.to(dtype)


@pytest.fixture(scope="session")
def small_folder(small_janus: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that transformers wrote, tokenizer beside it."""
    folder = tmp_path_factory.mktemp("small") / "janus"
    small_janus.save_pretrained(folder)
    write_small_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def small_pipeline(small_folder: Path, plugins: Any) -> Any:
    from polyjanus.core.pipeline import Pipeline

    return Pipeline.from_pretrained(small_folder, plugins=plugins, device="cpu", dtype="float32")
