"""Results are found again only where weights, settings, code and the item are what they were."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from polyjanus.core.features import Kept
from polyjanus.core.keeping.addresses import Addresses
from polyjanus.core.keeping.items import ItemDigests
from polyjanus.core.manager import load_plugins
from polyjanus.core.sequence.messages import MediaPart
from polyjanus.encoders.eeg.media import EegModality

CODEC, ENCODER = "image.generate.codec", "image.understand.encoder"


@pytest.fixture(scope="module")
def plain(make_tiny: Any) -> dict[str, str | None]:
    addresses = Addresses(make_tiny())
    return {path: addresses.of(path, is_prompt=False) for path in (CODEC, ENCODER)}


def test_two_pipelines_of_one_file_agree(make_tiny: Any, plain: dict[str, str | None]) -> None:
    again = Addresses(make_tiny("backbone.architecture.hidden_size=16", "data.captions.validation=0.1"))
    assert again.of(CODEC, is_prompt=False) != plain[CODEC]  # other weights are drawn before
    again = Addresses(make_tiny("data.captions.validation=0.1"))
    assert {path: again.of(path, is_prompt=True) for path in plain} == plain and None not in plain.values()
    assert len(set(plain.values())) == 2


@pytest.mark.parametrize(
    ("override", "changes"),
    [
        ("modalities.image.generate.codec.size=16", []),
        ("modalities.image.max_pixels=1000", [CODEC, ENCODER]),
        ("modalities.image.generate.codec.resize=stretch", [CODEC]),
        ("modalities.image.understand.encoder.resize=stretch", [ENCODER]),
    ],
)
def test_a_setting_of_component_or_modality_is_another_address(
    make_tiny: Any, plain: dict[str, str | None], override: str, changes: list[str]
) -> None:
    addresses = Addresses(make_tiny(override))
    assert [path for path in plain if addresses.of(path, is_prompt=False) != plain[path]] == changes


def test_one_weight_is_another_address_and_the_old_one_comes_back_with_it(make_tiny: Any) -> None:
    pipeline = make_tiny()
    addresses = Addresses(pipeline)
    before = addresses.of(CODEC, is_prompt=False)
    weight = next(pipeline.parts.modules[CODEC].parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.view(-1)[-1] += 1e-6
    assert addresses.of(CODEC, is_prompt=False) != before
    with torch.no_grad():
        weight.copy_(kept)
    assert addresses.of(CODEC, is_prompt=False) == before


@pytest.mark.parametrize("is_fused", [True, False])
def test_a_step_of_an_optimizer_is_another_address(make_tiny: Any, is_fused: bool) -> None:
    """Fused optimisers change weights without raising the version of their tensors."""
    pipeline = make_tiny()
    addresses = Addresses(pipeline)
    before = {path: addresses.of(path, is_prompt=True) for path in (CODEC, ENCODER)}
    weights = list(pipeline.parts.modules[CODEC].parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-3, fused=is_fused)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    after = {path: addresses.of(path, is_prompt=True) for path in (CODEC, ENCODER)}
    assert after[CODEC] != before[CODEC] and after[ENCODER] == before[ENCODER]


def test_a_component_that_uses_the_weights_of_another_moves_with_it(make_tiny: Any) -> None:
    block = "{type: codec_features, of: image.generate.codec}"
    pipeline = make_tiny(f"modalities.image.understand.encoder={block}")
    addresses = Addresses(pipeline)
    assert addresses.is_trainable(ENCODER)
    before = addresses.of(ENCODER, is_prompt=False)
    with torch.no_grad():
        next(pipeline.parts.modules[CODEC].parameters()).view(-1)[0] += 1
    assert addresses.of(ENCODER, is_prompt=False) != before
    pipeline.parts.modules[CODEC].requires_grad_(False)
    assert not addresses.is_trainable(ENCODER)


def test_another_version_of_a_plugin_is_another_address(make_tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_tiny()
    before = Addresses(pipeline).of(CODEC, is_prompt=False)
    entry = pipeline.plugins.registries.codecs.entry("fsq2d")
    monkeypatch.setitem(vars(entry.origin), "version", "9.9.9")
    assert Addresses(pipeline).of(CODEC, is_prompt=False) != before


def test_an_edit_of_a_plugin_of_one_file_is_another_address(tmp_path: Path, tiny_yaml: Path) -> None:
    from polyjanus.core.pipeline import Pipeline

    text = Path(__file__).parents[3].joinpath("README.md").read_text(encoding="utf-8")
    code = next(block for block in text.split("```python\n") if "class BrightnessConfig" in block).split("```")[0]
    found: list[str | None] = []
    for number, source in enumerate((code, code, code.replace("/ 255", "/ 256"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = folder / "brightness.py"
        file.write_text(source, encoding="utf-8")
        plugins = load_plugins([file], third_party=False)
        override = ["modalities.image.understand.encoder=brightness"]
        pipeline = Pipeline.from_yaml(tiny_yaml, override, plugins=plugins, device="cpu")
        found.append(Addresses(pipeline).of(ENCODER, is_prompt=False))
    assert found[0] == found[1] != found[2]


def test_weights_that_are_not_here_have_no_address(make_tiny: Any) -> None:
    pipeline = make_tiny()
    pipeline.parts.modules[CODEC].to("meta")
    assert Addresses(pipeline).of(CODEC, is_prompt=False) is None


def _digest(digests: ItemDigests, source: Any, *times: float | None) -> bytes | None:
    def load(modality: str, source: Any, start: Any, duration: Any) -> Any:
        return digests.modalities[modality].load(source, start, duration)

    return digests.of(MediaPart("image", "understand", source, *times), load)[0]


def test_an_item_is_its_bytes_and_not_its_name(tiny: Any, picture: Any, tmp_path: Path) -> None:
    digests = ItemDigests(tiny.compiler.modalities)
    for name in ("a.png", "b.png"):
        picture.save(tmp_path / name)
    first = _digest(digests, tmp_path / "a.png")
    assert first == _digest(digests, str(tmp_path / "b.png")) != None  # noqa: E711
    changed = picture.copy()
    changed.putpixel((3, 3), (1, 2, 3))
    changed.save(tmp_path / "a.png")
    assert _digest(digests, tmp_path / "a.png") != first
    assert _digest(digests, tmp_path / "b.png", 0.0, 1.0) not in (first, _digest(digests, tmp_path / "b.png", 0.0, 2.0))
    assert _digest(digests, tmp_path / "b.png", 0, 1) == _digest(digests, tmp_path / "b.png", 0.0, 1.0)
    assert _digest(digests, (tmp_path / "b.png").read_bytes()) == _digest(digests, (tmp_path / "b.png").read_bytes())


def test_a_file_is_read_once_until_it_is_touched(
    tiny: Any, picture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    digests = ItemDigests(tiny.compiler.modalities)
    file = tmp_path / "a.png"
    picture.save(file)
    monkeypatch.setattr("polyjanus.core.keeping.items.RACY_NS", -(10**12))
    first = _digest(digests, file)
    reads: list[int] = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *a, **k: (reads.append(1), real(path, *a, **k))[1])
    assert _digest(digests, file) == first and not reads
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    reads.clear()
    times = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as long as before, and no newer
    assert _digest(digests, file) != first and reads


def test_a_medium_in_memory_is_known_by_every_pixel(tiny: Any, picture: Any) -> None:
    digests = ItemDigests(tiny.compiler.modalities)
    same = Image.fromarray(np.asarray(picture).copy())
    other = picture.copy()
    other.putpixel((0, 0), tuple(int(value) ^ 1 for value in other.getpixel((0, 0))))
    assert _digest(digests, picture) == _digest(digests, same) != _digest(digests, other)


def test_headers_that_name_other_files_are_no_whole_items() -> None:
    files_of = EegModality.files_of
    modality: Any = object()
    assert files_of(modality, Path("x.vhdr")) is None and files_of(modality, Path("x.set")) is None
    assert files_of(modality, Path("x.EDF")) == (Path("x.EDF"),)
    assert Kept(torch.zeros(1)).grid is None
