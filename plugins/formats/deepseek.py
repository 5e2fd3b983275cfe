"""DeepSeek's layout: Janus-1.3B, Janus-Pro-1B, Janus-Pro-7B (github.com/deepseek-ai/Janus, its `modeling_vlm.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyjanus.core.checkpoints.formats import Exported
from polyjanus.core.errors import CheckpointError
from polyjanus.plugins.formats import read_config
from polyjanus.plugins.formats.exporting import Janus, check, language_config, write_files, write_tensors
from polyjanus.plugins.formats.janus import FIRST_ROLES, HALF, SYSTEM, JanusFormat, Settings
from polyjanus.plugins.formats.keys import DEEPSEEK, Names

HEADS = {"siglip_large_patch16_384": 16, "siglip_large_patch16_256": 16, "siglip_so400m_patch14_384": 16}
"""Attention heads of the towers that `model_name` may say; their shapes do not tell."""
LARGE = "siglip_large_patch16_384"


class DeepSeekFormat(JanusFormat):
    """Reader and writer of DeepSeek's folders."""

    names = Names(DEEPSEEK)

    def settings(self, folder: Path) -> Settings:
        """Return what config.json and the processor's files say; what they leave out is DeepSeek's default."""
        config = read_config(folder)
        language = config.get("language_config", {})
        vision = config.get("vision_config", {}).get("params", {})
        mean, std = _normalisation(folder, vision)
        processor = read_config(folder, "processor_config.json")
        is_first = processor.get("sft_format") == "deepseek_old"
        return Settings(
            language={"max_position_embeddings": 2048, **language},
            heads=vision.get("heads") or _heads(vision.get("model_name", LARGE), folder),
            mean=mean,
            std=std,
            system=processor.get("system_prompt") or SYSTEM,
            roles=FIRST_ROLES if is_first else None,
        )

    def write(self, exported: Exported, folder: Path) -> None:
        """Write config.json, weights, tokenizer and the two files of the processor."""
        janus = check(exported)
        dtype = write_tensors(self.names.export(exported.tensors, exported.tensors.__getitem__), folder)
        language = {**language_config(janus.language), "torch_dtype": dtype}
        config = {
            "model_type": "multi_modality",
            "architectures": ["MultiModalityCausalLM"],
            "torch_dtype": dtype,
            "language_config": language,
            **_small_configs(janus),
        }
        files = {
            "config": config,
            "processor_config": _processor(janus),
            "preprocessor_config": _preparation(janus),
        }
        write_files(exported, folder, files)


def _processor(janus: Janus) -> dict[str, Any]:
    said = {} if janus.system in ("", SYSTEM) else {"system_prompt": janus.system}
    return {
        "add_special_token": False,
        "ignore_id": -100,
        "image_tag": "<image_placeholder>",
        "mask_prompt": True,
        "num_image_tokens": janus.patches,
        "processor_class": "VLChatProcessor",
        "sft_format": "deepseek" if janus.is_pro else "deepseek_old",
        **said,
    }


def _preparation(janus: Janus) -> dict[str, Any]:
    return {
        "background_color": [int(value * 255) for value in janus.mean],
        "do_normalize": True,
        "image_mean": janus.mean,
        "image_processor_type": "VLMImageProcessor",
        "image_size": janus.tower["image_size"],
        "image_std": janus.std,
        "min_size": 14,
        "processor_class": "VLChatProcessor",
        "rescale_factor": 1 / 255,
    }


def _vision(tower: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the tower; DeepSeek's own has its heads in its name."""
    is_large = (tower["hidden_size"], tower["patch_size"], tower["image_size"]) == (1024, 16, 384)
    size = {"image_size": tower["image_size"], "model_name": LARGE, "select_feature": "same", "select_layer": -1}
    return size if is_large else {**size, "heads": tower["num_attention_heads"]}


def _small_configs(janus: Janus) -> dict[str, Any]:
    """Return the configs of tower, aligners, head and tokenizer: pairs of a class and its parameters."""
    width, codec = janus.language["hidden_size"], janus.codec
    projector = {"depth": 2, "projector_type": "mlp_gelu", "n_embed": width}
    return {
        "vision_config": _pair("CLIPVisionTower", "vision", _vision(janus.tower)),
        "aligner_config": _pair("MlpProjector", "aligner", {**projector, "input_dim": janus.tower["hidden_size"]}),
        "gen_aligner_config": _pair("MlpProjector", "gen_aligner", {**projector, "input_dim": codec["embed_dim"]}),
        "gen_head_config": _pair(
            "vision_head",
            "gen_head",
            {"image_token_embed": width, "image_token_size": codec["num_embeddings"], "n_embed": width},
        ),
        "gen_vision_config": _pair(
            "VQ-16", "gen_vision", {"image_token_size": codec["num_embeddings"], "n_embed": codec["embed_dim"]}
        ),
    }


def _pair(name: str, model_type: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"cls": name, "model_type": model_type, "params": params}


def _heads(model_name: str, folder: Path) -> int:
    if model_name not in HEADS:
        raise CheckpointError(
            f"its vision tower is {model_name!r}; known are {', '.join(HEADS)}", where=str(folder / "config.json")
        )
    return HEADS[model_name]


def _normalisation(folder: Path, vision: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std; a tower that normalises by itself takes the place of the processor.

    The first Janus-1.3B said `do_normalize: false`, which was wrong: its tower had no statistics of its own either.
    """
    if vision.get("pixel_mean") is not None:
        return tuple(vision["pixel_mean"]), tuple(vision["pixel_std"])
    processor = read_config(folder, "preprocessor_config.json")
    return tuple(processor.get("image_mean") or HALF), tuple(processor.get("image_std") or HALF)
