"""Encoders of point clouds: order does not matter, published weights have their place, and faults are told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from polyjanus.core.errors import CheckpointError, PolyjanusError
from polyjanus.core.settings import BuildContext, ComponentConfig
from polyjanus.encoders.point_cloud import PointBertConfig, PointPatchConfig
from polyjanus.encoders.point_cloud.media import PointCloud, PointCloudModality
from polyjanus.encoders.point_cloud.places import cells_of, farthest_points, morton
from polyjanus.encoders.shared.checkpoints import read_tensor_file

CONTEXT = BuildContext(path="point_cloud.understand.encoder")
SMALL = {"points": 64, "groups": 8, "group_size": 6, "width": 24, "depth": 2, "heads": 3, "encoder_width": 16}
MAE = {**SMALL, "encoder_width": 24, "channels": 3, "has_class_token": False}
ENCODERS: dict[str, ComponentConfig] = {
    "point_bert": PointBertConfig(type="point_bert", architecture=SMALL),
    "point_mae": PointBertConfig(type="point_bert", architecture=MAE),
    "first": PointBertConfig(type="point_bert", architecture=SMALL, start="first"),
    "point_patch": PointPatchConfig(type="point_patch", points=64, groups=8, group_size=6, width=24, colours=True),
}
SIZES = {"v1.2": (384, 256, 6), "v1.1": (1152, 512, 6), "mae": (384, 384, 3)}
"""Width, width of a group, channels (encoders.md, from PointLLM's and Point-MAE's files)."""


def published(name: str) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the tensors of a published encoder, class token included."""
    width, inner, channels = SIZES[name]
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width), "cls_pos": (1, 1, width)}
    for part, first, between, last in (("first", channels, 128, 256), ("second", 512, 512, inner)):
        stem = f"encoder.{part}_conv"
        shapes |= {f"{stem}.0.weight": (between, first, 1), f"{stem}.0.bias": (between,)}
        shapes |= {f"{stem}.1.{each}": (between,) for each in ("weight", "bias", "running_mean", "running_var")}
        shapes |= {f"{stem}.1.num_batches_tracked": (), f"{stem}.3.weight": (last, between, 1)}
        shapes |= {f"{stem}.3.bias": (last,)}
    if inner != width:
        shapes |= {"reduce_dim.weight": (width, inner), "reduce_dim.bias": (width,)}
    shapes |= {"pos_embed.0.weight": (128, 3), "pos_embed.0.bias": (128,)}
    shapes |= {"pos_embed.2.weight": (width, 128), "pos_embed.2.bias": (width,)}
    for layer in range(12):
        stem = f"blocks.blocks.{layer}"
        shapes |= {f"{stem}.{norm}.{each}": (width,) for norm in ("norm1", "norm2") for each in ("weight", "bias")}
        shapes |= {f"{stem}.mlp.fc1.weight": (4 * width, width), f"{stem}.mlp.fc1.bias": (4 * width,)}
        shapes |= {f"{stem}.mlp.fc2.weight": (width, 4 * width), f"{stem}.mlp.fc2.bias": (width,)}
        shapes |= {f"{stem}.attn.qkv.weight": (3 * width, width), f"{stem}.attn.proj.weight": (width, width)}
        shapes |= {f"{stem}.attn.proj.bias": (width,)}
    return shapes | {"norm.weight": (width,), "norm.bias": (width,)}


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return tensors of these shapes, each of one value of its own, which cost no memory."""
    values: dict[str, Tensor] = {}
    for number, (name, shape) in enumerate(shapes.items()):
        dtype = torch.int64 if name.endswith("tracked") else torch.float32
        values[name] = torch.full((1,), number, dtype=dtype).expand(shape) if shape else torch.tensor(number)
    return values


def shuffled(cloud: PointCloud, seed: int = 0) -> PointCloud:
    order = np.random.default_rng(seed).permutation(len(cloud))
    return PointCloud(cloud.xyz[order], None if cloud.rgb is None else cloud.rgb[order])


def grid(side: int = 5) -> PointCloud:
    """Return a grid, in which almost every distance occurs many times."""
    return PointCloud(np.stack(np.mgrid[:side, :side, :side], axis=-1).reshape(-1, 3).astype(np.float32))


# the order of the points


@pytest.mark.parametrize("name", ["point_bert", "point_mae", "point_patch"])
@pytest.mark.parametrize("kind", ["ring", "grid", "few", "one place"])
def test_a_shuffled_cloud_has_the_same_features(modality: PointCloudModality, name: str, kind: str) -> None:
    ring = modality.example()
    few = PointCloud(ring.xyz[:5], ring.rgb[:5] if ring.rgb is not None else None)
    cloud = {"ring": ring, "grid": grid(), "few": few, "one place": PointCloud(np.ones((9, 3), np.float32))}[kind]
    encoder = ENCODERS[name].build(CONTEXT).eval()
    expected = encoder([encoder.prepare(cloud)]).values
    assert bool(expected.isfinite().all())
    for seed in range(3):
        assert torch.equal(encoder([encoder.prepare(shuffled(cloud, seed))]).values, expected)


def test_beginning_with_the_first_point_keeps_the_order_of_the_papers(modality: PointCloudModality) -> None:
    encoder = ENCODERS["first"].build(CONTEXT).eval()
    cloud = modality.example()
    cloud = PointCloud(cloud.xyz[:64])
    centres = encoder.prepare(cloud)["centres"]
    assert torch.allclose(centres, normalised(cloud)[naive_farthest(normalised(cloud), 8)][:, :3])
    assert not torch.equal(encoder.prepare(shuffled(cloud))["centres"], centres)


@pytest.mark.parametrize("name", ["point_bert", "point_patch"])
def test_place_and_size_do_not_matter_where_clouds_are_normalised(modality: PointCloudModality, name: str) -> None:
    encoder = ENCODERS[name].build(CONTEXT).eval()
    cloud = modality.example()
    moved = PointCloud(cloud.xyz * 7 + np.float32(3), cloud.rgb)
    torch.testing.assert_close(encoder.prepare(moved)["groups"], encoder.prepare(cloud)["groups"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["point_bert", "point_patch"])
def test_a_large_cloud_is_looked_at_from_end_to_end(name: str) -> None:
    line = np.zeros((5000, 3), np.float32)
    line[:, 0] = np.linspace(0, 10, 5000)
    centres = ENCODERS[name].build(CONTEXT).prepare(PointCloud(line))["centres"][:, 0]
    assert float(centres.min()) < -0.8 and float(centres.max()) > 0.8  # of -1 to 1


def test_sampling_begins_with_the_point_farthest_from_the_middle(modality: PointCloudModality) -> None:
    ring = modality.example().xyz
    cloud = PointCloud(np.concatenate([ring[:20], [[3, 0, 0]], ring[20:40]]).astype(np.float32))
    centres = ENCODERS["point_mae"].build(CONTEXT).prepare(cloud)["centres"]
    assert float(centres[0].norm()) == pytest.approx(1)


def test_metres_count_where_clouds_are_not_normalised(modality: PointCloudModality) -> None:
    encoder = PointPatchConfig(type="point_patch", normalise=False).build(CONTEXT)
    cloud = modality.example()
    extents = [
        float(encoder.prepare(PointCloud(cloud.xyz * scale))["centres"].abs().max())
        for scale in map(np.float32, (1, 7))
    ]
    assert extents[1] == pytest.approx(7 * extents[0], rel=0.05)


def test_colours_count(modality: PointCloudModality) -> None:
    cloud = modality.example()
    for name in ("point_bert", "point_patch"):
        encoder = ENCODERS[name].build(CONTEXT).eval()
        assert not torch.allclose(*(encoder([encoder.prepare(c)]).values for c in (cloud, PointCloud(cloud.xyz))))


def test_farthest_points_are_those_of_the_plain_loop() -> None:
    xyz = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    assert farthest_points(xyz, 20, 0).tolist() == naive_farthest(torch.from_numpy(xyz), 20)
    assert len(set(farthest_points(xyz, 100, 3).tolist())) == 100


def test_morton_numbers_come_back_and_keep_neighbours_near() -> None:
    codes = np.arange(8**3)
    cells = cells_of(codes, 3)
    assert np.array_equal(morton(cells, 3), codes)
    assert len(np.unique(cells, axis=0)) == 512 and cells.max() == 7
    assert np.abs(np.diff(cells, axis=0)).sum(axis=1).mean() < 2.2  # raster order has 1.9, a random one 7.9
    assert all((cells[start : start + 8] // 2 == cells[start] // 2).all() for start in range(0, 512, 8))


# what the network computes


def normalised(cloud: PointCloud, channels: int = 6) -> Tensor:
    xyz = torch.from_numpy(cloud.xyz) - torch.from_numpy(cloud.xyz).mean(0)
    xyz = xyz / xyz.norm(dim=1).max()
    rgb = torch.zeros_like(xyz) if cloud.rgb is None else torch.from_numpy(cloud.rgb)
    return torch.cat([xyz, rgb], dim=1)[:, :channels]


def naive_farthest(points: Tensor, count: int) -> list[int]:
    chosen = [0]
    while len(chosen) < count:
        distances = torch.cdist(points[:, :3].double(), points[chosen][:, :3].double()).amin(1)
        chosen.append(int(distances.argmax()))
    return chosen


def naive_features(state: dict[str, Tensor], points: Tensor, sizes: dict[str, int]) -> Tensor:
    """Compute the encoder of PointLLM (point_encoder.py, dvae.py) for one cloud (P, C), from its tensors alone."""

    def linear(name: str, values: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return values @ weight.reshape(weight.shape[:2]).T + state.get(f"{name}.bias", torch.zeros(()))

    def norm(name: str, values: Tensor) -> Tensor:
        return nn.functional.layer_norm(values, values.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def batch_norm(name: str, values: Tensor) -> Tensor:
        scale = state[f"{name}.weight"] / (state[f"{name}.running_var"] + 1e-5).sqrt()
        return (values - state[f"{name}.running_mean"]) * scale + state[f"{name}.bias"]

    chosen = naive_farthest(points, sizes["groups"])
    centres = points[chosen][:, :3]
    tokens = [state["cls_token"][0, 0]]
    for centre in centres:
        nearest = (points[:, :3] - centre).norm(dim=1).topk(sizes["group_size"], largest=False).indices
        group = torch.cat([points[nearest, :3] - centre, points[nearest, 3:]], dim=1)
        local = linear("encoder.first_conv.0", group)
        local = linear("encoder.first_conv.3", batch_norm("encoder.first_conv.1", local).relu())
        joined = torch.cat([local.amax(0).expand_as(local), local], dim=1)
        joined = batch_norm("encoder.second_conv.1", linear("encoder.second_conv.0", joined)).relu()
        tokens.append(linear("reduce_dim", linear("encoder.second_conv.3", joined).amax(0)))
    places = linear("pos_embed.2", nn.functional.gelu(linear("pos_embed.0", centres)))
    places = torch.cat([state["cls_pos"][0], places])
    hidden, heads = torch.stack(tokens), sizes["heads"]
    for layer in range(sizes["depth"]):
        stem = f"blocks.blocks.{layer}"
        hidden = hidden + places
        queries, keys, values = linear(f"{stem}.attn.qkv", norm(f"{stem}.norm1", hidden)).chunk(3, dim=-1)
        mixed = [
            (q @ k.T / q.shape[1] ** 0.5).softmax(-1) @ v
            for q, k, v in zip(*(x.chunk(heads, dim=-1) for x in (queries, keys, values)), strict=True)
        ]
        hidden = hidden + linear(f"{stem}.attn.proj", torch.cat(mixed, dim=-1))
        inner = nn.functional.gelu(linear(f"{stem}.mlp.fc1", norm(f"{stem}.norm2", hidden)))
        hidden = hidden + linear(f"{stem}.mlp.fc2", inner)
    return norm("norm", hidden)


def test_the_features_are_those_of_the_published_arithmetic(modality: PointCloudModality) -> None:
    encoder = ENCODERS["first"].build(CONTEXT).eval()
    with torch.no_grad():
        for name, value in encoder.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.1 if "running_var" in name else torch.randn_like(value) * 0.3)
        cloud = modality.example()
        assert cloud.rgb is not None
        cloud = PointCloud(cloud.xyz[:64], cloud.rgb[:64])
        found = encoder([encoder.prepare(cloud)]).values
        expected = naive_features(encoder.state_dict(), normalised(cloud), SMALL)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_what_was_built_on_meta_and_reset_is_finite_and_small(name: str, modality: PointCloudModality) -> None:
    with torch.device("meta"):
        encoder = ENCODERS[name].build(CONTEXT).eval()
    encoder.to_empty(device="cpu")
    for value in encoder.state_dict().values():
        value.fill_(1000)
    for module in encoder.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    features = encoder([encoder.prepare(modality.example())]).values
    assert features.isfinite().all() and features.std() < 10


def test_half_precision_changes_no_neighbours(modality: PointCloudModality) -> None:
    encoder = ENCODERS["point_patch"].build(CONTEXT).eval()
    items = [encoder.prepare(modality.example())]
    expected = encoder(items).values
    torch.testing.assert_close(encoder.bfloat16()(items).values.float(), expected, atol=0.1, rtol=0.1)


# published weights


@pytest.mark.parametrize(("name", "count"), [("v1.2", 160), ("v1.1", 160), ("mae", 158)])
def test_tensors_have_the_published_names_and_shapes(name: str, count: int, tmp_path: Path) -> None:
    torch.save({"state_dict": filled(published(name))}, tmp_path / "weights.pt")
    context = BuildContext(path="e", folder=tmp_path)
    with torch.device("meta"):
        encoder = PointBertConfig(type="point_bert", pretrained="./weights.pt").build(context)
    shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    assert len(shapes) == count
    assert shapes == published(name)


FILES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "point_bert_v1.2.pt": ("v1.2", "state_dict", "module.point_encoder.", ("module.text.weight", "logit_scale")),
    "pretrain.pth": (
        "mae",
        "base_model",
        "module.MAE_encoder.",
        ("module.MAE_decoder.blocks.0.norm1.weight", "module.mask_token", "module.decoder_pos_embed.0.weight"),
    ),
    "modelnet_8k.pth": ("mae", "base_model", "module.", ("module.cls_head_finetune.0.weight",)),
    "flat.pt": ("v1.2", "", "", ()),
}


@pytest.mark.parametrize("file", FILES)
def test_a_published_file_fills_the_encoder(file: str, tmp_path: Path) -> None:
    name, container, prefix, others = FILES[file]
    shapes = published(name)
    if file == "pretrain.pth":  # Point-MAE has no class token before it is fine-tuned
        shapes = {key: shape for key, shape in shapes.items() if not key.startswith("cls")}
    values = filled(shapes)
    stored = {prefix + key: value for key, value in values.items()} | {key: torch.ones(2) for key in others}
    torch.save({container: stored, "epoch": 300} if container else stored, tmp_path / file)
    context = BuildContext(path="e", folder=tmp_path)
    settings = PointBertConfig(type="point_bert", pretrained=f"./{file}")
    encoder = settings.build(context)
    settings.load(encoder, context)
    found = encoder.state_dict()
    assert found.keys() == values.keys()
    assert all(torch.equal(found[key], value) for key, value in values.items())
    points = {"v1.2": (8192, 512), "mae": (1024, 64)}[name]
    assert (encoder.grouping.points, encoder.grouping.groups) == points


def test_the_encoder_of_a_whole_pointllm_is_found(tmp_path: Path) -> None:
    stored = {f"model.point_backbone.{key}": value for key, value in filled(published("v1.2")).items()}
    torch.save(stored | {"model.point_proj.0.weight": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    context = BuildContext(path="e", folder=tmp_path)
    settings = PointBertConfig(type="point_bert", pretrained="./")
    encoder = settings.build(context)
    settings.load(encoder, context)
    assert float(encoder.norm.bias.detach().mean()) == len(published("v1.2")) - 1


def test_what_is_resolved_needs_no_file(tmp_path: Path) -> None:
    torch.save(filled(published("mae")), tmp_path / "a.pth")
    context = BuildContext(path="e", folder=tmp_path)
    resolved = PointBertConfig(type="point_bert", pretrained="./a.pth").resolve(context)
    again = PointBertConfig.model_validate(json.loads(resolved.model_dump_json()))
    assert again.pretrained is None and again.initialised_from == "./a.pth"
    assert again.architecture is not None and again.architecture.groups == 64
    with torch.device("meta"):
        assert len(again.build(CONTEXT).state_dict()) == 158


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"norm.weight": None}, "lacks 'norm.weight'"),
        ({"blocks.blocks.3.attn.proj.bias": None}, "1 of 160 tensors are missing, 'blocks.blocks.3.attn.proj.bias'"),
        ({"blocks.blocks.3.attn.qkv.bias": (3,)}, "1 tensors fit nowhere, 'blocks.blocks.3.attn.qkv.bias'"),
        ({"pos_embed.0.weight": (128, 4)}, "tensor 'pos_embed.0.weight' has shape"),
        ({"norm.weight": (500,)}, "width 500"),
        ({"encoder.first_conv.0.weight": None}, "no Point-BERT is in it"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    shapes = {key: shape for key, shape in (published("v1.2") | change).items() if shape is not None}
    torch.save(filled(shapes), tmp_path / "a.pt")
    context = BuildContext(path="e", folder=tmp_path)
    settings = PointBertConfig(type="point_bert", pretrained="./a.pt")
    with pytest.raises(PolyjanusError) as caught:
        settings.load(settings.build(context), context)
    assert says in str(caught.value)


class Foreign:
    """A class that a pickle would have to import."""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "cannot be read"),
        (b"PK\x03\x04 not a zip", "cannot be read"),
        ({"state_dict": {}, "epoch": 3}, "no tensors by name"),
        (torch.ones(3), "a Tensor"),
        ({"state_dict": {"a": torch.ones(1)}, "args": Foreign()}, "more than tensors"),
    ],
)
def test_a_weight_file_that_holds_no_tensors_says_what_it_holds(content: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(CheckpointError) as caught:
        read_tensor_file(path)
    assert says in str(caught.value) and str(path) in str(caught.value)


def test_a_weight_file_of_before_torch_1_6_is_read(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(2)}}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert read_tensor_file(tmp_path / "a.pth")["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"architecture": {"heads": 7}}, "width 384 is no multiple of 7 heads"),
        ({"architecture": {"points": 100}}, "100 points are too few for 512 groups"),
        ({"architecture": {"widht": 100}}, "Extra inputs"),
        ({}, "either 'pretrained' or 'architecture'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(block: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        PointBertConfig.model_validate({"type": "point_bert", **block})
