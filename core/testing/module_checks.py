"""Checks of what is a torch module, and of the whole pipeline around any component."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from polyjanus.core.importing import ImportsKeepValues
from polyjanus.core.modality import Modality
from polyjanus.core.modules import to_list
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.testing.bench import NAME, PATHS, Subject
from polyjanus.core.testing.contract import check, expect, place

MODULES = ("encoder", "codec", "adaptor", "head")
PARTS = (*MODULES, "layout", "sampler")
UNSET = 12345
"""What memory that was never written to is filled with: numbers that no component computes."""


@check(*PARTS)
def builds(subject: Subject) -> None:
    """The settings build the component, and a small pipeline around it."""
    expect(subject.component is not None, "a component", "None", place(subject.entry.settings, "build"))


@check("modality")
def modality_builds(subject: Subject) -> None:
    """The settings build the modality."""
    is_one = isinstance(cast(object, subject.modality), Modality)
    expect(is_one, "a Modality", type(subject.modality).__name__, place(subject.entry.settings, "build"))


@check(*MODULES)
def tensors_are_parameters_or_buffers(subject: Subject) -> None:
    """No tensor is a plain attribute: it would stay behind when the module moves or loads."""
    component: nn.Module = subject.component
    own = {id(entry) for entry in component.parameters()}  # which torch's LSTM lists once more
    for name, module in cast(Any, component).named_modules():
        for attribute, value in vars(cast(object, module)).items():
            if attribute in {"_parameters", "_buffers", "_modules"}:
                continue
            several: Any = list(cast("dict[Any, Any]", value).values()) if isinstance(value, dict) else value
            held = cast("list[Any]", several if isinstance(several, list | tuple) else [several])
            is_plain = any(isinstance(entry, Tensor) and id(entry) not in own for entry in held)
            words = f"a plain attribute {'.'.join(filter(None, (name, attribute)))!r}"
            expect(not is_plain, "register_buffer for every tensor", words, place(module, "__init__"))


@check(*PARTS)
def built_twice_is_equal(subject: Subject) -> None:
    """Built twice from one seed, the weights are equal."""
    again = subject.bench.build(subject.kind, subject.name)
    mine, theirs = subject.pipeline.model.state_dict(), again.model.state_dict()
    where = place(subject.component, "__init__")
    expect(mine.keys() == theirs.keys(), "tensors of the same names", sorted(mine.keys() ^ theirs.keys()), where)
    differ = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    expect(not differ, "equal weights from one seed", f"{differ[:3]} differ", where)


@check(*MODULES)
def builds_without_memory(subject: Subject) -> None:
    """Built on the meta device it declares the same, so that a pipeline is checked before weights load."""
    context = subject.pipeline.parts.contexts[PATHS[subject.kind]]
    settings = subject.pipeline.parts.resolved[PATHS[subject.kind]]
    with torch.device("meta"), ImportsKeepValues():
        built = settings.build(context)
    where = place(subject.component, "__init__")
    for name in ("width", "cardinality", "num_codebooks", "max_codes", "min_codes"):
        mine, theirs = getattr(subject.component, name, None), getattr(built, name, None)
        expect(mine == theirs, f"{name} = {mine} on the meta device too", theirs, where)
    mine, theirs = dict(subject.component.named_parameters()), dict(built.named_parameters())
    expect(mine.keys() == theirs.keys(), "the same parameters on the meta device", sorted(theirs), where)


@check(*MODULES)
def buffers_come_back(subject: Subject) -> None:
    """Filled from a checkpoint after it was built without memory, every buffer is as it was built.

    transformers builds so: `reset_parameters` must compute again what the checkpoint does not hold.
    """
    component = subject.component
    context = subject.pipeline.parts.contexts[PATHS[subject.kind]]
    with torch.device("meta"), ImportsKeepValues():
        built: nn.Module = subject.pipeline.parts.resolved[PATHS[subject.kind]].build(context)
    built.to_empty(device="cpu")
    with torch.no_grad():
        for value in [*built.parameters(), *built.buffers()]:
            value.fill_(UNSET if value.dtype != torch.bool else 1)
        with cast(Any, torch.random).fork_rng(devices=[]):
            built.apply(_reset)
    built.load_state_dict(component.state_dict())
    for name, value in component.named_buffers():
        found = dict(built.named_buffers())[name]
        owner = built.get_submodule(name.rpartition(".")[0])
        expected = f"the buffer {name!r} to be saved, or computed again by reset_parameters"
        words = f"{to_list(found.flatten()[:3])} in place of {to_list(value.flatten()[:3])}"
        expect(torch.equal(found, value), expected, words, place(owner, "reset_parameters"))


def _reset(module: nn.Module) -> None:
    """Do what transformers' loading has a model do with each module."""
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()


@check(*MODULES)
def saved_weights_come_back(subject: Subject) -> None:
    """Saved and loaded, all tensors and all outputs are equal to the bit."""
    pipeline = subject.bench.build(subject.kind, subject.name)
    where = place(subject.component, "__init__")
    _stir(pipeline.model.eval())
    with tempfile.TemporaryDirectory() as folder:
        pipeline.save(Path(folder) / "saved")
        loaded = Pipeline.from_pretrained(Path(folder) / "saved", plugins=subject.bench.plugins, device="cpu")
        before, after = _tensors(pipeline.model), _tensors(loaded.model)
        expect(before.keys() == after.keys(), "the same tensors", sorted(before.keys() ^ after.keys())[:3], where)
        for name, value in before.items():
            expect(torch.equal(after[name], value), f"{name} to come back", "other values", where)
        for mine, theirs in zip(_outputs(subject, pipeline), _outputs(subject, loaded), strict=True):
            expect(torch.equal(mine, theirs), f"outputs of {float(mine):.6g}", f"{float(theirs):.6g}", where)


def _stir(model: nn.Module) -> None:
    """Give everything that is saved values that no initialisation would draw."""
    generator = torch.Generator().manual_seed(7)
    kept = model.state_dict()
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name in kept and value.is_floating_point():
                value.add_(torch.rand(value.shape, generator=generator) * 0.1)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: value.detach().clone() for name, value in named}


def _outputs(subject: Subject, pipeline: Any) -> list[Tensor]:
    part = subject.part()
    reads, writes = pipeline.config.modalities[NAME].understand, NAME in pipeline.outputs
    asked: list[Any] = [part, "b"] if reads else ["b"]
    rows = [[{"role": "user", "content": asked}, {"role": "assistant", "content": [*[part] * writes, "c"]}]]
    with torch.no_grad():
        output = pipeline.model(**pipeline.collate(rows))
    return [output.loss, *(total for total, _ in output.sums.values())]


@check(*PARTS)
def pipeline_reads_learns_and_writes(subject: Subject) -> None:
    """A pipeline around the component learns from rows with and without items, and replies the same each time."""
    pipeline, part = subject.pipeline, subject.part()
    is_read = pipeline.config.modalities[NAME].understand is not None
    is_written = NAME in pipeline.outputs
    where = place(subject.component)
    asked: list[Any] = [part, part] if is_read else ["two"]
    rows: list[Any] = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": ["a", *[part] * is_written]}],
        [{"role": "user", "content": "no item"}, {"role": "assistant", "content": "b"}],
    ]
    for chosen in (rows, rows[:1], rows[1:]):
        loss = pipeline.model(**pipeline.collate(chosen)).loss
        expect(bool(loss.isfinite()), "a finite loss", float(loss.detach()), where)
    prompt = [*asked[:1], NAME]
    if not is_written:
        first, again = (pipeline.run(prompt, seed=1, max_tokens=2).text for _ in range(2))
        expect(first == again, f"the reply {first!r} again", repr(again), where)
        return
    first, again = (pipeline.run(prompt, [NAME], seed=1).media(NAME) for _ in range(2))
    expect(len(first) == 1, "one item in the reply", len(first), where)
    modality = subject.modality
    is_same = modality.preview(first[0]) == modality.preview(again[0])
    expect(is_same, "the same item from the same seed", "another", where)
