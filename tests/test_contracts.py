"""What every registered component promises, whoever wrote it: a new one is held to this without a new test."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from torch import Tensor, nn

from polyjanus.core.modules import Codec, Encoder, Features, Layout
from polyjanus.core.settings import BuildContext

KINDS = ("encoder", "codec", "adaptor", "head", "layout", "sampler", "modality")
WIDTH = 32


def _part(pipeline: Any, path: str) -> Any:
    return pipeline.model.part(f"x.{path}")


def _items(pipeline: Any, part: Encoder | Codec, count: int = 3) -> list[Any]:
    """Return the prepared example, and others of its shape whose values are shuffled."""
    example = part.prepare(pipeline.compiler.modalities["x"].example())
    items = [example]
    for seed in range(1, count):
        generator = torch.Generator().manual_seed(seed)
        items.append({name: _shuffled(value, generator) for name, value in example.items()})
    return items


def _shuffled(value: Tensor, generator: torch.Generator) -> Tensor:
    return value.flatten()[torch.randperm(value.numel(), generator=generator)].reshape(value.shape)


@pytest.fixture(scope="module")
def built(pipeline_with: Any) -> Any:
    """Return the small pipeline around a component, built once."""
    known: dict[tuple[str, str], Any] = {}

    def get(kind: str, name: str) -> Any:
        if (kind, name) not in known:
            known[kind, name] = pipeline_with(kind, name)
        return known[kind, name]

    return get


def test_the_table_of_small_settings_has_no_component_that_is_gone(plugins: Any) -> None:
    table = YAML(typ="safe").load(Path(__file__).with_name("components.yaml"))
    assert set(table) == set(KINDS)
    for kind, entries in table.items():
        assert set(entries) <= set(plugins.registries.of(kind).names())


@pytest.mark.parametrize("kind", KINDS)
def test_settings_round_trip_and_are_described(plugins: Any, block_of: Any, kind: str) -> None:
    context = {"registries": plugins.registries}
    for entry in plugins.registries.of(kind):
        name = entry.settings.type_name()
        settings = entry.settings.model_validate(block_of(kind, name), context=context)
        dump = json.loads(json.dumps(settings.model_dump(mode="json", serialize_as_any=True)))
        assert entry.settings.model_validate(dump, context=context) == settings
        assert entry.summary, f"{kind} {name} has no docstring"
        with pytest.raises(ValueError, match="Extra inputs"):
            entry.settings.model_validate({**dump, "no_such_key": 1}, context=context)


def test_modules_hold_no_tensors_but_parameters_and_buffers(built: Any, component: tuple[str, str]) -> None:
    """A tensor that is a plain attribute stays behind when the module moves or loads."""
    for name, module in built(*component).model.named_modules():
        for attribute, value in vars(module).items():
            if attribute in {"_parameters", "_buffers", "_modules"}:
                continue
            held = list(value.values()) if isinstance(value, dict) else value
            held = held if isinstance(held, list | tuple) else [held]
            own = {id(entry) for entry in module.parameters()}  # which torch's LSTM lists once more
            assert not any(isinstance(entry, Tensor) and id(entry) not in own for entry in held), f"{name}.{attribute}"


def test_built_twice_from_one_seed_is_equal(built: Any, pipeline_with: Any, component: tuple[str, str]) -> None:
    mine, theirs = built(*component).model.state_dict(), pipeline_with(*component).model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


# encoders


def test_an_encoder_gives_what_it_declares(built: Any, encoder_type: str) -> None:
    pipeline = built("encoder", encoder_type)
    encoder: Encoder = _part(pipeline, "understand.encoder")
    items = _items(pipeline, encoder)
    features = encoder(items)
    declared = [encoder.num_tokens(item) for item in items]
    assert features.lengths == tuple(n for n, _ in declared)
    assert features.values.shape == (sum(features.lengths), encoder.width)
    assert (features.grids or (None,) * len(items)) == tuple(grid for _, grid in declared)
    assert bool(features.values.isfinite().all())


def test_an_encoder_gives_alone_what_it_gives_in_a_batch(built: Any, encoder_type: str) -> None:
    pipeline = built("encoder", encoder_type)
    encoder: Encoder = _part(pipeline, "understand.encoder").eval()
    items = _items(pipeline, encoder)
    with torch.no_grad():
        together = encoder(items).split()
        for item, expected in zip(items, together, strict=True):
            torch.testing.assert_close(encoder([item]).values, expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(encoder(items).values, torch.cat(together))  # and the same again
    assert not torch.allclose(together[0], together[1]), "the features do not depend on the item"


def test_an_encoder_prepares_without_random_numbers(built: Any, encoder_type: str) -> None:
    pipeline = built("encoder", encoder_type)
    encoder: Encoder = _part(pipeline, "understand.encoder")
    modality = pipeline.compiler.modalities["x"]
    state = torch.get_rng_state()
    first, again = encoder.prepare(modality.example()), encoder.prepare(modality.example())
    assert first.keys() == again.keys() and all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)


def test_gradient_reaches_the_adaptor_of_an_encoder(built: Any, encoder_type: str) -> None:
    pipeline = built("encoder", encoder_type)
    model = pipeline.model
    part = {"type": "x", **_source(pipeline)}
    batch = pipeline.collate([[{"role": "user", "content": [part]}, {"role": "assistant", "content": "y"}]])
    model.zero_grad()
    model(**batch).loss.backward()
    gradients = [p.grad for p in _part(pipeline, "understand.adaptor").parameters()]
    model.zero_grad()
    assert gradients and all(gradient is not None and bool(gradient.any()) for gradient in gradients)


def _source(pipeline: Any) -> dict[str, Any]:
    modality = pipeline.compiler.modalities["x"]
    return {modality.keys[0]: modality.example()}


# codecs


def test_a_codec_gives_what_it_declares_and_takes_it_back(built: Any, codec_type: str) -> None:
    pipeline = built("codec", codec_type)
    codec: Codec = _part(pipeline, "generate.codec").eval()
    items = _items(pipeline, codec)
    codes = codec.encode(items)
    assert [tuple(item.shape) for item in codes] == [(codec.num_codes(i), codec.num_codebooks) for i in items]
    assert all(item.dtype == torch.int64 and 0 <= item.min() <= item.max() < codec.cardinality for item in codes)
    assert max(codec.num_codes(item) for item in items) <= codec.max_codes
    assert not any(item.requires_grad for item in codes)
    media = codec.decode(codes)
    assert len(media) == len(items)
    again = [codec.prepare(medium) for medium in media]  # what comes out is a medium of the modality
    assert [codec.num_codes(item) for item in again] == [codec.num_codes(item) for item in items]
    assert codec.decode([]) == []


def test_a_codec_gives_alone_what_it_gives_in_a_batch(built: Any, codec_type: str) -> None:
    pipeline = built("codec", codec_type)
    codec: Codec = _part(pipeline, "generate.codec")
    codec.train()  # encoding is deterministic whatever the mode
    try:
        items = _items(pipeline, codec)
        together = codec.encode(items)
        assert all(torch.equal(codec.encode([item])[0], code) for item, code in zip(items, together, strict=True))
        assert all(torch.equal(first, again) for first, again in zip(codec.encode(items), together, strict=True))
    finally:
        codec.eval()


def test_a_codec_that_can_be_trained_gives_gradient(built: Any, codec_type: str) -> None:
    pipeline = built("codec", codec_type)
    codec: Codec = _part(pipeline, "generate.codec")
    try:
        loss, count = codec.reconstruct(_items(pipeline, codec))
    except NotImplementedError:
        pytest.skip("this codec is not trained here")
    assert count == 3 and bool(loss.isfinite())
    loss.backward()
    gradients = [parameter.grad for parameter in codec.parameters() if parameter.grad is not None]
    codec.zero_grad()
    assert any(bool(gradient.any()) for gradient in gradients)


# adaptors


def _features(*lengths: int) -> Features:
    generator = torch.Generator().manual_seed(0)
    return Features.of([torch.randn(n, WIDTH, generator=generator) for n in lengths])


def _adaptor(plugins: Any, block_of: Any, name: str) -> nn.Module:
    settings = plugins.registries.adaptors.get(name).model_validate(block_of("adaptor", name))
    return settings.build(BuildContext(path="x.understand.adaptor", width_in=WIDTH, width_out=WIDTH)).eval()


@pytest.mark.parametrize("lengths", [(4, 1, 7), (1,), (5,), (0, 3)])
def test_an_adaptor_gives_what_it_declares(plugins: Any, block_of: Any, adaptor_type: str, lengths: Any) -> None:
    adaptor: Any = _adaptor(plugins, block_of, adaptor_type)
    given = _features(*lengths)
    adapted = adaptor(given)
    assert adapted.lengths == tuple(adaptor.num_tokens(n, None)[0] for n in lengths)
    assert adapted.values.shape == (sum(adapted.lengths), WIDTH)
    for item, expected in zip(given.split(), adapted.split(), strict=True):
        torch.testing.assert_close(adaptor(Features.of([item])).values, expected, atol=1e-5, rtol=1e-5)


def test_gradient_passes_an_adaptor(plugins: Any, block_of: Any, adaptor_type: str) -> None:
    adaptor = _adaptor(plugins, block_of, adaptor_type)
    given = _features(3, 2)
    given.values.requires_grad_()
    adaptor(given).values.square().sum().backward()
    assert given.values.grad is not None and bool(given.values.grad.any())
    assert all(parameter.grad is not None for parameter in adaptor.parameters())


# layouts, heads, samplers


def _layout(plugins: Any, block_of: Any, name: str, books: int) -> Layout:
    settings = plugins.registries.layouts.get(name).model_validate(block_of("layout", name))
    return settings.build(BuildContext(path="x.generate.layout", cardinality=7, num_codebooks=books, max_codes=5))


@pytest.mark.parametrize("books", [1, 3])
def test_a_layout_gives_back_what_it_packed(plugins: Any, block_of: Any, layout_type: str, books: int) -> None:
    layout = _layout(plugins, block_of, layout_type, books)
    codes = torch.randint(0, 7, (5, books), generator=torch.Generator().manual_seed(0))
    frames = layout.pack(codes)
    assert frames.shape == (layout.num_steps(5), layout.width)
    assert len(frames) <= layout.max_steps
    assert 0 <= int(frames.min()) <= int(frames.max()) < layout.cardinality
    assert torch.equal(layout.unpack(frames), codes)
    facts = [layout.is_last(frame, step) for step, frame in enumerate(frames.tolist())]
    assert facts == [False] * (len(frames) - 1) + [True]
    for step, frame in enumerate(frames):
        allowed = layout.allowed(step, frames[step - 1].tolist() if step else None)
        if allowed is not None:
            assert allowed.shape == (layout.width, layout.cardinality)
            assert bool(allowed[torch.arange(layout.width), frame].all()), "packed frames must be allowed"


def _head(plugins: Any, block_of: Any, name: str) -> Any:
    settings = plugins.registries.heads.get(name).model_validate(block_of("head", name))
    context = BuildContext(path="x.generate.head", d_model=WIDTH, cardinality=9, num_codebooks=2)
    torch.manual_seed(0)
    return settings.build(context)


@pytest.mark.parametrize("rows", [0, 1, 6])
def test_a_head_scores_frames_one_by_one(plugins: Any, block_of: Any, head_type: str, rows: int) -> None:
    head = _head(plugins, block_of, head_type)
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(rows, WIDTH, generator=generator, requires_grad=True)
    frames = torch.randint(0, 9, (rows, 2), generator=generator)
    total, count = head.loss(hidden, frames)
    assert total.ndim == 0 and bool(total.isfinite()) and int(count) == frames.numel()
    alone = [head.loss(hidden[i : i + 1], frames[i : i + 1])[0] for i in range(rows)]
    torch.testing.assert_close(total, torch.stack(alone).sum() if alone else torch.zeros(()), atol=1e-5, rtol=1e-5)
    total.backward()
    assert hidden.grad is not None and (not rows or bool(hidden.grad.any()))


def test_a_head_samples_frames_that_are_allowed(plugins: Any, block_of: Any, head_type: str, sampler_type: str) -> None:
    head = _head(plugins, block_of, head_type)
    settings = plugins.registries.samplers.get(sampler_type).model_validate(block_of("sampler", sampler_type))
    sampler = settings.build(BuildContext(path="x.generate.sampler"))
    hidden = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(1))
    allowed = torch.zeros(2, 9, dtype=torch.bool)
    allowed[0, 3] = allowed[1, 7] = True

    def noise(column: int) -> Tensor:
        return torch.rand(5, 9, generator=torch.Generator().manual_seed(column))

    options: dict[str, Any] = {"sampler": sampler, "noise": None if sampler.is_greedy else noise}
    with torch.no_grad():
        forced = head.sample(hidden, negative=-hidden, allowed=allowed, **options)
        assert forced.tolist() == [[3, 7]] * 5
        free = head.sample(hidden, negative=None, allowed=None, **options)
        again = head.sample(hidden, negative=None, allowed=None, **options)
    assert free.shape == (5, 2) and torch.equal(free, again)
    assert 0 <= int(free.min()) <= int(free.max()) < 9


# whole pipelines


def test_a_pipeline_around_every_component_reads_learns_and_writes(built: Any, component: tuple[str, str]) -> None:
    pipeline = built(*component)
    part = {"type": "x", **_source(pipeline)}
    is_written = "x" in pipeline.outputs
    rows = [
        [{"role": "user", "content": [part, part]}, {"role": "assistant", "content": ["a", *[part] * is_written]}],
        [{"role": "user", "content": "no item"}, {"role": "assistant", "content": "b"}],
    ]
    for chosen in (rows, rows[:1], rows[1:]):
        output = pipeline.model(**pipeline.collate(chosen))
        assert bool(output.loss.isfinite())
    if not is_written:
        assert (
            pipeline.run([part, "x"], seed=1, max_tokens=2).text == pipeline.run([part, "x"], seed=1, max_tokens=2).text
        )
        return
    reply = pipeline.run([part, "x"], ["x"], seed=1)
    again = pipeline.run([part, "x"], ["x"], seed=1)
    modality = pipeline.compiler.modalities["x"]
    assert len(reply.media("x")) == 1
    assert modality.preview(reply.x) == modality.preview(again.x)


def test_an_example_is_a_medium_that_is_always_the_same(plugins: Any, block_of: Any, modality_type: str) -> None:
    settings = plugins.registries.modalities.get(modality_type).model_validate(
        block_of("modality", modality_type), context={"registries": plugins.registries}
    )
    modality = settings.build(BuildContext(path=modality_type))
    assert modality.preview(modality.example()) == modality.preview(modality.example())
    assert modality.preview(modality.load(modality.example())) == modality.preview(modality.example())
    assert modality.preview(modality.example()).startswith(b"\x89PNG")
