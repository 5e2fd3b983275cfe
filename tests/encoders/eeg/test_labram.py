"""LaBraM: published weights have their place, the arithmetic is the published one, and faults are told."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from polyjanus.core.errors import MediaError, PolyjanusError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.eeg import EegConfig, LabramConfig
from polyjanus.encoders.eeg.labram import ROWS, LabramEncoder
from polyjanus.encoders.eeg.media import Recording
from polyjanus.encoders.eeg.names import positions_of

SMALL = {"width": 200, "depth": 2, "heads": 4}
"""Two channels to a group; of one alone the group norm would take all scale away."""
NAMES = ("Fp1", "Cz", "T7", "O2")


def context(folder: Path | None = None, **settings: Any) -> BuildContext:
    modality = EegConfig.model_validate({"type": "eeg", **settings}).build(BuildContext(path="eeg"))
    return BuildContext(path="eeg.understand.encoder", modality=modality, folder=folder or Path())


def encoder_of(**settings: Any) -> LabramEncoder:
    block = {"type": "labram", "architecture": SMALL, **settings}
    return LabramConfig.model_validate(block).build(context()).eval()


def recording(seconds: float = 2.0, names: tuple[str, ...] = NAMES, rate: float = 200.0) -> Recording:
    volts = np.random.default_rng(0).normal(size=(len(names), round(seconds * rate))) * 2e-5
    return Recording(volts.astype(np.float32), rate, names, positions_of(names))


def published(norm: str = "norm", width: int = 200, depth: int = 12, heads: int = 10) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the tensors of labram-base.pth (935963004/LaBraM, modeling_pretrain.py)."""
    channels, head = width // 25, width // heads
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width), "pos_embed": (1, 129, width)}
    shapes |= {"time_embed": (1, 16, width)}
    for number, (before, kernel) in enumerate([(1, 15), (channels, 3), (channels, 3)], 1):
        stem = f"patch_embed.conv{number}"
        shapes |= {f"{stem}.weight": (channels, before, 1, kernel), f"{stem}.bias": (channels,)}
        shapes |= {f"patch_embed.norm{number}.{each}": (channels,) for each in ("weight", "bias")}
    for layer in range(depth):
        stem = f"blocks.{layer}"
        shapes |= {f"{stem}.gamma_1": (width,), f"{stem}.gamma_2": (width,)}
        shapes |= {f"{stem}.{name}.{each}": (width,) for name in ("norm1", "norm2") for each in ("weight", "bias")}
        shapes |= {
            f"{stem}.attn.{name}.{each}": (head,) for name in ("q_norm", "k_norm") for each in ("weight", "bias")
        }
        shapes |= {f"{stem}.attn.qkv.weight": (3 * width, width), f"{stem}.attn.proj.weight": (width, width)}
        shapes |= {f"{stem}.attn.proj.bias": (width,)}
        shapes |= {f"{stem}.mlp.fc1.weight": (4 * width, width), f"{stem}.mlp.fc1.bias": (4 * width,)}
        shapes |= {f"{stem}.mlp.fc2.weight": (width, 4 * width), f"{stem}.mlp.fc2.bias": (width,)}
    return shapes | {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return tensors of these shapes, each of one value of its own, which cost no memory."""
    return {name: torch.full((1,), float(i)).expand(shape) for i, (name, shape) in enumerate(shapes.items())}


# weights


OTHERS = {"lm_head.weight": (8, 2), "lm_head.bias": (8,), "projection_head.0.weight": (2, 2)}
FILES: dict[str, tuple[str, str, dict[str, tuple[int, ...]]]] = {
    "pretrained": ("norm", "student.", {**OTHERS, "student.mask_token": (1, 1, 200), "student.lm_head.weight": (8, 2)}),
    "fine-tuned": ("fc_norm", "", {"head.weight": (4, 200), "head.bias": (4,)}),
    "large": ("norm", "student.", {"student.blocks.0.attn.relative_position_index": (3,)}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_fills_every_place(name: str, tmp_path: Path) -> None:
    norm, prefix, others = FILES[name]
    sizes = {"width": 400, "depth": 24, "heads": 16} if name == "large" else {}
    values = filled(published(norm, **sizes))
    stored = {prefix + key: value for key, value in values.items()} | {k: torch.ones(s) for k, s in others.items()}
    torch.save({"model": stored, "epoch": 49}, tmp_path / "labram.pth")
    settings = LabramConfig.model_validate({"type": "labram", "pretrained": "./labram.pth"})
    encoder = settings.build(context(tmp_path))
    settings.load(encoder, context(tmp_path))
    found = encoder.state_dict()
    assert found.keys() == values.keys()
    assert all(torch.equal(found[key], value) for key, value in values.items())
    assert encoder.blocks[0].attn.heads == sizes.get("heads", 10)


def test_the_base_model_has_the_published_size() -> None:
    with torch.device("meta"):
        encoder = LabramConfig.model_validate({"type": "labram", "architecture": {}}).build(context())
    assert {name: tuple(value.shape) for name, value in encoder.state_dict().items()} == published()
    assert sum(value.numel() for value in encoder.parameters()) == pytest.approx(5.8e6, rel=0.02)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"student.blocks.3.attn.q_bias": (200,)}, "1 tensors fit nowhere, 'blocks.3.attn.q_bias'"),
        ({"student.blocks.3.mlp.fc1.bias": None}, "1 of 221 tensors are missing, 'blocks.3.mlp.fc1.bias'"),
        ({"student.pos_embed": (1, 137, 200)}, "tensor 'pos_embed' has shape (1, 137, 200), not (1, 129, 200)"),
        ({"student.patch_embed.conv1.weight": None}, "no LaBraM is in it"),
        ({"student.cls_token": None}, "lacks 'cls_token'"),
        ({"student.cls_token": (1, 1, 210)}, "width of 210"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    shapes = {f"student.{key}": shape for key, shape in published().items()} | change
    stored = filled({key: shape for key, shape in shapes.items() if shape is not None})
    torch.save({"model": stored}, tmp_path / "a.pth")
    settings = LabramConfig.model_validate({"type": "labram", "pretrained": "./a.pth"})
    with pytest.raises(PolyjanusError) as caught:
        settings.load(settings.build(context(tmp_path)), context(tmp_path))
    assert says in str(caught.value)


def test_what_is_resolved_needs_no_file(tmp_path: Path) -> None:
    torch.save({"model": filled(published("fc_norm"))}, tmp_path / "a.pth")
    settings = LabramConfig.model_validate({"type": "labram", "pretrained": "./a.pth", "older_names": True})
    again = LabramConfig.model_validate(json.loads(settings.resolve(context(tmp_path)).model_dump_json()))
    assert again.pretrained is None and again.initialised_from == "./a.pth" and again.older_names
    assert again.architecture is not None and again.architecture.final_norm == "fc_norm"


def test_sizes_that_do_not_fit_are_refused() -> None:
    for sizes, says in (({"heads": 7}, "no multiple of 7 heads"), ({"width": 150}, "multiple of 100")):
        with pytest.raises(ValidationError, match=says):
            LabramConfig.model_validate({"type": "labram", "architecture": sizes})


# what the network computes


def normalised(values: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    middle = values.mean(-1, keepdim=True)
    spread = ((values - middle) ** 2).mean(-1, keepdim=True)
    return (values - middle) / (spread + epsilon).sqrt() * weight + bias


def convolved(values: Tensor, weight: Tensor, bias: Tensor, stride: int, pad: int) -> Tensor:
    """Return (O, M, T') of values (I, M, T), window by window."""
    padded = torch.nn.functional.pad(values, (pad, pad))
    kernel = weight.shape[-1]
    places = range(0, padded.shape[-1] - kernel + 1, stride)
    windows = torch.stack([padded[..., start : start + kernel] for start in places], dim=-2)  # (I, M, T', k)
    return torch.einsum("imtk,oik->omt", windows, weight[:, :, 0]) + bias[:, None, None]


def in_groups_of(values: Tensor, weight: Tensor, bias: Tensor, groups: int = 4) -> Tensor:
    """Normalise channels (O, M, T) in groups, each over all patches and times of the item."""
    parts = [(part - part.mean()) / (part.var(correction=0) + 1e-5).sqrt() for part in values.chunk(groups)]
    return torch.cat(parts) * weight[:, None, None] + bias[:, None, None]


def gelu(values: Tensor) -> Tensor:
    return values * 0.5 * (1 + torch.erf(values / math.sqrt(2)))


def plain_features(state: dict[str, Tensor], patches: Tensor, rows: list[int], heads: int) -> Tensor:
    """Compute the patch tokens of one item (C, A, T), from the formulas of arXiv 2405.18765, section 2.1."""
    electrodes, seconds, _ = patches.shape
    values = patches.reshape(1, electrodes * seconds, -1)
    for number, (stride, pad) in enumerate([(8, 7), (1, 1), (1, 1)], 1):
        conv, norm = f"patch_embed.conv{number}", f"patch_embed.norm{number}"
        values = convolved(values, state[f"{conv}.weight"], state[f"{conv}.bias"], stride, pad)
        values = gelu(in_groups_of(values, state[f"{norm}.weight"], state[f"{norm}.bias"]))
    tokens = [state["cls_token"][0, 0] + state["pos_embed"][0, 0]]
    for index in range(electrodes * seconds):
        electrode, second = divmod(index, seconds)
        vector = values[:, index].T.flatten()  # time is the slow axis, channels the fast one
        tokens.append(vector + state["pos_embed"][0, rows[electrode]] + state["time_embed"][0, second])
    hidden = torch.stack(tokens)
    layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    for layer in range(layers):
        own = {n.removeprefix(f"blocks.{layer}."): v for n, v in state.items() if n.startswith(f"blocks.{layer}.")}
        inner = normalised(hidden, own["norm1.weight"], own["norm1.bias"], 1e-6)
        queries, keys, worth = (inner @ own["attn.qkv.weight"].T).chunk(3, dim=-1)
        mixed = []
        for q, k, v in zip(*(each.chunk(heads, dim=-1) for each in (queries, keys, worth)), strict=True):
            q = normalised(q, own["attn.q_norm.weight"], own["attn.q_norm.bias"], 1e-6)
            k = normalised(k, own["attn.k_norm.weight"], own["attn.k_norm.bias"], 1e-6)
            mixed.append((q @ k.T / q.shape[1] ** 0.5).softmax(-1) @ v)
        attended = torch.cat(mixed, dim=-1) @ own["attn.proj.weight"].T + own["attn.proj.bias"]
        hidden = hidden + own["gamma_1"] * attended
        inner = normalised(hidden, own["norm2.weight"], own["norm2.bias"], 1e-6)
        inner = gelu(inner @ own["mlp.fc1.weight"].T + own["mlp.fc1.bias"])
        hidden = hidden + own["gamma_2"] * (inner @ own["mlp.fc2.weight"].T + own["mlp.fc2.bias"])
    name = "fc_norm" if "fc_norm.weight" in state else "norm"
    return normalised(hidden, state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)[1:]


@pytest.mark.parametrize("norm", ["norm", "fc_norm"])
def test_the_features_are_those_of_the_published_arithmetic(norm: str) -> None:
    encoder = encoder_of(architecture={**SMALL, "final_norm": norm})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in encoder.state_dict().values():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
        media = recording(2.3)
        found = encoder([encoder.prepare(media)])
        padded = np.pad(media.volts, ((0, 0), (0, 140))).reshape(4, 3, 200) * 1e6 / 100  # microvolts / 100
        rows = [1, 42, 38, 83]  # Fp1, Cz, T7 and O2 of the published list, counted from one
        expected = plain_features(encoder.state_dict(), torch.from_numpy(padded).float(), rows, SMALL["heads"])
    torch.testing.assert_close(found.values, expected, atol=2e-4, rtol=1e-4)
    assert found.grids == ((4, 3),)


def test_the_order_of_electrodes_is_kept_and_nothing_else_hangs_on_it() -> None:
    """Group norms are over all patches of an item, whatever their order, and attention sees a set."""
    encoder, media, order = encoder_of(), recording(), [2, 0, 3, 1]
    names = tuple(media.channels[i] for i in order)
    moved = Recording(media.volts[order], media.sample_rate, names, media.positions[order])
    with torch.no_grad():
        first, second = (encoder([encoder.prepare(each)]).values.unflatten(0, (4, 2)) for each in (media, moved))
    torch.testing.assert_close(second, first[order], atol=1e-5, rtol=1e-5)


# input


def test_the_table_is_the_published_one() -> None:
    assert len(ROWS) == 120 and max(ROWS.values()) == 120
    known = {"FP1": 1, "AF9": 4, "FZ": 20, "CZ": 42, "PZ": 64, "O1": 81, "OZ": 82, "IZ": 87, "T3": 89, "A2": 96}
    assert {name: ROWS[name] for name in known} == known


def test_older_names_take_the_places_of_the_older_names() -> None:
    media = recording(names=("T7", "T8", "P7", "P8", "Cz"))
    assert encoder_of().prepare(media)["rows"].tolist() == [38, 46, 60, 68, 42]
    assert encoder_of(older_names=True).prepare(media)["rows"].tolist() == [89, 91, 90, 92, 42]


def test_another_rate_is_resampled_and_the_end_is_zero() -> None:
    prepared = encoder_of().prepare(recording(1.5, rate=256.0))
    assert prepared["patches"].shape == (4, 2, 200)
    assert bool((prepared["patches"][:, 1, 100:] == 0).all()) and bool(prepared["patches"][:, 1, :100].all())


def test_more_than_sixteen_seconds_are_refused_with_the_remedy() -> None:
    encoder = encoder_of()
    assert encoder.num_tokens(encoder.prepare(recording(16.0))) == (64, (4, 16))
    with pytest.raises(MediaError, match="17 s are more than the 16 s") as caught:
        encoder.prepare(recording(17.0))
    assert "duration: 16" in str(caught.value)


def test_an_electrode_that_is_not_in_the_table_is_named() -> None:
    with pytest.raises(MediaError, match="does not know the electrode 'X17'"):
        encoder_of().prepare(recording(names=("Cz", "X17")))
