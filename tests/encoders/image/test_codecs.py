"""Image codecs: codes and back, and that they can be trained."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import nn

from polyjanus.core.errors import CheckpointError, PolyjanusError, SequenceError, WiringError
from polyjanus.core.hf import config_of, library
from polyjanus.core.settings import BuildContext, ComponentConfig
from polyjanus.encoders.image import ImageConfig, Vq16Config
from polyjanus.encoders.image.vq16 import NormalisedQuantiser, rename
from polyjanus.encoders.shared import CodecFeaturesConfig, Fsq2dConfig
from polyjanus.encoders.shared.codec_features import CodecFeatures
from polyjanus.encoders.shared.fsq import FiniteScalars

Pictures = list[Image.Image]
IMAGES = ImageConfig(type="image").build(BuildContext(path="image"))
CODEC = BuildContext(path="image.generate.codec", modality=IMAGES)
VQ = {
    "base_channels": 32,
    "channel_multiplier": [1, 1],
    "num_patches": 8,
    "num_embeddings": 64,
    "latent_channels": 32,
    "num_res_blocks": 1,
}
CODECS: dict[str, ComponentConfig] = {
    "vq16": Vq16Config(type="vq16", architecture=VQ),
    "fsq2d": Fsq2dConfig(type="fsq2d", width=16),
    "books": Fsq2dConfig(type="fsq2d", width=8, size=16, levels=(4,), codebooks=3),
    "grey": Fsq2dConfig(type="fsq2d", width=8, size=16, channels=1, levels=(5, 3), downsample=4),
}


@pytest.mark.parametrize("levels", [(2,), (3, 3), (8, 8, 8), (8, 5, 5, 5), (4, 7, 2)])
def test_every_finite_scalar_code_comes_back(levels: tuple[int, ...]) -> None:
    scalars = FiniteScalars(levels)
    codes = torch.arange(scalars.cardinality)
    vectors = scalars.vectors(codes)
    assert len(vectors.unique(dim=0)) == scalars.cardinality
    assert vectors.abs().max() <= 1
    assert torch.equal(scalars.codes(vectors), codes)


@pytest.mark.parametrize("levels", [(3, 3), (8, 5, 5, 5)])
def test_rounding_gives_vectors_of_codes(levels: tuple[int, ...]) -> None:
    scalars = FiniteScalars(levels)
    quantised = scalars.quantise(torch.randn(5000, len(levels)) * 3)
    codes = scalars.codes(quantised)
    torch.testing.assert_close(scalars.vectors(codes), quantised)
    assert len(codes.unique()) > scalars.cardinality // 2


def test_gradients_pass_through_the_rounding() -> None:
    latents = torch.randn(10, 3, requires_grad=True)
    FiniteScalars((8, 8, 8)).quantise(latents).sum().backward()
    assert latents.grad is not None
    assert (latents.grad > 0).all()


@pytest.mark.parametrize("name", CODECS)
def test_codes_and_pictures_have_the_declared_shape(name: str, pictures: Pictures) -> None:
    codec = CODECS[name].build(CODEC).eval()
    items = [codec.prepare(picture) for picture in pictures]
    codes = codec.encode(items)
    for item, code in zip(items, codes, strict=True):
        assert code.shape == (codec.num_codes(item), codec.num_codebooks)
        assert code.dtype == torch.int64
        assert 0 <= int(code.min()) <= int(code.max()) < codec.cardinality
    decoded = codec.decode(codes)
    assert [image.mode for image in decoded] == ["RGB"] * 3
    assert {image.size for image in decoded} == {(codec.preparation.size,) * 2}
    assert codec.decode([]) == []


@pytest.mark.parametrize("name", CODECS)
def test_items_alone_and_together_have_the_same_codes(name: str, pictures: Pictures) -> None:
    codec = CODECS[name].build(CODEC)
    items = [codec.prepare(picture) for picture in pictures]
    for together, item in zip(codec.encode(items), items, strict=True):
        assert torch.equal(together, codec.encode([item])[0])


@pytest.mark.parametrize("name", CODECS)
def test_what_was_built_on_meta_and_loaded_is_bit_equal(name: str, pictures: Pictures) -> None:
    codec = CODECS[name].build(CODEC)
    items = [codec.prepare(picture) for picture in pictures]
    codec.reconstruct(items)
    with torch.device("meta"):
        twin = CODECS[name].build(CODEC)
    twin.to_empty(device="cpu").load_state_dict(codec.state_dict())
    assert {key for key, _ in twin.named_buffers()} <= codec.state_dict().keys()
    for expected, found in zip(codec.encode(items), twin.encode(items), strict=True):
        assert torch.equal(expected, found)
    assert torch.equal(codec.eval().reconstruct(items)[0], twin.eval().reconstruct(items)[0])


@pytest.mark.parametrize("name", CODECS)
def test_the_loss_is_a_sum_and_reaches_encoder_and_decoder(name: str, pictures: Pictures) -> None:
    codec = CODECS[name].build(CODEC).eval()
    items = [codec.prepare(picture) for picture in pictures]
    loss, count = codec.reconstruct(items)
    assert count == 3
    torch.testing.assert_close(loss, torch.stack([codec.reconstruct([item])[0] for item in items]).sum())
    loss.backward()
    assert not [key for key, value in codec.named_parameters() if value.grad is None]


def test_codes_of_another_number_are_refused() -> None:
    codec = CODECS["fsq2d"].build(CODEC)
    with pytest.raises(SequenceError, match="16 codes, here are 3"):
        codec.decode([torch.zeros(3, 1, dtype=torch.int64)])


def test_encoding_never_moves_the_statistics(pictures: Pictures) -> None:
    codec = CODECS["fsq2d"].build(CODEC).train()
    items = [codec.prepare(picture) for picture in pictures]
    before = codec.norm.running_mean.clone()
    codec.encode(items)
    codec.eval().reconstruct(items)
    assert torch.equal(codec.norm.running_mean, before)
    codec.train().reconstruct(items)
    assert not torch.equal(codec.norm.running_mean, before)


def test_a_hundred_steps_teach_the_codec_and_use_many_codes() -> None:
    codec = Fsq2dConfig(type="fsq2d", size=16, downsample=4, width=8, levels=(4, 4, 4)).build(CODEC).train()
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (64, 3, 4, 4), generator=generator).float()
    blocks = nn.functional.interpolate(coarse, size=16, mode="bilinear").to(torch.uint8)
    items = [{"cells": block} for block in blocks]
    optimiser = torch.optim.AdamW(codec.parameters(), lr=4e-3)
    losses: list[float] = []
    for _ in range(100):
        loss, count = codec.reconstruct(items)
        optimiser.zero_grad()
        (loss / count).backward()
        optimiser.step()
        losses.append(loss.item() / count)
    assert losses[-1] < 0.5 * losses[0]
    assert len(torch.cat(codec.eval().encode(items)).unique()) > 32


@pytest.mark.parametrize("levels", [(1, 8), ()])
def test_levels_below_two_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        Fsq2dConfig(type="fsq2d", levels=levels)


@pytest.mark.parametrize(("size", "downsample"), [(32, 6), (36, 8)])
def test_a_downsample_that_does_not_fit_is_refused(size: int, downsample: int) -> None:
    with pytest.raises(ValidationError, match=f"downsample {downsample} must be a power of two"):
        Fsq2dConfig(type="fsq2d", size=size, downsample=downsample)


def test_codes_are_the_nearest_by_angle_whatever_the_length_of_the_rows() -> None:
    quantiser = NormalisedQuantiser(64, 4)
    latents = torch.randn(200, 4) * 5
    codes = quantiser.codes(latents)
    with torch.no_grad():
        raw = torch.cdist(latents, quantiser.embedding.weight).argmin(-1)
        assert not torch.equal(codes, raw)
        quantiser.embedding.weight *= torch.rand(64, 1) * 9 + 0.1
    assert torch.equal(quantiser.codes(latents), codes)
    torch.testing.assert_close(quantiser.vectors(codes).norm(dim=-1), torch.ones(200))


def test_a_grey_codec_gives_grey_pictures() -> None:
    codec = CODECS["grey"].build(CODEC).eval()
    (image,) = codec.decode(codec.encode([codec.prepare(Image.new("RGB", (40, 20), "red"))]))
    assert all(len(set(image.getpixel(place))) == 1 for place in ((0, 0), (8, 3), (15, 15)))


def shared(name: str, output: str) -> tuple[CodecFeatures, nn.Module]:
    codec = CODECS[name].build(CODEC).eval()
    settings = CodecFeaturesConfig(type="codec_features", of="image.generate.codec", output=output)
    return settings.build(BuildContext(path="e", parts={"image.generate.codec": codec})), codec


@pytest.mark.parametrize("name", ["vq16", "fsq2d"])
def test_codec_features_are_the_vectors_of_the_codes(name: str, pictures: Pictures) -> None:
    encoder, codec = shared(name, "codes")
    items = [encoder.prepare(picture) for picture in pictures]
    features = encoder(items)
    expected = torch.cat([codec.vectors(codes[:, 0]) for codes in codec.encode(items)])
    assert torch.equal(features.values, expected)
    assert features.grids == (codec.grid,) * 3
    assert encoder.num_tokens(items[0]) == (features.lengths[0], codec.grid)


def test_codec_latents_carry_gradients(pictures: Pictures) -> None:
    encoder, codec = shared("fsq2d", "latents")
    encoder([encoder.prepare(pictures[0])]).values.sum().backward()
    assert next(codec.encoder.parameters()).grad is not None


def test_a_shared_codec_is_saved_and_counted_once() -> None:
    encoder, _ = shared("fsq2d", "codes")
    assert not encoder.state_dict()
    assert not list(encoder.parameters())


def test_a_missing_codec_is_named_with_its_neighbours() -> None:
    codec = CODECS["fsq2d"].build(CODEC)
    settings = CodecFeaturesConfig(type="codec_features", of="image.generate.codek")
    with pytest.raises(WiringError, match=r"did you mean 'image\.generate\.codec'"):
        settings.build(BuildContext(path="e", parts={"image.generate.codec": codec}))


def as_deepseek(name: str) -> str:
    """Return DeepSeek's name of one of transformers' tensors."""
    name = name.replace("block_1", "0").replace("attn_1", "1").replace("block_2", "2")
    name = name.replace("encoder.down.", "encoder.conv_blocks.").replace("decoder.up.", "decoder.conv_blocks.")
    return name.replace(".block.", ".res.")


@pytest.mark.parametrize("origin", ["alone", "janus", "deepseek", "pickled"])
def test_the_tokenizer_of_any_janus_checkpoint_is_read(origin: str, tmp_path: Path, pictures: Pictures) -> None:
    source = (
        library().models.janus.modeling_janus.JanusVQVAE(config_of({"model_type": "janus_vqgan", **VQ}, None)).eval()
    )
    state = dict(source.state_dict())
    config: dict[str, Any] = {"model_type": "janus_vqgan", **VQ}
    if origin == "janus":
        config = {"model_type": "janus", "vq_config": config}
        state = {f"model.vqmodel.{name}": value for name, value in state.items()} | {"lm_head.weight": torch.ones(1)}
    if origin == "deepseek":
        state = {f"gen_vision_model.{as_deepseek(name)}": value for name, value in state.items()}
        assert all(rename(as_deepseek(name)) == name for name in source.state_dict())
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if origin == "pickled":
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        from safetensors.torch import save_file

        save_file(state, tmp_path / "model.safetensors")
    context = BuildContext(path="image.generate.codec", folder=tmp_path)
    settings = Vq16Config(type="vq16", pretrained="./:image.generate.codec")
    codec = settings.build(context).eval()
    settings.load(codec, context)
    codes = codec.encode([codec.prepare(pictures[0])])[0][:, 0]
    with torch.no_grad():
        expected = source.decode(codes[None])
        found = codec.to_values(codec.vectors(codes.unflatten(0, (8, 8)))[None].movedim(-1, 1))
    torch.testing.assert_close(found, expected)


def test_missing_tensors_are_counted_and_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "janus_vqgan", **VQ}), encoding="utf-8")
    torch.save({"quant_conv.weight": torch.ones(8, 32, 1, 1)}, tmp_path / "pytorch_model.bin")
    context = BuildContext(path="image.generate.codec", folder=tmp_path)
    settings = Vq16Config(type="vq16", pretrained="./")
    with pytest.raises(CheckpointError, match="tensors are missing, 'decoder"):
        settings.load(settings.build(context), context)


def test_a_hub_name_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect")

    monkeypatch.setattr(library().utils.hub, "cached_file", fail)
    with pytest.raises(WiringError, match="'no/such' could not be read: We couldn't connect"):
        Vq16Config(type="vq16", pretrained="no/such").build(CODEC)


def test_an_unknown_key_of_the_architecture_is_refused() -> None:
    with pytest.raises(WiringError, match="did you mean 'base_channels'"):
        Vq16Config(type="vq16", architecture={"base_chanels": 32}).build(CODEC)


def test_a_checkpoint_that_is_no_janus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    with pytest.raises(PolyjanusError, match="'llama' and holds no Janus tokenizer"):
        Vq16Config(type="vq16", pretrained="./").build(BuildContext(path="c", folder=tmp_path))


def test_books_of_one_dimension_are_the_digits_of_one_book_of_all(picture: Image.Image) -> None:
    sizes: dict[str, Any] = {"type": "fsq2d", "size": 16, "width": 8}
    one = Fsq2dConfig(**sizes, levels=(4, 4, 4)).build(CODEC).eval()
    three = Fsq2dConfig(**sizes, levels=(4,), codebooks=3).build(CODEC).eval()
    three.load_state_dict(one.state_dict())
    items = [one.prepare(picture), one.prepare(picture.rotate(90))]
    codes, books = one.encode(items), three.encode(items)
    assert (three.cardinality, three.num_codebooks) == (4, 3)
    for code, book in zip(codes, books, strict=True):
        assert book.shape == (4, 3)
        assert torch.equal(code[:, 0], (book * torch.tensor([1, 4, 16])).sum(-1))
    for drawn, again in zip(one.decode(codes), three.decode(books), strict=True):
        assert drawn.tobytes() == again.tobytes()
