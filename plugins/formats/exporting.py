"""Writing a Janus folder: whether a pipeline is a Janus, and the files that both layouts have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from torch import Tensor

from polyjanus.core import hf
from polyjanus.core.checkpoints.formats import Exported
from polyjanus.core.errors import UsageError
from polyjanus.plugins.formats.janus import LANGUAGE_KEYS, PRO_ROLES
from polyjanus.plugins.formats.tokenizer import PLACEHOLDER

SHARD = "5GB"
WEIGHTS = "model{suffix}.safetensors"
INDEX = "model.safetensors.index.json"
PARTS = {
    "understand": {"encoder": "siglip", "adaptor": "mlp"},
    "generate": {"codec": "vq16", "layout": "grid", "adaptor": "mlp", "head": "mlp"},
}
"""What the parts of a Janus are."""


@dataclass(frozen=True)
class Janus:
    """The architectures of a pipeline that is a Janus, complete, and what else its files say."""

    language: dict[str, Any]
    tower: dict[str, Any]
    codec: dict[str, Any]
    mean: list[float]
    std: list[float]
    user: str
    assistant: str
    system: str
    placeholder_id: int

    @property
    def patches(self) -> int:
        """Return the features of one picture."""
        return (self.tower["image_size"] // self.tower["patch_size"]) ** 2

    @property
    def is_pro(self) -> bool:
        """Tell whether the roles are Janus-Pro's."""
        return self.user == PRO_ROLES["user"]


def check(exported: Exported) -> Janus:
    """Return what a Janus is described by; a part that a Janus has not is a UsageError that names it."""
    data = exported.pipeline.model_dump(mode="json", serialize_as_any=True)
    if list(data["modalities"]) != ["image"]:
        raise UsageError(f"a Janus has the modality 'image' alone, this pipeline has {sorted(data['modalities'])}")
    image = data["modalities"]["image"]
    for pathway, wanted in PARTS.items():
        for part, name in wanted.items():
            found = ((image.get(pathway) or {}).get(part) or {}).get("type")
            if found != name:
                raise UsageError(f"image.{pathway}.{part} is {found!r}; a Janus has {name!r}")
    encoder = image["understand"]["encoder"]
    template = data["template"]
    return Janus(
        language=_complete(data["backbone"]["architecture"], "llama"),
        tower=_complete(encoder["architecture"], "siglip_vision_model"),
        codec=_codec(image["generate"]["codec"]["architecture"]),
        mean=encoder["mean"],
        std=encoder["std"],
        user=template.get("user", PRO_ROLES["user"]),
        assistant=template.get("assistant", PRO_ROLES["assistant"]),
        system=template.get("system", ""),
        placeholder_id=_placeholder(exported),
    )


def _complete(architecture: dict[str, Any], model_type: str) -> dict[str, Any]:
    """Return an architecture with transformers' defaults written out."""
    if architecture.get("model_type", model_type) != model_type:
        raise UsageError(f"a Janus is built of {model_type!r}, not of {architecture['model_type']!r}")
    config = hf.config_of({"model_type": model_type, **architecture}, None)
    keys = (*LANGUAGE_KEYS, "tie_word_embeddings", "vocab_size") if model_type == "llama" else ("layer_norm_eps",)
    known = config.to_dict()
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act")
    wanted = (*sizes, *keys, *(() if model_type == "llama" else ("image_size", "patch_size")))
    return {key: known[key] for key in wanted if known.get(key) is not None}


def _codec(architecture: dict[str, Any]) -> dict[str, Any]:
    known = hf.config_of({"model_type": "janus_vqgan", "num_patches": 24, **architecture}, None).to_dict()
    keys = ("base_channels", "channel_multiplier", "num_res_blocks", "latent_channels", "embed_dim", "num_embeddings")
    return {key: known[key] for key in (*keys, "num_patches")}


def _placeholder(exported: Exported) -> int:
    """Return the id of the token that stands for pictures in others' prompts; it is added where it is missing."""
    tokenizer = exported.tokenizer
    known = tokenizer.id_of(PLACEHOLDER)
    if known is not None:
        return known
    tokenizer.library.add_tokens([PLACEHOLDER], special_tokens=True)
    added = int(tokenizer.library.convert_tokens_to_ids(PLACEHOLDER))
    rows = exported.tensors["text.embedding.weight"].shape[0]
    if added >= rows:
        raise UsageError(f"the tokenizer lacks {PLACEHOLDER!r} and the text embedding has no row left for it")
    return added


def language_config(language: Mapping[str, Any]) -> dict[str, Any]:
    """Return the language model's config as both layouts hold it."""
    config = {"model_type": "llama", **language}
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") == "default":  # what every version of transformers reads
        config = {**config, "rope_theta": rope.get("rope_theta", 10000.0)}
        config.pop("rope_parameters", None)
    return config


def write_tensors(tensors: dict[str, Tensor], folder: Path) -> str:
    """Write safetensors, several files where they are large; return the name of their dtype."""
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    split = split_torch_state_dict_into_shards(stored, filename_pattern=WEIGHTS, max_shard_size=SHARD)
    for file, names in split.filename_to_tensors.items():
        save_file({name: _own(stored[name]) for name in names}, folder / file, metadata={"format": "pt"})
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    dtypes = [tensor.dtype for tensor in stored.values() if tensor.is_floating_point()]
    return str(max(set(dtypes), key=dtypes.count)).removeprefix("torch.") if dtypes else str(torch.float32)


def _own(tensor: Tensor) -> Tensor:
    """Return a tensor that is all of its storage; a slice of a mapped file is copied."""
    is_whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if is_whole else tensor.clone()


def write_files(exported: Exported, folder: Path, files: Mapping[str, Any]) -> None:
    """Write the tokenizer and JSON files."""
    exported.tokenizer.save(folder)
    for name, content in files.items():
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
