"""Codecs of point clouds: codes and back, whatever the order, judged by what has never seen a codec."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from polyjanus.core.errors import MediaError, SequenceError
from polyjanus.core.settings import BuildContext, ComponentConfig
from polyjanus.encoders.point_cloud import PointFsqConfig, VoxelConfig
from polyjanus.encoders.point_cloud.media import PointCloud, PointCloudModality
from polyjanus.encoders.point_cloud.point_fsq import PointFsqCodec, chamfer
from polyjanus.encoders.point_cloud.shapes import NAMES, make_shape

CODEC = BuildContext(path="point_cloud.generate.codec")
CODECS: dict[str, ComponentConfig] = {
    "voxel": VoxelConfig(type="voxel"),
    "metres": VoxelConfig(type="voxel", bits=3, max_codes=40, normalise=False),
    "point_fsq": PointFsqConfig(type="point_fsq", points=64, codes=8, levels=(4, 4, 4), width=16),
}

ENDED = """
polyjanus: 1
backbone:
  type: causal_lm
  architecture: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1,
                 num_attention_heads: 2, max_position_embeddings: 256}
template: {type: janus, user: User, assistant: Assistant}
text: {tokenizer: bytes}
modalities:
  point_cloud:
    generate:
      codec: {type: voxel, bits: 1, max_codes: 20}
      layout: {type: ended}
"""


def shuffled(cloud: PointCloud, seed: int) -> PointCloud:
    return PointCloud(np.random.default_rng(seed).permutation(cloud.xyz))


def ring_and_others(modality: PointCloudModality) -> list[PointCloud]:
    """Return a ring, a grid in which distances occur many times, two points, and points in one place."""
    grid = np.stack(np.mgrid[:5, :5, :5], axis=-1).reshape(-1, 3).astype(np.float32) / 5 - np.float32(0.4)
    two = np.array([[0, 0, 0], [0.5, 0, 0]], dtype=np.float32)
    return [modality.example(), PointCloud(grid), PointCloud(two), PointCloud(np.zeros((7, 3), np.float32))]


@pytest.mark.parametrize("name", CODECS)
def test_a_shuffled_cloud_has_the_same_codes(modality: PointCloudModality, name: str) -> None:
    codec = CODECS[name].build(CODEC).eval()
    for cloud in ring_and_others(modality):
        (expected,) = codec.encode([codec.prepare(cloud)])
        for seed in range(3):
            assert torch.equal(codec.encode([codec.prepare(shuffled(cloud, seed))])[0], expected)


# voxel


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 4, 6])
def test_what_a_voxel_codec_wrote_has_the_same_codes_again(
    modality: PointCloudModality, normalise: bool, bits: int
) -> None:
    codec = VoxelConfig(type="voxel", bits=bits, max_codes=10**6, normalise=normalise, extent=1.5).build(CODEC)
    for cloud in ring_and_others(modality):
        codes = codec.encode([codec.prepare(cloud)])
        again = codec.encode([codec.prepare(medium) for medium in codec.decode(codes)])
        assert torch.equal(again[0], codes[0])


def test_codes_rise_and_none_comes_twice(modality: PointCloudModality) -> None:
    codec = CODECS["voxel"].build(CODEC)
    (codes,) = codec.encode([codec.prepare(modality.example())])
    assert codes.shape[1] == 1 and bool((codes.diff(dim=0) > 0).all())
    assert 0 <= int(codes.min()) <= int(codes.max()) < codec.cardinality == 4096


def test_points_in_metres_are_at_most_half_a_cell_off(modality: PointCloudModality) -> None:
    codec = VoxelConfig(type="voxel", bits=5, extent=2.0, normalise=False, max_codes=10**6).build(CODEC)
    cloud = modality.example()
    (found,) = codec.decode(codec.encode([codec.prepare(cloud)]))
    offsets = np.abs(cloud.xyz[:, None] - found.xyz[None]).max(axis=2)
    assert offsets.min(axis=1).max() <= 2.0 / 32 / 2 + 1e-6
    assert offsets.min(axis=0).max() <= 2.0 / 32 / 2 + 1e-6


def test_a_normalised_cloud_comes_back_with_its_longest_side_the_extent(modality: PointCloudModality) -> None:
    codec = VoxelConfig(type="voxel", extent=3.0).build(CODEC)
    for scale in (np.float32(0.001), np.float32(50)):
        cloud = PointCloud(modality.example().xyz * scale + np.float32(7))
        (found,) = codec.decode(codec.encode([codec.prepare(cloud)]))
        assert float(np.ptp(found.xyz, axis=0).max()) == pytest.approx(3.0)
        assert np.abs(found.xyz.max(axis=0) + found.xyz.min(axis=0)).max() < 1e-6


def test_points_outside_the_cube_are_refused_with_the_remedy() -> None:
    codec = VoxelConfig(type="voxel", extent=2.0, normalise=False).build(CODEC)
    with pytest.raises(MediaError, match="1 of 2 points are outside .* 2 m, as far as 3 m") as caught:
        codec.prepare(PointCloud(np.array([[0, 0, 0], [0, 3, 0]], dtype=np.float32)))
    assert "extent" in str(caught.value.hint)
    edge = PointCloud(np.array([[1, 1, 1], [-1, -1, -1]], dtype=np.float32))
    assert codec.num_codes(codec.prepare(edge)) == 2


def test_of_too_many_cells_some_all_over_the_cloud_are_kept(modality: PointCloudModality) -> None:
    codec = VoxelConfig(type="voxel", bits=5, max_codes=40).build(CODEC)
    items = [codec.prepare(modality.example())]
    assert codec.num_codes(items[0]) == 40
    (found,) = codec.decode(codec.encode(items))
    angles = np.sort(np.arctan2(found.xyz[:, 1], found.xyz[:, 0]))
    assert np.diff(angles).max() < 1.0  # radians; no side of the ring is missing


def test_generated_codes_may_repeat_and_come_in_any_order() -> None:
    codec = CODECS["voxel"].build(CODEC)
    first, second = codec.decode([torch.tensor([[7], [3], [7]]), torch.tensor([[3], [7]])])
    assert np.array_equal(first.xyz, second.xyz) and len(first) == 2


@pytest.mark.parametrize("codes", [torch.zeros(0, 1, dtype=torch.int64), torch.tensor([[4096]]), torch.tensor([[-1]])])
def test_codes_that_are_none_are_refused(codes: torch.Tensor) -> None:
    with pytest.raises(SequenceError, match="codes from 0 to 4095"):
        CODECS["voxel"].build(CODEC).decode([codes])


def test_voxels_are_written_by_a_pipeline_until_an_end_code(plugins: Any, tmp_path: Path) -> None:
    from polyjanus.core.pipeline import Pipeline

    path = tmp_path / "pipeline.yaml"
    path.write_text(ENDED, encoding="utf-8")
    pipeline = Pipeline.from_yaml(path, plugins=plugins, device="cpu")
    sizes = [len(pipeline.run("Make a ring.", ["point_cloud"], seed=seed).point_cloud) for seed in range(5)]
    assert len(set(sizes)) > 1 and 1 <= min(sizes) <= max(sizes) <= 20


# point_fsq


def test_the_loss_is_a_sum_and_reaches_encoder_and_decoder(modality: PointCloudModality) -> None:
    codec = CODECS["point_fsq"].build(CODEC).eval()
    items = [codec.prepare(cloud) for cloud in ring_and_others(modality)]
    loss, count = codec.reconstruct(items)
    assert count == 4
    torch.testing.assert_close(loss, torch.stack([codec.reconstruct([item])[0] for item in items]).sum())
    loss.backward()
    assert not [key for key, value in codec.named_parameters() if value.grad is None]


def test_chamfer_is_that_of_the_plain_loop() -> None:
    first, second = torch.randn(2, 9, 3), torch.randn(2, 5, 3)
    for index in range(2):
        distances = torch.cdist(first[index], second[index])
        expected = (distances.amin(0).mean() + distances.amin(1).mean()) / 2
        torch.testing.assert_close(chamfer(first, second)[index], expected, atol=1e-5, rtol=1e-4)
    assert float(chamfer(first, first).max()) < 1e-3


def test_encoding_never_moves_the_statistics_and_one_cloud_alone_can_be_trained(modality: PointCloudModality) -> None:
    codec = CODECS["point_fsq"].build(CODEC).train()
    items = [codec.prepare(cloud) for cloud in ring_and_others(modality)]
    before = codec.norm.running_mean.clone()
    codec.encode(items)
    codec.eval().reconstruct(items)
    codec.train().reconstruct(items[:1])
    assert torch.equal(codec.norm.running_mean, before)
    codec.reconstruct(items)
    assert not torch.equal(codec.norm.running_mean, before)


def test_what_was_built_on_meta_and_loaded_is_bit_equal(modality: PointCloudModality) -> None:
    codec = CODECS["point_fsq"].build(CODEC).train()
    items = [codec.prepare(cloud) for cloud in ring_and_others(modality)]
    codec.reconstruct(items)
    with torch.device("meta"):
        twin = CODECS["point_fsq"].build(CODEC)
    twin.to_empty(device="cpu").load_state_dict(codec.state_dict())
    assert torch.equal(torch.stack(twin.encode(items)), torch.stack(codec.encode(items)))
    assert torch.equal(twin.eval().reconstruct(items)[0], codec.eval().reconstruct(items)[0])


def test_codes_of_another_number_are_refused() -> None:
    with pytest.raises(SequenceError, match="8 codes, here are 3"):
        CODECS["point_fsq"].build(CODEC).decode([torch.zeros(3, 1, dtype=torch.int64)])


@pytest.mark.parametrize("levels", [(1, 8), ()])
def test_levels_below_two_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        PointFsqConfig(type="point_fsq", levels=levels)


# what an independent judge says


def shapes(count: int, start: int) -> tuple[list[PointCloud], np.ndarray]:
    numbers = range(start, start + count)
    clouds = [
        make_shape(NAMES[i % 8], np.random.default_rng([i, 0]), np.random.default_rng([i, 1]), 512) for i in numbers
    ]
    return clouds, np.array([i % 8 for i in numbers])


def facts(cloud: PointCloud) -> np.ndarray:
    """Return what turning does not change: distances from the middle and between points, and the three spreads."""
    xyz = cloud.xyz - cloud.xyz.mean(axis=0, dtype=np.float64)
    radii = np.linalg.norm(xyz, axis=1)
    xyz, radii = xyz / radii.max(), radii / radii.max()
    first, second = np.random.default_rng(0).integers(0, len(xyz), (2, 4000))
    apart = np.linalg.norm(xyz[first] - xyz[second], axis=1)
    spreads = np.sort(np.linalg.eigvalsh(np.cov(xyz.T)))
    shares = np.histogram(radii, 20, (0, 1.05))[0] / len(xyz), np.histogram(apart, 20, (0, 2))[0] / len(apart)
    return np.concatenate([*shares, spreads])


class Judge:
    """A forest that was fitted on real clouds only, and the clouds that it has not seen."""

    def __init__(self) -> None:
        from sklearn.ensemble import RandomForestClassifier

        clouds, labels = shapes(400, 0)
        self.forest = RandomForestClassifier(100, random_state=0).fit([facts(cloud) for cloud in clouds], labels)
        self.clouds, self.labels = shapes(80, 5000)

    def accuracy(self, clouds: Sequence[PointCloud]) -> float:
        return float(self.forest.score([facts(cloud) for cloud in clouds], self.labels))

    def distance(self, clouds: Sequence[PointCloud]) -> float:
        """Return the Chamfer distance between each cloud and what a codec made of it, in half sides of its box."""

        def boxed(cloud: PointCloud) -> torch.Tensor:
            return torch.from_numpy(VoxelConfig(type="voxel").cube().inside(cloud.xyz)).float()[None]

        pairs = zip(self.clouds, clouds, strict=True)
        return float(np.mean([float(chamfer(boxed(real), boxed(made))) for real, made in pairs]))


@pytest.fixture(scope="module")
def judge() -> Judge:
    pytest.importorskip("sklearn")
    return Judge()


def test_the_judge_knows_real_shapes(judge: Judge) -> None:
    assert judge.accuracy(judge.clouds) > 0.95


@pytest.mark.parametrize(("bits", "distance", "accuracy"), [(3, 0.15, 0.55), (5, 0.05, 0.85)])
def test_voxels_keep_the_shape(judge: Judge, bits: int, distance: float, accuracy: float) -> None:
    codec = VoxelConfig(type="voxel", bits=bits).build(CODEC)
    made = codec.decode(codec.encode([codec.prepare(cloud) for cloud in judge.clouds]))
    assert judge.distance(made) < distance
    assert judge.accuracy(made) > accuracy


def trained(codec: PointFsqCodec, steps: int) -> PointFsqCodec:
    items = [codec.prepare(cloud) for cloud in shapes(400, 0)[0]]
    optimiser = torch.optim.AdamW(codec.train().parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    random = np.random.default_rng(0)
    for _ in range(steps):
        loss, count = codec.reconstruct([items[i] for i in random.integers(0, len(items), 32)])
        optimiser.zero_grad()
        (loss / count).backward()
        optimiser.step()
        schedule.step()
    return codec.eval()


def test_eighty_steps_teach_the_codec_and_use_many_codes(judge: Judge) -> None:
    codec = trained(PointFsqConfig(type="point_fsq", points=64, codes=8, width=16).build(CODEC), 80)
    codes = codec.encode([codec.prepare(cloud) for cloud in judge.clouds])
    assert judge.distance(codec.decode(codes)) < 0.22
    assert len(torch.cat(codes).unique()) > 60


@pytest.mark.slow
def test_twenty_seconds_of_training_give_clouds_that_a_judge_recognises(judge: Judge) -> None:
    codec = trained(PointFsqConfig(type="point_fsq", width=32).build(CODEC), 180)
    made = codec.decode(codec.encode([codec.prepare(cloud) for cloud in judge.clouds]))
    assert judge.distance(made) < 0.12
    assert judge.accuracy(made) > 0.5
