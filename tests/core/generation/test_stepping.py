"""The step as one function: fixed shapes, nothing asked of the host, nothing compiled or captured twice."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from polyjanus.core.errors import UsageError
from polyjanus.core.generation import stepping
from polyjanus.core.generation.choosing import Request
from polyjanus.core.generation.events import MediaReady, TextDelta
from polyjanus.core.generation.stepping import captured, way_of
from polyjanus.core.pipeline import Pipeline

CPU = torch.device("cpu")
WAITS = {"_local_scalar_dense", "nonzero", "item", "equal", "is_nonzero"}
"""Operations whose result, or its shape, the host has to wait for."""


def _written(pipeline: Any, prompts: list[str], request: Request, step: str = "plain") -> list[list[Any]]:
    pipeline.engine.step = step
    replies: list[list[Any]] = [[] for _ in prompts]
    for event in pipeline.engine.generate([pipeline.compile(prompt) for prompt in prompts], request):
        if isinstance(event, TextDelta):
            replies[event.row].append(event.text)
        elif isinstance(event, MediaReady):
            replies[event.row].append(np.asarray(event.media).tolist())
    return replies


def _loud(pipeline: Any) -> Any:
    with torch.no_grad():
        pipeline.model.part("image.generate.head").output.weight.mul_(20)
        pipeline.model.part("text.head").weight.mul_(10)
    return pipeline


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The graphs that were compiled, by a compiler that leaves them as they are."""
    made: list[Any] = []

    def keep(graph: Any, inputs: list[Any]) -> Callable[..., Any]:
        made.append(graph)
        return graph.forward

    monkeypatch.setattr(stepping, "BACKEND", keep)
    torch._dynamo.reset()
    yield made
    torch._dynamo.reset()


def test_a_second_item_compiles_nothing(make_tiny: Any, graphs: list[Any]) -> None:
    pipeline = _loud(make_tiny())
    expected = [_written(pipeline, ["a", "bcd"], Request(("image",), seed=seed)) for seed in (1, 2, 3)]
    assert expected[0] != expected[1]
    written = [_written(pipeline, ["a", "bcd"], Request(("image",), seed=seed), "compiled") for seed in (1, 2, 3)]
    assert written == expected
    assert len(graphs) == 1


def test_a_new_bucket_is_compiled_once(make_tiny: Any, graphs: list[Any]) -> None:
    pipeline = _loud(make_tiny("modalities.image.generate.codec.size=48"))
    prompt = "x" * (256 - len(pipeline.compile("")) - 20)
    for seed in (1, 2):
        request = Request(("image",), seed=seed)
        expected = _written(pipeline, [prompt], request)
        assert _written(pipeline, [prompt], request, "compiled") == expected
        assert len(graphs) == 2


def test_what_a_step_depends_on_compiles_another(make_tiny: Any, graphs: list[Any]) -> None:
    pipeline = _loud(make_tiny())
    for count, (prompts, output, scale) in enumerate(
        [(["a"], "image", 3.0), (["a"], "image", 1.0), (["a", "b"], "image", 3.0), (["a"], "text", 1.0)], start=1
    ):
        sampler = type(pipeline.model.samplers["image"])(1.0, 1.0, 0, guidance=scale)
        request = Request((output,), samplers={output: sampler}, max_tokens=6)
        expected = _written(pipeline, prompts, request)
        assert _written(pipeline, prompts, request, "compiled") == expected
        assert len(graphs) == count


@pytest.mark.parametrize("model_type", ["gemma3_text", "mistral", "qwen2", "qwen3"])
def test_steps_of_every_backbone_are_one_graph(make_tiny: Any, graphs: list[Any], model_type: str) -> None:
    architecture = (
        f"{{model_type: {model_type}, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2,"
        " num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 512, sliding_window: 6"
    )
    architecture += "" if model_type == "qwen2" else ", head_dim: 8"
    pipeline = _loud(make_tiny(f"backbone.architecture={architecture}}}"))
    request = Request(("image",), seed=1)
    expected = _written(pipeline, ["abcdefghijkl", "z"], request)
    assert _written(pipeline, ["abcdefghijkl", "z"], request, "compiled") == expected
    assert len(graphs) == 1


class Tape(TorchDispatchMode):
    """A CUDA graph for a CPU: it notes every operation with its tensors, and does them again in place."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.notes.append((function, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for function, args, kwargs, result in self.notes:
            if function.is_view:
                continue
            again = function(*args, **kwargs)
            if not function._schema.is_mutable:
                for mine, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(mine, torch.Tensor):
                        mine.copy_(new)

    def shapes(self) -> list[tuple[str, list[Any]]]:
        return [
            (
                str(function),
                [tuple(leaf.shape) for leaf in tree_leaves((args, result)) if isinstance(leaf, torch.Tensor)],
            )
            for function, args, _, result in self.notes
        ]


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """The tapes that were made; CUDA's names for streams and graphs stand for them."""
    made: list[Tape] = []

    def new() -> Tape:
        made.append(Tape())
        return made[-1]

    class Stream:
        def wait_stream(self, other: Any) -> None:
            assert isinstance(other, Stream)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", new)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: graph)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr("polyjanus.core.generation.engine.way_of", lambda name, device: name)
    return made


@pytest.mark.parametrize("layout", ["grid", "ended"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_a_captured_step_writes_what_a_plain_one_does(
    make_tiny: Any, tapes: list[Tape], layout: str, scale: float
) -> None:
    image = "modalities.image.generate"
    pipeline = _loud(make_tiny(f"{image}.sampler.scale={scale}", f"{image}.layout={{type: {layout}}}"))
    for seed in (1, 2):
        request = Request(("image",), seed=seed)
        expected = _written(pipeline, ["a", "a longer prompt"], request)
        assert _written(pipeline, ["a", "a longer prompt"], request, "captured") == expected
    assert tapes


def test_captured_steps_write_text_and_pictures_interleaved(make_tiny: Any, tapes: list[Tape]) -> None:
    pipeline = _loud(make_tiny())
    noise = torch.randn(32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pipeline.model.part("marks").head.weight[0] = 3 * pipeline.model.part("text.head").weight.abs().mean() * noise
    prompts, kinds = ["a", "a longer prompt", "b"], set[type]()
    for seed in range(4):
        request = Request(("text", "image"), seed=seed, max_tokens=16)
        expected = _written(pipeline, prompts, request)
        assert _written(pipeline, prompts, request, "captured") == expected
        kinds |= {type(part) for reply in expected for part in reply}
    assert kinds == {str, list}
    assert 2 <= len(tapes) <= 4 * 2


def test_a_captured_step_is_kept_until_weights_move(make_tiny: Any, tapes: list[Tape]) -> None:
    pipeline = _loud(make_tiny())
    first, second = (_written(pipeline, ["a"], Request(("image",), seed=seed), "captured") for seed in (1, 2))
    assert len(tapes) == 1
    with torch.no_grad():
        for parameter in pipeline.model.parameters():
            parameter.data = parameter.data.clone()
    assert _written(pipeline, ["a"], Request(("image",), seed=1), "captured") == first
    assert len(tapes) == 2
    pipeline.to("cpu")
    assert pipeline.engine._kept is None
    assert [_written(pipeline, ["a"], Request(("image",), seed=seed)) for seed in (1, 2)] == [first, second]


def test_a_step_asks_nothing_of_the_host_and_keeps_its_shapes(
    make_tiny: Any, tapes: list[Tape], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polyjanus.core.generation.engine.MAX_PREPARED", 0)  # so every step is captured anew
    monkeypatch.setattr("polyjanus.core.generation.engine._Run._prepared", _always_captured)
    pipeline = _loud(make_tiny())
    for output in ("image", "text"):
        tapes.clear()
        _written(pipeline, ["a", "bc"], Request((output,), seed=1, max_tokens=5), "captured")
        assert len(tapes) > 2
        first = tapes[0].shapes()
        assert not {name.split(".")[1] for name, _ in first} & WAITS
        assert all(tape.shapes() == first for tape in tapes)


def _always_captured(run: Any, kind: Any, inputs: Any) -> Any:
    return captured(stepping.Step(run.model, run.cache, kind, run.hidden.dtype), inputs)


def test_a_step_that_cannot_be_captured_runs_as_it_is(
    make_tiny: Any, tapes: list[Tape], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(graph: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    pipeline = _loud(make_tiny())
    monkeypatch.setattr(torch.cuda, "graph", refuse)
    expected = _written(pipeline, ["a"], Request(("image",)))
    with pytest.warns(UserWarning, match="'image' runs without a CUDA graph: operation not permitted"):
        assert _written(pipeline, ["a"], Request(("image",)), "captured") == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("output", [("image",), ("text", "image")])
def test_a_gpu_draws_the_same_captured_and_plain(make_tiny: Any, output: Any) -> None:
    pipeline = _loud(make_tiny()).to("cuda")
    prompts = ["a", "a longer prompt"]
    for seed in (1, 2):
        request = Request(output, seed=seed, max_tokens=16)
        assert _written(pipeline, prompts, request, "captured") == _written(pipeline, prompts, request)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_step_draws_the_same(make_tiny: Any) -> None:
    torch._dynamo.reset()
    pipeline = _loud(make_tiny())
    for seed in (1, 2):
        request = Request(("image",), seed=seed)
        expected = _written(pipeline, ["a", "bcd"], request)
        assert _written(pipeline, ["a", "bcd"], request, "compiled") == expected


def test_the_way_suits_the_device() -> None:
    assert (way_of("auto", CPU), way_of("auto", torch.device("cuda"))) == ("plain", "captured")
    assert way_of("compiled", CPU) == "compiled"
    with pytest.raises(UsageError, match="'capturd'.*did you mean 'captured'"):
        way_of("capturd", CPU)
    with pytest.raises(UsageError, match="a step on cpu cannot be captured"):
        way_of("captured", CPU)


def test_the_way_is_asked_for_when_a_pipeline_is_loaded(make_tiny: Any, tmp_path: Any) -> None:
    folder = make_tiny().save(tmp_path / "saved")
    assert Pipeline.from_pretrained(folder, device="cpu").engine.step == "auto"
    assert Pipeline.from_pretrained(folder, device="cpu", step="compiled").engine.step == "compiled"
    with pytest.raises(UsageError, match="no way to step 'fast'"):
        Pipeline.from_pretrained(folder, step="fast")
