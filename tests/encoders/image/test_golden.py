"""The same numbers as DeepSeek's own code, on weights that both make from one seed."""

import re
from collections.abc import Callable

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from polyjanus.core.modules import Features
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.image import SiglipConfig, Vq16Config
from polyjanus.encoders.image.pixels import Preparation
from polyjanus.encoders.image.vq16 import rename
from polyjanus.plugins.adaptors import MlpConfig

Weights = Callable[[str], dict[str, Tensor]]
SIGLIP_L = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 16,
    "hidden_act": "gelu",
}
TOWER_RENAMES = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.(\d+)\.norm([12])\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.out_proj."),
    (r"^blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
)


def tower_tensors(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return transformers' tensors of DeepSeek's SigLIP."""
    tensors = {"embeddings.position_embedding.weight": weights.pop("pos_embed")[0]}
    for name, value in weights.items():
        fused = re.match(r"blocks\.(\d+)\.attn\.qkv\.(.*)", name)
        if fused:
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                tensors[f"encoder.layers.{fused[1]}.self_attn.{part}_proj.{fused[2]}"] = piece
        elif not name.startswith("attn_pool."):
            for pattern, replacement in TOWER_RENAMES:
                name = re.sub(pattern, replacement, name)
            tensors[name] = value
    return tensors


@pytest.mark.parametrize("size", ["333x77", "500x333"])
def test_prepared_pixels_are_equal_byte_by_byte(golden: dict[str, Tensor], size: str) -> None:
    pixels = Preparation(384).pixels(Image.fromarray(golden[f"photo_{size}"].numpy()))
    assert torch.equal(pixels, golden[f"prepared_{size}"])


@pytest.mark.slow
def test_understanding_features_are_equal(golden: dict[str, Tensor], deepseek_weights: Weights) -> None:
    context = BuildContext(path="image.understand.encoder", width_in=1024, width_out=64)
    with torch.device("meta"):
        encoder = SiglipConfig(type="siglip", architecture=SIGLIP_L).build(context)
        adaptor = MlpConfig(type="mlp").build(context)
    tensors = tower_tensors(deepseek_weights("vision_model.vision_tower."))
    tensors["embeddings.position_ids"] = torch.arange(576)[None]
    encoder.tower.load_state_dict(tensors, assign=True)
    adaptor.load_state_dict(deepseek_weights("aligner."), assign=True)
    with torch.no_grad():
        features = encoder.features(golden["pixel_values"])
        adapted = adaptor(Features.of(list(features))).values
    torch.testing.assert_close(adapted[None], golden["understanding_features"], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_codes_and_decoded_pixels_are_equal(golden: dict[str, Tensor], deepseek_weights: Weights) -> None:
    with torch.device("meta"):
        codec = Vq16Config(type="vq16", architecture={}).build(BuildContext(path="image.generate.codec"))
    weights = deepseek_weights("gen_vision_model.")
    del weights["quantize.codebook_used"]
    codec.load_state_dict({rename(name): value for name, value in weights.items()}, assign=True)
    with torch.no_grad():
        codes = codec.quantise(codec.to_latents(golden["pixel_values"]))
        assert torch.equal(codes.flatten(1), golden["vq_ids"].long())
        values = codec.to_values(codec.vectors(codes).movedim(-1, 1))
    torch.testing.assert_close(avg_pool2d(values, 8), golden["vq_decoded_pooled"], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(values[..., 100:164, 200:264], golden["vq_decoded_crop"], atol=1e-3, rtol=1e-3)
