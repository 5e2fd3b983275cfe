"""Low-rank updates: they alone are trained, have a file of their own, and are merged by whoever reads them."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open

from polyjanus.core.checkpoints.atomic import verify
from polyjanus.core.checkpoints.components import is_low_rank, unique_state
from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest
from polyjanus.core.config.reading import read_pipeline
from polyjanus.core.errors import ConfigError, WiringError
from polyjanus.core.model.wiring import check_wiring
from polyjanus.core.pipeline import Pipeline

STAGES = """training.stages=[{name: s, train: [backbone, image.generate.adaptor], mix: {words: 1, captions: 1},
  steps: 4, batch: 2, lr: 1e-2}]"""
LORA = "training.lora={backbone: {rank: 4, alpha: 8, modules: [q_proj, v_proj]}}"
LAYERS = ("q_proj", "v_proj")


def _state(training: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in unique_state(training.model).items()}


@pytest.fixture
def trained(runs: Any) -> Any:
    training = runs.training("x", LORA, STAGES)
    runs.before = _state(training)
    training.run()
    runs.after, runs.trained = _state(training), training
    return runs


def _checkpoint(runs: Any, name: str = "x") -> Path:
    found = newest(runs.home / name / CHECKPOINTS)
    assert found is not None
    return found


def test_of_a_component_with_updates_these_alone_move(trained: Any) -> None:
    moved = {name for name, value in trained.after.items() if not torch.equal(value, trained.before[name])}
    in_backbone = {name for name in moved if name.startswith("backbone.")}
    assert in_backbone and all(is_low_rank(name) for name in in_backbone)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in in_backbone} == set(LAYERS)
    assert moved - in_backbone == {name for name in moved if name.startswith("image.generate.adaptor.")} != set()


def test_fresh_updates_change_nothing(runs: Any) -> None:
    """So a run with updates begins with the loss of one without."""
    losses = []
    for name, override in (("with", [LORA]), ("without", [])):
        runs.training(name, *override, STAGES).run()
        losses.append([record["loss"] for record in runs.log(name) if "loss" in record])
    assert losses[0][0] == losses[1][0] and losses[0][1:] != losses[1][1:]


def test_updates_have_a_file_of_their_own_and_the_matrices_stay_what_they_were(trained: Any) -> None:
    folder = _checkpoint(trained)
    verify(folder)
    with safe_open(folder / "components" / "backbone.lora.safetensors", framework="pt") as file:
        assert all(is_low_rank(name) for name in file.keys())  # noqa: SIM118
    with safe_open(folder / "components" / "backbone.safetensors", framework="pt") as file:
        assert not any(is_low_rank(name) for name in file.keys())  # noqa: SIM118
        assert all(torch.equal(file.get_tensor(name), trained.before[name]) for name in file.keys())  # noqa: SIM118


def test_an_opened_checkpoint_is_merged_and_answers_like_the_model_that_was_trained(trained: Any) -> None:
    merged = Pipeline.from_pretrained(_checkpoint(trained), plugins=trained.plugins, device="cpu")
    assert not any(is_low_rank(name) for name in merged.model.state_dict())
    assert merged.config.training is not None and not merged.config.training.lora
    batch = merged.collate([[{"role": "user", "content": "word"}, {"role": "assistant", "content": "and more"}]])
    trained.trained.model.eval()
    with torch.no_grad():
        mine, theirs = merged.model(**batch).loss, trained.trained.model(**batch).loss
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    again = merged.save(trained.home / "plain")
    assert not (again / "components" / "backbone.lora.safetensors").exists()
    state = trained.trained.pipeline.exported().tensors
    assert all(torch.allclose(value, merged.model.state_dict()[name], atol=1e-6) for name, value in state.items())


def test_transformers_loads_the_checkpoint_with_its_updates(trained: Any) -> None:
    loaded = transformers.AutoModel.from_pretrained(_checkpoint(trained))
    state = unique_state(loaded)
    assert all(torch.equal(state[name], value) for name, value in trained.after.items())


def test_one_component_of_it_may_be_borrowed_merged(trained: Any) -> None:
    source = f"training.init_from={{backbone: {_checkpoint(trained)}}}"
    other = trained.training("y", STAGES, source)
    merged = Pipeline.from_pretrained(_checkpoint(trained), plugins=trained.plugins, device="cpu").model.state_dict()
    mine = {name: value for name, value in _state(other).items() if name.startswith("backbone.")}
    assert all(torch.equal(value, merged[name]) for name, value in mine.items())


def test_a_resumed_run_is_equal_to_one_that_never_stopped(trained: Any, quiet: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained.training("y", LORA, STAGES, display=quiet({2: lambda: signal.raise_signal(signal.SIGINT)})).run()
    again = trained.training("y", LORA, STAGES, resume=True)
    again.run()
    assert trained.log("y") == trained.log("x")
    assert all(torch.equal(value, trained.after[name]) for name, value in _state(again).items())


@pytest.mark.parametrize(
    ("lora", "told"),
    [
        ("{backbon: {}}", "'backbon' selects no component.*backbone"),
        ("{backbone: {modules: [query]}}", "query match no linear layer of backbone"),
        ("{image.generate.embedding: {}}", "match no linear layer"),
        ("{image.generate.head: {}}", "image.generate.head has low-rank updates, but no stage trains it"),
    ],
)
def test_updates_that_would_do_nothing_are_refused_by_name(runs: Any, lora: str, told: str) -> None:
    runs.file.write_text(runs.yaml, encoding="utf-8")
    with pytest.raises((ConfigError, WiringError), match=told):
        loaded = read_pipeline(runs.file, runs.plugins.registries, [STAGES, f"training.lora={lora}"])
        (fault,) = check_wiring(loaded, runs.plugins.registries).faults
        raise fault


def test_memory_counts_the_updates_and_not_the_matrices(runs: Any) -> None:
    runs.file.write_text(runs.yaml, encoding="utf-8")
    registries = runs.plugins.registries
    whole = check_wiring(read_pipeline(runs.file, registries, [STAGES]), registries).stages()[0]
    loaded = read_pipeline(runs.file, registries, [STAGES, LORA])
    small = check_wiring(loaded, registries).stages()[0]
    training = runs.training("x", LORA, STAGES)
    updates = sum(value.numel() for name, value in unique_state(training.model).items() if is_low_rank(name))
    adaptor = sum(value.numel() for value in training.model.part("image.generate.adaptor").parameters())
    assert small.parameters == updates + adaptor < whole.parameters
    assert small.weights == whole.weights + updates * 4
