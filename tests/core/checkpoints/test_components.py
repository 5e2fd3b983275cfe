"""Every registered component comes back bit by bit through transformers; what loading refuses and reports."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from polyjanus.core.checkpoints.components import INDEX, component_of, load_components
from polyjanus.core.errors import CheckpointError
from polyjanus.core.model.unified import UnifiedModel
from polyjanus.core.pipeline import Pipeline


def _stir(model: Any) -> None:
    """Give every tensor values that no initialisation would draw."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for value in [*model.parameters(), *model.buffers()]:
            if value.is_floating_point():
                value.add_(torch.rand(value.shape, generator=generator) * 0.1)


def _tensors(model: Any) -> dict[str, torch.Tensor]:
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: value.detach().clone() for name, value in named}


def _persistent(model: Any) -> set[str]:
    return set(model.state_dict())


def _outputs(pipeline: Pipeline, model: UnifiedModel) -> list[torch.Tensor]:
    name = next(iter(pipeline.compiler.modalities))
    part = {"type": name, pipeline.compiler.modalities[name].keys[0]: pipeline.compiler.modalities[name].example()}
    answer = [part, "c"] if name in pipeline.outputs else ["c"]
    rows = [[{"role": "user", "content": [part, "b"]}, {"role": "assistant", "content": answer}]]
    with torch.no_grad():
        output = model(**pipeline.collate(rows))
    return [output.loss, *(total for total, _ in output.sums.values())]


def _stir_parameters_and_statistics(model: Any) -> None:
    """Stir what is saved; buffers that are derived from settings must come back as they are built."""
    kept = _persistent(model)
    derived = {name: value.clone() for name, value in model.named_buffers() if name not in kept}
    _stir(model)
    for name, value in model.named_buffers():
        if name in derived:
            value.copy_(derived[name])


def test_every_component_comes_back_bit_by_bit_through_transformers(
    pipeline_with: Any, tmp_path: Path, component: tuple[str, str]
) -> None:
    """Through polyjanus it does by the contract `saved_weights_come_back`."""
    pipeline = pipeline_with(*component)
    model = pipeline.model.eval()
    _stir_parameters_and_statistics(model)
    pipeline.save(tmp_path / "saved")
    loaded = UnifiedModel.from_pretrained(tmp_path / "saved").eval()
    before, after = _tensors(model), _tensors(loaded)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert after[name].dtype == value.dtype and after[name].device == value.device, name
        assert torch.equal(after[name], value), name
    for mine, theirs in zip(_outputs(pipeline, model), _outputs(pipeline, loaded), strict=True):
        assert torch.equal(mine, theirs)


TIED = "{model_type: qwen3, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 4,"
TIED += " num_key_value_heads: 2, head_dim: 8, tie_word_embeddings: true, max_position_embeddings: 128}"


@pytest.mark.parametrize("loader", ["polyjanus", "transformers"])
@pytest.mark.parametrize("architecture", [TIED, TIED.replace("true", "false"), TIED.replace("qwen3", "gemma3_text")])
def test_every_backbone_comes_back_tied_as_it_was(
    make_tiny: Any, plugins: Any, tmp_path: Path, loader: str, architecture: str
) -> None:
    pipeline = make_tiny(f"backbone.architecture={architecture}")
    _stir_parameters_and_statistics(pipeline.model)
    pipeline.save(tmp_path / "saved")
    if loader == "polyjanus":
        loaded = Pipeline.from_pretrained(tmp_path / "saved", plugins=plugins, device="cpu").model
    else:
        loaded = UnifiedModel.from_pretrained(tmp_path / "saved").eval()
    is_tied = "true" in architecture
    assert (loaded.part("text.embedding").weight is loaded.part("text.head").weight) == is_tied
    for (name, mine), theirs in zip(_tensors(pipeline.model).items(), _tensors(loaded).values(), strict=True):
        assert torch.equal(mine, theirs), name
    for mine, theirs in zip(_outputs(pipeline, pipeline.model), _outputs(pipeline, loaded), strict=True):
        assert torch.equal(mine, theirs)


def test_each_component_has_a_file_and_the_index_names_it(tiny: Any, tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "saved")
    index = json.loads((folder / INDEX).read_text())["weight_map"]
    paths = [path for path in tiny.config.component_paths() if list(tiny.model.part(path).parameters())]
    assert {file.stem for file in (folder / "components").iterdir()} == set(paths)
    for name, file in index.items():
        assert file == f"components/{component_of(name, paths)}.safetensors"
    assert set(index) == set(tiny.model.state_dict())


def test_a_shared_codec_is_saved_and_counted_once(pipeline_with: Any, tmp_path: Path) -> None:
    pipeline = pipeline_with("encoder", "codec_features")
    assert pipeline.model.part("x.understand.encoder").codec is pipeline.model.part("x.generate.codec")
    folder = pipeline.save(tmp_path / "saved")
    names = [file.stem for file in (folder / "components").iterdir()]
    assert "x.generate.codec" in names and "x.understand.encoder" not in names
    codec = sum(p.numel() for p in pipeline.model.part("x.generate.codec").parameters())
    named = sum(p.numel() for n, p in pipeline.model.named_parameters() if "codec" in n or "encoder" in n)
    assert named == codec
    loaded = Pipeline.from_pretrained(folder, device="cpu")
    assert loaded.model.part("x.understand.encoder").codec is loaded.model.part("x.generate.codec")


def test_half_precision_on_disk_is_single_in_memory(tiny: Any, plugins: Any, tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "saved", dtype=torch.float16)
    with safe_open(folder / "components" / "backbone.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    loaded = Pipeline.from_pretrained(folder, plugins=plugins, device="cpu").model
    for name, value in loaded.state_dict().items():
        mine = tiny.model.state_dict()[name]
        assert value.dtype == mine.dtype
        assert torch.equal(value, mine.half().float() if mine.is_floating_point() else mine)


def test_another_shape_is_named_with_both(tiny: Any, make_tiny: Any, tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "saved")
    other = make_tiny("modalities.image.generate.codec.levels=[4, 5]")
    with pytest.raises(CheckpointError, match=r"has shape \(16, 8\), this pipeline needs \(20, 8\)"):
        load_components(other.model, folder)


def test_what_is_missing_and_what_is_not_wanted_is_reported(tiny: Any, make_tiny: Any, tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "saved")
    deeper = make_tiny("modalities.image.understand.adaptor={type: mlp, depth: 3}")
    report = load_components(deeper.model, folder)
    assert report.fresh == [f"image.understand.adaptor.layers.4.{part}" for part in ("bias", "weight")]
    assert report.unexpected == []
    shallow = make_tiny("modalities.image.understand.adaptor={type: mlp, depth: 1}")
    assert len(load_components(shallow.model, folder).unexpected) == 2
    assert "re-initialised" in str(report)


def test_one_component_can_be_taken_under_another_name(tiny: Any, make_tiny: Any, tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "saved")
    other = make_tiny(
        "training={seed: 5, stages: [{name: a, train: [text], mix: {captions: 1}, steps: 1, batch: 1, lr: 1}]}"
    )
    before = {name: value.clone() for name, value in other.model.state_dict().items()}
    report = load_components(other.model, folder, {"image.generate.adaptor": "image.generate.adaptor"})
    after, theirs = other.model.state_dict(), tiny.model.state_dict()
    for name in after:
        source = theirs if name.startswith("image.generate.adaptor") else before
        assert torch.equal(after[name], source[name])
    assert len(report.reused) == 4 and not report.fresh and not report.unexpected


def test_derived_buffers_and_drawn_weights_of_a_plugin_survive_transformers(
    make_tiny: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """The traps of transformers' loading: re-drawn weights, derived buffers as garbage, tensors left on meta."""
    encoder = type(make_tiny().model.part("image.understand.encoder"))
    original = encoder.__init__

    def with_buffer(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        self.gain = torch.nn.Parameter(torch.empty(3))
        self.register_buffer("angles", torch.arange(5.0), persistent=False)

    def reset(self: Any) -> None:
        self.gain.data.fill_(1.0)
        self.angles.copy_(torch.arange(5.0))

    monkeypatch.setattr(encoder, "__init__", with_buffer)
    monkeypatch.setattr(encoder, "reset_parameters", reset)
    pipeline = make_tiny()
    with torch.no_grad():
        pipeline.model.part("image.understand.encoder").gain.copy_(torch.tensor([5.0, 6.0, 7.0]))
    loaded = UnifiedModel.from_pretrained(pipeline.save(tmp_path / "saved")).part("image.understand.encoder")
    assert loaded.gain.tolist() == [5, 6, 7]
    assert loaded.angles.tolist() == [0, 1, 2, 3, 4]


def test_angles_of_positions_stay_exact_in_bfloat16(make_tiny: Any) -> None:
    pipeline = make_tiny()
    before = {name: value.clone() for name, value in pipeline.model.named_buffers() if "inv_freq" in name}
    pipeline.to("cpu", "bfloat16")
    assert next(pipeline.model.parameters()).dtype == torch.bfloat16
    after = dict(pipeline.model.named_buffers())
    assert before and all(torch.equal(after[name], value) for name, value in before.items())
    assert not any("inv_freq" in name for name in pipeline.model.state_dict())
