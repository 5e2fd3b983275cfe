import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from polyjanus.core.errors import SequenceError, UsageError
from polyjanus.core.generation.cache import SlotCache
from polyjanus.core.generation.choosing import Request
from polyjanus.core.generation.events import Done, MediaReady, TextDelta
from polyjanus.core.generation.slow import generate_slowly
from polyjanus.core.generation.stepping import WAYS, plain


@pytest.fixture(params=["used part", "bucket"], autouse=True)
def shown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run every test over what a cache shows on a CPU, and over the fixed shapes that it shows elsewhere."""
    if request.param == "bucket":
        monkeypatch.setitem(WAYS, "fixed", plain)
        monkeypatch.setattr("polyjanus.core.generation.engine.way_of", lambda name, device: "fixed")
    return request.param


@pytest.fixture(scope="module")
def talkative(make_tiny: Callable[..., Any]) -> Any:
    """A pipeline that opens a picture every few tokens and ends now and then."""
    pipeline = make_tiny()
    marks = pipeline.model.part("marks")
    noise = torch.randn(32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pipeline.model.part("text.head").weight.mul_(10)
        marks.head.weight[0] = pipeline.model.part("text.head").weight[:256].abs().mean() * 6 * noise
    return pipeline


def _written(pipeline: Any, prompts: list[Any], request: Request) -> list[tuple[str, list[Any]]]:
    replies: list[tuple[str, list[Any]]] = [("", []) for _ in prompts]
    for event in pipeline.engine.generate([pipeline.compile(prompt) for prompt in prompts], request):
        text, media = replies[event.row]
        if isinstance(event, TextDelta):
            replies[event.row] = (text + event.text, media)
        elif isinstance(event, MediaReady):
            media.append(np.asarray(event.media))
    return replies


def _slowly(pipeline: Any, prompt: Any, request: Request, row: int) -> tuple[str, list[Any]]:
    parts = generate_slowly(pipeline.engine, pipeline.compile(prompt), request, row)
    text, pending = "", list[int]()
    for run in (value for kind, value in parts if kind == "text"):
        pending += run  # type: ignore[arg-type]
        shown = pipeline.tokenizer.decode(pending)
        if shown.endswith("\ufffd"):  # a character that an item cuts in two is not one
            text, pending = text + shown, []
    return text + pipeline.tokenizer.decode(pending), [np.asarray(value) for kind, value in parts if kind != "text"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("output", [("text", "image"), ("image",), ("text",)])
def test_engine_writes_what_the_slow_loop_writes(talkative: Any, picture: Any, seed: int, output: Any) -> None:
    prompts = ["hi", [picture, "what is this, and what is that?"], "draw one, please", [picture, picture, "both"]]
    request = Request(output, seed=seed, max_tokens=12)
    fast = _written(talkative, prompts, request)
    for row, prompt in enumerate(prompts):
        text, media = _slowly(talkative, prompt, request, row)
        assert fast[row][0] == text
        assert len(fast[row][1]) == len(media)
        for mine, theirs in zip(fast[row][1], media, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_interleaved_replies_hold_text_and_pictures(talkative: Any) -> None:
    replies = _written(talkative, ["hello"] * 8, Request(("text", "image"), max_tokens=20))
    assert any(text and media for text, media in replies)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("layout", ["grid", "ended"])
@pytest.mark.parametrize(
    "prompts", [["a", "a longer prompt"], ["ab", "cd", "ef"], ["ab"]], ids=["unequal", "equal", "one"]
)
def test_every_guidance_and_layout_agrees_with_the_slow_loop(
    make_tiny: Any, scale: float, layout: str, prompts: list[str]
) -> None:
    pipeline = make_tiny(
        f"modalities.image.generate.sampler.scale={scale}", f"modalities.image.generate.layout={{type: {layout}}}"
    )
    with torch.no_grad():
        pipeline.model.part("image.generate.head").output.weight.mul_(20)
    request = Request(("image",), seed=3)
    fast = _written(pipeline, prompts, request)
    for row, prompt in enumerate(prompts):
        np.testing.assert_array_equal(fast[row][1][0], _slowly(pipeline, prompt, request, row)[1][0])


def test_a_row_does_not_depend_on_its_neighbours(talkative: Any) -> None:
    request = Request(("text", "image"), seed=5, max_tokens=16)
    alone = _written(talkative, ["first"], request)
    together = _written(talkative, ["first", "a much longer second prompt", "3"], request)
    assert alone[0][0] == together[0][0]
    for mine, theirs in zip(alone[0][1], together[0][1], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_same_seed_same_reply_and_another_seed_another(talkative: Any) -> None:
    first, again, other = (
        _written(talkative, ["x"] * 4, Request(("text",), seed=seed, max_tokens=24)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_every_row_is_told_done_once(talkative: Any) -> None:
    prompts = [talkative.compile(text) for text in ("a", "b", "c")]
    events = list(talkative.engine.generate(prompts, Request(("text", "image"), max_tokens=6)))
    assert sorted(event.row for event in events if isinstance(event, Done)) == [0, 1, 2]


def test_max_tokens_bounds_the_text(tiny: Any) -> None:
    ids = [
        value
        for kind, value in generate_slowly(tiny.engine, tiny.compile("x"), Request(("text",), max_tokens=5))
        if kind == "text"
    ]
    assert sum(map(len, ids)) <= 5  # type: ignore[arg-type]
    events = list(tiny.engine.generate([tiny.compile("x")], Request(("text",), max_tokens=5)))
    assert [event for event in events if isinstance(event, Done)][0].reason in {"length", "end"}


def test_cache_grows_beyond_its_first_bucket(make_tiny: Callable[..., Any]) -> None:
    pipeline = make_tiny("backbone.architecture.max_position_embeddings=2048")
    request = Request(("text",), max_tokens=300)
    fast = _written(pipeline, ["x" * 250], request)
    assert fast[0][0] == _slowly(pipeline, "x" * 250, request, 0)[0]


def test_unknown_output_is_named_with_what_there_is(tiny: Any) -> None:
    with pytest.raises(UsageError, match="no output 'imgae'.*did you mean 'image'"):
        tiny.run("x", ["imgae"])


def test_prompt_longer_than_the_backbone_is_refused(tiny: Any) -> None:
    with pytest.raises(SequenceError, match="the backbone takes 512"):
        tiny.run("x" * 600)


@pytest.mark.parametrize("model_type", ["mistral", "gemma3_text", "qwen3"])
def test_sliding_windows_hold_in_the_cache(make_tiny: Callable[..., Any], model_type: str) -> None:
    architecture = (
        f"{{model_type: {model_type}, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, head_dim: 8, "
    )
    architecture += "num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 512, sliding_window: 6"
    if model_type != "mistral":
        architecture += ", layer_types: [sliding_attention, full_attention]"
    if model_type == "qwen3":
        architecture += ", use_sliding_window: true"
    pipeline = make_tiny(f"backbone.architecture={architecture}}}")
    request = Request(("text", "image"), max_tokens=10)
    fast = _written(pipeline, ["abcdefghijkl", "z"], request)
    for row, prompt in enumerate(["abcdefghijkl", "z"]):
        assert fast[row][0] == _slowly(pipeline, prompt, request, row)[0]


def test_a_reply_ends_where_the_positions_of_the_backbone_do(make_tiny: Callable[..., Any]) -> None:
    pipeline = make_tiny("backbone.architecture.max_position_embeddings=40")
    prompt = pipeline.compile("x")
    events = list(pipeline.engine.generate([prompt], Request(("text",), seed=1, max_tokens=500)))
    done = next(event for event in events if isinstance(event, Done))
    assert done.reason == "length"
    with pytest.raises(SequenceError, match="the backbone takes 40"):
        pipeline.run("x" * 20, ["image"])


@pytest.fixture(scope="module")
def two_kinds(plugins: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A pipeline that generates two modalities of one type, one of them unguided and of open length."""
    from polyjanus.core.pipeline import Pipeline

    path = tmp_path_factory.mktemp("two") / "two.yaml"
    path.write_text(
        """
polyjanus: 1
backbone:
  type: causal_lm
  architecture: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2,
                 num_attention_heads: 4, max_position_embeddings: 512}
template: {type: janus, user: User, assistant: Assistant}
modalities:
  photo:
    type: image
    generate:
      codec: {type: fsq2d, size: 16, downsample: 8, levels: [4, 4], width: 8}
      sampler: {type: guided, scale: 3}
  sketch:
    type: image
    generate: {codec: {type: fsq2d, size: 24, channels: 1, downsample: 8, levels: [3, 3], width: 8}, layout: ended,
               sampler: {type: guided, scale: 1}}
""",
        encoding="utf-8",
    )
    pipeline = Pipeline.from_yaml(path, plugins=plugins, device="cpu")
    marks = pipeline.model.part("marks").head.weight
    noise = torch.randn(2, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        pipeline.model.part("text.head").weight.mul_(10)
        marks[[0, 2]] = pipeline.model.part("text.head").weight[:256].abs().mean() * 6 * noise
    return pipeline


@pytest.mark.parametrize("output", [("text", "photo", "sketch"), ("sketch", "photo"), ("photo",)])
@pytest.mark.parametrize("seed", range(3))
def test_rows_of_one_batch_may_be_in_different_modalities(two_kinds: Any, output: Any, seed: int) -> None:
    prompts = ["a", "something longer", "b c", "d"]
    request = Request(output, seed=seed, max_tokens=10)
    fast = _written(two_kinds, prompts, request)
    for row, prompt in enumerate(prompts):
        text, media = _slowly(two_kinds, prompt, request, row)
        assert fast[row][0] == text
        assert [item.shape for item in fast[row][1]] == [item.shape for item in media]
        for mine, theirs in zip(fast[row][1], media, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_closing_a_stream_frees_its_rows(tiny: Any, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    caches: weakref.WeakSet[SlotCache] = weakref.WeakSet()

    def make(*arguments: Any) -> SlotCache:
        cache = SlotCache(*arguments)
        caches.add(cache)
        return cache

    monkeypatch.setattr("polyjanus.core.generation.engine.SlotCache", make)
    events = tiny.stream_many(["x"] * 4, ["image"])
    next(events)
    assert [cache.is_fixed for cache in caches] == [shown == "bucket"]
    events.close()
    del events
    gc.collect()
    assert len(caches) == (shown == "bucket")  # what is made for fixed shapes is kept, with its cache
    tiny.engine.forget()
    gc.collect()
    assert not caches
