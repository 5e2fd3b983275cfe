"""Folders as they come: shards, `.bin` files, configs with holes, and the parts of them that are read."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from polyjanus.core.checkpoints.opening import open_checkpoint
from polyjanus.core.checkpoints.stored import StoredWeights
from polyjanus.core.errors import CheckpointError, UsageError, WiringError
from polyjanus.core.pipeline import Pipeline


@pytest.fixture
def folder(small_pipeline: Any, tmp_path: Path) -> Path:
    """Return a folder in DeepSeek's layout that a test may spoil."""
    from polyjanus.core.checkpoints.formats import open_format

    target = tmp_path / "janus"
    target.mkdir()
    settings = small_pipeline.plugins.registries.formats.get("deepseek")(type="deepseek")
    open_format(settings).write(small_pipeline.exported(), target)
    return target


@pytest.fixture
def read(plugins: Any) -> Callable[..., Pipeline]:
    def opened(source: Path, **options: Any) -> Pipeline:
        return Pipeline.from_pretrained(source, plugins=plugins, device="cpu", **options)

    return opened


def change(folder: Path, name: str, function: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    function(content)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def state(pipeline: Pipeline) -> dict[str, Any]:
    return pipeline.model.state_dict()


def as_shards(folder: Path, suffix: str) -> None:
    """Split the weights into two files with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"{stem}-0000{number}-of-00002.{suffix}"
        group = {name: tensors[name].clone() for name in part}
        if suffix == "safetensors":
            save_file(group, folder / file)
        else:
            torch.save(group, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_read(folder: Path, read: Any, small_pipeline: Any, suffix: str) -> None:
    as_shards(folder, suffix)
    found = state(read(folder))
    assert all(torch.equal(value, found[name]) for name, value in state(small_pipeline).items())


def test_one_bin_file_is_read(folder: Path, read: Any, small_pipeline: Any) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    found = state(read(folder))
    assert all(torch.equal(value, found[name]) for name, value in state(small_pipeline).items())


def test_a_bin_file_with_more_than_tensors_is_refused(folder: Path, read: Any, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "run"),)

    (folder / "model.safetensors").unlink()
    torch.save({"gen_embed.weight": Trap()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin cannot be read"):
        read(folder)
    assert not (tmp_path / "run").exists()


def test_a_missing_shard_is_named(folder: Path, read: Any) -> None:
    as_shards(folder, "safetensors")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00002.safetensors is missing"):
        read(folder)


def test_an_index_may_not_lead_out_of_the_folder(folder: Path) -> None:
    index = {"weight_map": {"gen_embed.weight": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(CheckpointError, match="outside the folder"):
        StoredWeights(folder)


def test_tensors_that_are_missing_or_unknown_are_named(folder: Path, read: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    lost = tensors.pop("gen_aligner.layers.2.bias")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"image\.generate\.adaptor\.layers\.2\.bias"):
        read(folder)
    save_file({**tensors, "gen_aligner.layers.4.bias": lost}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"gen_aligner\.layers\.4\.bias"):
        read(folder)


def test_what_the_config_leaves_out_is_told_by_shapes_and_defaults(folder: Path, read: Any) -> None:
    # Janus-Pro-7B's says five things about its language model
    def spare(config: dict[str, Any]) -> None:
        known = config["language_config"]
        config["language_config"] = {key: known[key] for key in ("num_attention_heads", "num_key_value_heads")}
        del config["aligner_config"], config["gen_aligner_config"], config["gen_head_config"]

    change(folder, "config.json", spare)
    for name in ("processor_config.json", "preprocessor_config.json"):
        (folder / name).unlink()
    architecture = read(folder).config.backbone.architecture
    assert (architecture["hidden_size"], architecture["num_hidden_layers"]) == (32, 2)
    assert architecture["tie_word_embeddings"] is False


def test_a_flash_attention_setting_of_the_config_is_left_aside(folder: Path, read: Any) -> None:
    change(
        folder, "config.json", lambda config: config["language_config"].update(_attn_implementation="flash_attention_2")
    )
    assert read(folder).run("hello", max_tokens=2) is not None


def test_a_tower_that_normalises_by_itself_is_not_normalised_twice(folder: Path, read: Any) -> None:
    own = {"pixel_mean": [0.4, 0.5, 0.6], "pixel_std": [0.2, 0.2, 0.2]}
    change(folder, "config.json", lambda config: config["vision_config"]["params"].update(own))
    encoder = read(folder).config.modalities["image"].understand.encoder
    assert (list(encoder.mean), list(encoder.std)) == (own["pixel_mean"], own["pixel_std"])


def test_an_unknown_tower_is_refused(folder: Path, read: Any) -> None:
    def rename(config: dict[str, Any]) -> None:
        config["vision_config"]["params"] = {"model_name": "convnext_xxl"}

    change(folder, "config.json", rename)
    with pytest.raises(CheckpointError, match="'convnext_xxl'; known are siglip_large"):
        read(folder)


def test_drawing_reads_neither_the_encoder_nor_the_text_head(
    folder: Path, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    getitem = StoredWeights.__getitem__
    monkeypatch.setattr(StoredWeights, "__getitem__", lambda self, name: (asked.append(name), getitem(self, name))[1])
    pipeline = read(folder, inputs=[], outputs=["image"])
    assert asked
    assert not [name for name in asked if name.startswith(("vision_model.", "aligner.", "language_model.lm_head"))]
    assert (
        pipeline.run("hello", ["image"], seed=1).image.tobytes()
        == read(folder).run("hello", ["image"], seed=1).image.tobytes()
    )
    with pytest.raises(UsageError, match="parts that write 'text' were not read"):
        pipeline.run("hello")
    with pytest.raises(UsageError, match="read in part"):
        pipeline.save(folder.parent / "saved")


def test_answering_reads_no_codec_and_marks_pictures_all_the_same(
    folder: Path, read: Any, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    getitem = StoredWeights.__getitem__
    monkeypatch.setattr(StoredWeights, "__getitem__", lambda self, name: (asked.append(name), getitem(self, name))[1])
    pipeline = read(folder, inputs=["image"], outputs=["text"])
    assert asked
    assert not [name for name in asked if name.startswith("gen_")]
    whole, prompt = read(folder), [picture, "what is it?"]
    assert pipeline.compile(prompt).ids == whole.compile(prompt).ids
    assert pipeline.run(prompt, max_tokens=5).text == whole.run(prompt, max_tokens=5).text
    with pytest.raises(UsageError, match="parts that write 'image' were not read"):
        pipeline.run("hello", ["image"])


def test_our_own_checkpoints_are_read_in_part_too(make_tiny: Any, read: Any, tmp_path: Path) -> None:
    saved = make_tiny().save(tmp_path / "tiny")
    shutil.rmtree(saved / "components" / "nothing", ignore_errors=True)
    pipeline = read(saved, inputs=[], outputs=["image"])
    assert not pipeline.model.has("image.understand.encoder")
    drawn = read(saved).run("hello", ["image"], seed=3).image
    assert pipeline.run("hello", ["image"], seed=3).image.tobytes() == drawn.tobytes()


BORROWER = """
polyjanus: 1
backbone: {{type: causal_lm, architecture: {{model_type: llama, hidden_size: 16, intermediate_size: 32,
            num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: 256}}}}
text: {{tokenizer: bytes}}
modalities:
  image:
    understand: {{encoder: {{type: siglip, pretrained: "{source}:image.understand.encoder", resize: stretch}}}}
    generate: {{codec: {{type: vq16, pretrained: "{source}:image.generate.codec"}}, embedding: {{width: 4}}}}
"""


@pytest.mark.parametrize("layout", ["deepseek", "transformers", "polyjanus"])
def test_one_component_is_taken_out_of_a_checkpoint_of_any_layout(
    folder: Path, small_folder: Path, small_pipeline: Any, plugins: Any, tmp_path: Path, layout: str
) -> None:
    sources = {"deepseek": folder, "transformers": small_folder, "polyjanus": tmp_path / "ours"}
    if layout == "polyjanus":
        small_pipeline.save(sources[layout])
    yaml = tmp_path / "borrower.yaml"
    yaml.write_text(BORROWER.format(source=sources[layout]), encoding="utf-8")
    borrower = Pipeline.from_yaml(yaml, plugins=plugins, device="cpu")
    lender, found = state(small_pipeline), state(borrower)
    for prefix in ("image.generate.codec.", "image.understand.encoder."):
        names = [name for name in lender if name.startswith(prefix)]
        assert names and all(torch.equal(lender[name], found[name]) for name in names)
    encoder = borrower.parts.resolved["image.understand.encoder"]
    assert encoder.resize == "stretch"  # the borrower's own word goes first
    assert encoder.initialised_from.endswith(":image.understand.encoder")
    again = Pipeline.from_pretrained(borrower.save(tmp_path / "saved"), plugins=plugins, device="cpu")
    assert torch.equal(
        state(again)["image.generate.codec.quant_conv.weight"], found["image.generate.codec.quant_conv.weight"]
    )


def test_a_backbone_is_lent_with_its_text_and_its_tokenizer(folder: Path, small_pipeline: Any, plugins: Any) -> None:
    yaml = folder.parent / "text.yaml"
    yaml.write_text(f'polyjanus: 1\nbackbone: {{type: causal_lm, pretrained: "{folder}:backbone"}}\n', encoding="utf-8")
    borrower = Pipeline.from_yaml(yaml, plugins=plugins, device="cpu")
    assert borrower.tokenizer.id_of("<begin_of_image>") == 4
    found = state(borrower)
    assert found and all(torch.equal(value, state(small_pipeline)[name]) for name, value in found.items())


@pytest.mark.parametrize(
    ("lent", "said"),
    [
        ("image.generate.coder", "no component 'image.generate.coder'; did you mean 'image.generate.codec'"),
        ("image.understand.encoder", "is the encoder 'siglip', this block wants the codec 'vq16'"),
    ],
)
def test_what_cannot_be_lent_is_told(folder: Path, plugins: Any, lent: str, said: str) -> None:
    yaml = folder.parent / "wrong.yaml"
    text = BORROWER.format(source=folder).replace("image.generate.codec", lent)
    yaml.write_text(text, encoding="utf-8")
    with pytest.raises(WiringError) as caught:
        Pipeline.from_yaml(yaml, plugins=plugins, device="cpu")
    assert said in str(caught.value)
    assert caught.value.paths == ("image.generate.codec",)


def test_a_folder_that_nobody_wrote_is_refused(plugins: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a checkpoint nor a run"):
        open_checkpoint(tmp_path, plugins.registries)


STARTED = """
polyjanus: 1
pretrained: "{source}"
backbone: {{type: causal_lm, architecture: {{model_type: llama, hidden_size: 32, intermediate_size: 48,
            num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 512,
            vocab_size: {rows}}}}}
modalities:
  image:
    understand:
      encoder: {{type: siglip, architecture: {{model_type: siglip_vision_model, image_size: 16, patch_size: 8,
                 hidden_size: 24, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2}}}}
    generate: {{codec: {{type: vq16, pretrained: "{source}:image.generate.codec"}}, embedding: {{width: 6}}}}
"""


def test_a_whole_pipeline_starts_from_a_checkpoint(folder: Path, small_pipeline: Any, plugins: Any) -> None:
    yaml = folder.parent / "started.yaml"
    text = STARTED.format(source=folder, rows=320).replace(
        "image_size: 16, patch_size: 8", "image_size: 16, patch_size: 4"
    )
    text = text.replace(
        "intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2",
        "intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 3, hidden_act: gelu",
    )
    yaml.write_text(text, encoding="utf-8")
    started = Pipeline.from_yaml(yaml, plugins=plugins, device="cpu")
    found = state(started)
    assert all(torch.equal(value, found[name]) for name, value in state(small_pipeline).items())
    assert started.compile("hello").ids == small_pipeline.compile("hello").ids
    again = Pipeline.from_pretrained(started.save(folder.parent / "saved"), plugins=plugins, device="cpu")
    assert again.config.pretrained is None
    assert again.config.initialised_from == str(folder)
    assert again.compile("hello").ids == started.compile("hello").ids


def test_a_start_that_does_not_fit_is_told(folder: Path, plugins: Any) -> None:
    yaml = folder.parent / "started.yaml"
    yaml.write_text(STARTED.format(source=folder, rows=400), encoding="utf-8")
    with pytest.raises(CheckpointError, match="has shape"):
        Pipeline.from_yaml(yaml, plugins=plugins, device="cpu")
