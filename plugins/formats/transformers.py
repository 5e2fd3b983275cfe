"""transformers' layout: JanusForConditionalGeneration, of 4.52 and later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from polyjanus.core.checkpoints.formats import Exported
from polyjanus.core.errors import CheckpointError
from polyjanus.core.sequence.tokenizer import TextTokenizer
from polyjanus.plugins.formats import read_config
from polyjanus.plugins.formats.exporting import Janus, check, language_config, write_files, write_tensors
from polyjanus.plugins.formats.janus import HALF, SYSTEM, JanusFormat, Settings
from polyjanus.plugins.formats.keys import TRANSFORMERS, Names
from polyjanus.plugins.formats.tokenizer import BEGIN, END, PLACEHOLDER

CHAT = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ ROLES[message['role']] }}: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{{ '<image_placeholder>' if part['type'] == 'image' else part['text'] }}"
    "{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}{% endif %}"
    "{{ eos_token if message['role'] == 'assistant' else '\\n\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ ROLES['assistant'] }}:{% endif %}"
)
"""The conversation as text; the tokenizer puts BOS before it."""


class TransformersFormat(JanusFormat):
    """Reader and writer of transformers' folders."""

    names = Names(TRANSFORMERS)

    def settings(self, folder: Path) -> Settings:
        """Return what the configs say."""
        config = read_config(folder)
        vision = config.get("vision_config", {})
        if vision.get("use_qk_norm"):
            raise CheckpointError(
                "its vision tower normalises queries and keys, which Janus does not", where=str(folder)
            )
        activation = vision.get("hidden_act", "gelu")
        if activation != "gelu":
            raise CheckpointError(f"its vision tower has {activation!r}; Janus has 'gelu'", where=str(folder))
        processor = read_config(folder, "preprocessor_config.json")
        processor |= read_config(folder, "processor_config.json").get("image_processor", {})
        says_system = read_config(folder, "processor_config.json").get("use_default_system_prompt", True)
        return Settings(
            language={"max_position_embeddings": 2048, **config.get("text_config", {})},
            heads=vision.get("num_attention_heads", 16),
            mean=tuple(processor.get("image_mean") or HALF),
            std=tuple(processor.get("image_std") or HALF),
            system=SYSTEM if says_system else "",
            eps=vision.get("layer_norm_eps", 1e-6),
        )

    def write(self, exported: Exported, folder: Path) -> None:
        """Write config.json, weights, tokenizer, chat template and the processor's files."""
        janus = check(exported)
        dtype = write_tensors(self.names.export(exported.tensors, exported.tensors.__getitem__), folder)
        files = {
            "config": _config(janus, dtype),
            "generation_config": _generation(exported.tokenizer),
            "processor_config": {
                "num_image_tokens": janus.patches,
                "processor_class": "JanusProcessor",
                "use_default_system_prompt": bool(janus.system),
            },
            "preprocessor_config": _preparation(janus.tower["image_size"], janus.mean, janus.std),
        }
        write_files(exported, folder, files)
        roles = f"{{'user': '{janus.user}', 'assistant': '{janus.assistant}'}}"
        (folder / "chat_template.jinja").write_text(f"{{%- set ROLES = {roles} %}}{CHAT}", encoding="utf-8")
        _name_tokens(folder)


def _config(janus: Janus, dtype: str) -> dict[str, Any]:
    """Return config.json."""
    tower, width = janus.tower, janus.language["hidden_size"]
    is_tied = bool(janus.language.get("tie_word_embeddings"))
    return {
        "model_type": "janus",
        "architectures": ["JanusForConditionalGeneration"],
        "dtype": dtype,
        "image_token_id": janus.placeholder_id,
        "tie_word_embeddings": is_tied,
        "text_config": {**language_config(janus.language), "tie_word_embeddings": is_tied, "dtype": dtype},
        "vision_config": {
            "model_type": "janus_vision_model",
            **{key: value for key, value in tower.items() if key not in ("model_type", "intermediate_size")},
            "mlp_ratio": tower["intermediate_size"] / tower["hidden_size"],
            "projection_dim": width,
            "depth": 2,
            "num_image_tokens": janus.patches,
            "dtype": dtype,
        },
        "vq_config": {
            "model_type": "janus_vqgan",
            **janus.codec,
            "projection_dim": width,
            "image_token_embed_dim": width,
            "num_hidden_layers": 2,
            "dtype": dtype,
        },
    }


def _generation(tokenizer: TextTokenizer) -> dict[str, Any]:
    """Return generation_config.json, every id out of the tokenizer."""
    return {
        "bos_token_id": tokenizer.require(tokenizer.bos, "begin-of-text"),
        "eos_token_id": tokenizer.require(tokenizer.eos, "end-of-text"),
        "pad_token_id": tokenizer.require(tokenizer.pad, "padding"),
        "guidance_scale": 5,
        "generation_kwargs": {"boi_token_id": tokenizer.require(BEGIN, BEGIN)},
    }


def _preparation(size: int, mean: list[float], std: list[float]) -> dict[str, Any]:
    return {
        "image_processor_type": "JanusImageProcessor",
        "processor_class": "JanusProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_pad": True,
        "image_mean": mean,
        "image_std": std,
        "min_size": 14,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": size, "width": size},
    }


def _name_tokens(folder: Path) -> None:
    """Tell the tokenizer's class which of its tokens the processor asks for."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["extra_special_tokens"] = {"image_token": PLACEHOLDER, "boi_token": BEGIN, "eoi_token": END}
    config["processor_class"] = "JanusProcessor"
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
