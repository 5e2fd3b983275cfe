"""The unified model: where features go, what sees what, what learns, and what a broken part is told."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from polyjanus.core.errors import PluginError
from polyjanus.core.modules import Features
from polyjanus.core.sequence.packing import causal_mask, collate
from polyjanus.core.training.globs import chosen
from polyjanus.core.training.stages import freeze_all_but, set_modes

SMALL = (
    "hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, "
    "head_dim: 8"
)
SLIDING = "sliding_window: 5, layer_types: [sliding_attention, full_attention]"
BACKBONES = {
    "llama": f"{{model_type: llama, {SMALL}, max_position_embeddings: 512}}",
    "qwen3": f"{{model_type: qwen3, {SMALL}, max_position_embeddings: 512, tie_word_embeddings: true}}",
    "mistral": f"{{model_type: mistral, {SMALL}, max_position_embeddings: 512, sliding_window: 5}}",
    "gemma3": f"{{model_type: gemma3_text, {SMALL}, max_position_embeddings: 512, {SLIDING}}}",
}


def _rows(picture: Any) -> list[list[dict[str, Any]]]:
    image = {"type": "image", "image": picture}
    other = {"type": "image", "image": picture.rotate(90)}
    return [
        [{"role": "user", "content": ["what", image]}, {"role": "assistant", "content": "a red house on a hill"}],
        [{"role": "user", "content": "draw"}, {"role": "assistant", "content": [other]}],
        [{"role": "user", "content": [other, image]}, {"role": "assistant", "content": ["both:", image]}],
        [{"role": "raw", "content": "plain words"}],
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
    ]


def _sums(pipeline: Any, sequences: list[Any], **options: Any) -> dict[str, tuple[float, int]]:
    with torch.no_grad():
        output = pipeline.model(**collate(sequences, pad=258, **options))
    return {name: (float(total), int(count)) for name, (total, count) in output.sums.items()}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_packed_documents_lose_what_they_lose_alone(make_tiny: Any, picture: Any, backbone: str) -> None:
    pipeline = make_tiny(f"backbone.architecture={BACKBONES[backbone]}")
    sequences = [pipeline.compile(row, is_prompt=False) for row in _rows(picture)]
    packed = collate(sequences, pad=258)
    assert len(packed["ids"]) < len(sequences)  # some do share a row
    together = _sums(pipeline, sequences)
    alone = [_sums(pipeline, [sequence]) for sequence in sequences]
    for name, (total, count) in together.items():
        assert count == sum(each[name][1] for each in alone if name in each)
        assert total == pytest.approx(sum(each[name][0] for each in alone if name in each), rel=1e-5)


@pytest.mark.parametrize("backbone", ["llama", "mistral", "gemma3"])
def test_documents_do_not_leak(make_tiny: Any, picture: Any, backbone: str) -> None:
    pipeline = make_tiny(f"backbone.architecture={BACKBONES[backbone]}")
    rows = _rows(picture)
    sequences = [pipeline.compile(row, is_prompt=False) for row in [rows[0], rows[3], rows[4], rows[4]]]
    changed = pipeline.compile(
        [{"role": "user", "content": "HI"}, {"role": "assistant", "content": "HO"}], is_prompt=False
    )
    batch, other = (collate([*sequences[:-1], last], pad=258) for last in (sequences[-1], changed))
    row, column = (batch["ids"] != other["ids"]).nonzero()[0].tolist()
    is_same = batch["documents"] >= 0
    is_same[row] &= batch["documents"][row] != batch["documents"][row, column]
    assert is_same[row].any()  # the changed document shares its row
    with torch.no_grad():
        before, after = (
            pipeline.model.hidden(pipeline.model.embed(b)[0], b["positions"], causal_mask(b["documents"]))
            for b in (batch, other)
        )
    assert not torch.equal(before, after)
    torch.testing.assert_close(before[is_same], after[is_same], rtol=0, atol=0)


def test_features_go_exactly_to_their_spans(tiny: Any, picture: Any) -> None:
    sequences = [tiny.compile(row, is_prompt=False) for row in _rows(picture)]
    batch = collate(sequences, pad=258)
    with torch.no_grad():
        embeddings, frames = tiny.model.embed(batch)
        plain = tiny.model.embed_text(batch["ids"])
    is_media = torch.zeros_like(batch["ids"], dtype=torch.bool)
    for name, block in batch["media"].items():
        modality, pathway = name.rsplit(".", 1)
        for index, item in enumerate(block["items"]):
            row, start, length = (int(block[key][index]) for key in ("rows", "starts", "lengths"))
            with torch.no_grad():
                if pathway == "understand":
                    features = tiny.model.part(f"{modality}.understand.encoder")([item])
                    expected = tiny.model.part(f"{modality}.understand.adaptor")(features).values
                else:
                    codes = tiny.model.part(f"{modality}.generate.codec").encode([item])[0]
                    expected = tiny.model.embed_frames(modality, codes)
                    assert torch.equal(frames[modality][sum(map(int, block["lengths"][:index])) :][:length], codes)
            torch.testing.assert_close(embeddings[row, start : start + length], expected, atol=1e-5, rtol=1e-5)
            is_media[row, start : start + length] = True
    assert torch.equal(embeddings[~is_media], plain[~is_media])
    assert int(is_media.sum()) == 5 * 4  # five items of four positions


def test_marks_are_read_from_their_own_table(tiny: Any) -> None:
    size = tiny.compiler.vocabulary.size
    ids = torch.tensor([[0, size - 1, size, size + 1]])
    embedded = tiny.model.embed_text(ids)[0]
    text, marks = tiny.model.part("text.embedding").weight, tiny.model.part("marks").embedding.weight
    assert torch.equal(embedded, torch.stack([text[0], text[size - 1], marks[0], marks[1]]))
    assert tiny.model.text_logits(torch.zeros(1, 32)).shape == (1, size + 2)


def test_the_loss_is_the_weighted_sum_over_all_targets(make_tiny: Any, picture: Any) -> None:
    pipeline = make_tiny("modalities.image.generate.loss_weight=0.25", "text.loss_weight=2.0")
    output = pipeline.model(**pipeline.collate(_rows(picture)))
    (text, words), (image, codes) = output.sums["text"], output.sums["image.generate"]
    assert int(codes) == 8  # two generated pictures of four codes
    torch.testing.assert_close(output.loss, (2 * text + 0.25 * image) / (words + codes))
    torch.testing.assert_close(pipeline.model.total(output.sums, 1000), (2 * text + 0.25 * image) / 1000)


def test_positions_are_chosen_before_logits(tiny: Any, picture: Any) -> None:
    shapes: dict[str, Any] = {}
    hooks = [
        tiny.model.part("text.head").register_forward_hook(
            lambda _, given, __: shapes.update({"text.head": given[0].shape})
        )
    ]
    head = tiny.model.part("image.generate.head")
    original, head.logits = head.logits, lambda hidden: shapes.update({"image": hidden.shape}) or original(hidden)
    try:
        output = tiny.model(**tiny.collate(_rows(picture)))
    finally:
        del head.logits
        for hook in hooks:
            hook.remove()
    assert shapes["text.head"] == (int(output.sums["text"][1]), 32)
    assert shapes["image"] == (int(output.sums["image.generate"][1]), 32)


def test_a_batch_without_targets_has_a_loss_of_zero(tiny: Any) -> None:
    output = tiny.model(**collate([tiny.compile("hello")], pad=258))
    assert float(output.loss.detach()) == 0
    output.loss.backward()


def test_tied_embeddings_stay_tied_and_learn_once(make_tiny: Any, picture: Any) -> None:
    pipeline = make_tiny(f"backbone.architecture={BACKBONES['qwen3']}")
    embedding, head = pipeline.model.part("text.embedding"), pipeline.model.part("text.head")
    assert embedding.weight is head.weight
    names = [name for name, _ in pipeline.model.named_parameters()]
    assert sum("text." in name for name in names) == 1
    pipeline.model(**pipeline.collate(_rows(picture))).loss.backward()
    torch.optim.SGD(pipeline.model.parameters(), lr=0.1).step()
    assert embedding.weight is head.weight


# what learns


def _train(pipeline: Any, globs: list[str], picture: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    model, known = pipeline.model, pipeline.config.component_paths()
    paths = chosen(globs, known)
    freeze_all_but(model, paths, known)
    set_modes(model, paths, moves_statistics=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model(**pipeline.collate(_rows(picture))).loss.backward()
    optimizer.step()
    return before, model.state_dict()


def test_a_frozen_backbone_lets_every_adaptor_learn(make_tiny: Any, picture: Any) -> None:
    pipeline = make_tiny()
    adaptors = ["*.adaptor", "image.generate.embedding", "image.generate.head", "marks"]
    before, after = _train(pipeline, adaptors, picture)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    wanted = ("adaptor", "generate.embedding", "generate.head", "marks")
    assert moved == {name for name in before if any(part in name for part in wanted)}
    assert not any(p.grad is not None for p in pipeline.model.part("backbone").parameters())


def test_a_frozen_encoder_runs_without_gradient_and_its_adaptor_learns(make_tiny: Any, picture: Any) -> None:
    pipeline = make_tiny()
    encoder = pipeline.model.part("image.understand.encoder")
    graphs: list[bool] = []
    encoder.register_forward_hook(lambda _, __, features: graphs.append(features.values.requires_grad))
    before, after = _train(pipeline, ["image.understand.adaptor"], picture)
    assert graphs == [False]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all("image.understand.adaptor" in name for name in moved)


def test_a_trained_encoder_gets_gradient(make_tiny: Any, picture: Any) -> None:
    before, after = _train(pipeline := make_tiny(), ["image.understand.encoder"], picture)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert pipeline.model.part("image.understand.encoder").tower.embeddings.patch_embedding.weight.grad is not None


def test_a_plain_loop_trains(make_tiny: Any, picture: Any) -> None:
    pipeline = make_tiny()
    pipeline.model.train()
    batch = pipeline.collate(_rows(picture))
    optimizer = torch.optim.AdamW(pipeline.model.parameters(), lr=3e-3)
    losses: list[float] = []
    for _ in range(20):
        loss = pipeline.model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_the_trainer_of_transformers_trains(make_tiny: Any, picture: Any, tmp_path: Any) -> None:
    from transformers import Trainer, TrainingArguments

    pipeline = make_tiny()
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=20,
        per_device_train_batch_size=5,
        learning_rate=3e-3,
        logging_steps=1,
        remove_unused_columns=False,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        pipeline.model,
        arguments,
        data_collator=pipeline.collate,
        train_dataset=[{"messages": r} for r in _rows(picture)],
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 20 and losses[-1] < 0.7 * losses[0]


# what breaks its contract


class _Broken(nn.Module):
    """An encoder that gives whatever it is told to."""

    width = 24

    def __init__(self, result: Callable[[int], Any], declared: int = 4) -> None:
        super().__init__()
        self.result, self.declared = result, declared

    def num_tokens(self, prepared: Any) -> tuple[int, None]:
        return self.declared, None

    def forward(self, items: Any) -> Any:
        return self.result(len(items))


def _features(count: int, width: int = 24, each: int = 4, **kind: Any) -> Features:
    return Features(torch.ones(count * each, width, **kind), (each,) * count)


BROKEN: dict[str, tuple[Callable[[int], Any], str]] = {
    "a list": (lambda n: [torch.ones(4, 24)] * n, r"forward returned a list of 1, not Features"),
    "a tensor": (lambda n: torch.ones(4, 24), r"float32 of shape \(4, 24\), not Features"),
    "another width": (lambda n: _features(n, 25), r"shape \(4, 25\), not floats \(N, 24\) as its width says"),
    "three dimensions": (lambda n: Features(torch.ones(1, 4, 24), (4,)), r"shape \(1, 4, 24\), not floats \(N, 24\)"),
    "whole numbers": (lambda n: _features(n, dtype=torch.int64), r"int64 of shape \(4, 24\), not floats"),
    "nothing": (lambda n: Features(None, (4,)), r"a NoneType, not floats"),  # type: ignore[arg-type]
    "NaN": (lambda n: Features(torch.full((4, 24), float("nan")), (4,)), r"NaN or infinity for items \[0\]"),
    "too many": (lambda n: _features(n, each=5), r"num_tokens declared \(4,\) features, forward gave \(5,\)"),
    "wrong lengths": (lambda n: Features(torch.ones(5, 24), (4,)), r"returned 5 features and lengths of 4"),
    "an error": (lambda n: torch.ones(2) @ torch.ones(3), r"forward failed: RuntimeError"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_encoder_is_named_with_both_sides(make_tiny: Any, picture: Any, fault: str) -> None:
    result, match = BROKEN[fault]
    pipeline = make_tiny()
    batch = pipeline.collate(_rows(picture)[:1])
    pipeline.model.part("image.understand").encoder = _Broken(result)
    with pytest.raises(PluginError, match=match) as caught:
        pipeline.model(**batch)
    assert "_Broken" in str(caught.value)


@pytest.mark.parametrize(
    ("result", "match"),
    [
        (lambda f: Features(f.values[:-1, :8].repeat(1, 4), (*f.lengths[:-1], 3)), r"given \(4,\) positions.*\(3,\)"),
        (lambda f: f, r"shape \(4, 24\), not floats \(N, 32\) as the backbone needs"),
        (lambda f: f.values, "not Features"),
    ],
)
def test_a_broken_adaptor_is_named_with_both_sides(make_tiny: Any, picture: Any, result: Any, match: str) -> None:
    class Adaptor(nn.Module):
        def forward(self, features: Features) -> Any:
            return result(features)

    pipeline = make_tiny()
    batch = pipeline.collate(_rows(picture)[:1])
    pipeline.model.part("image.understand").adaptor = Adaptor()
    with pytest.raises(PluginError, match=match) as caught:
        pipeline.model(**batch)
    assert "image.understand: " in str(caught.value)


@pytest.mark.parametrize(
    ("codes", "match"),
    [
        (lambda: torch.zeros(4, 1), r"float32 of shape \(4, 1\) for item 0, not int64 of shape \(4, 1\)"),
        (
            lambda: torch.zeros(3, 1, dtype=torch.int64),
            r"int64 of shape \(3, 1\) for item 0, not int64 of shape \(4, 1\)",
        ),
        (lambda: torch.full((4, 1), 16), "codes from 16 to 16 for item 0, not from 0 to 15"),
        (lambda: torch.full((4, 1), -1), "codes from -1 to -1"),
    ],
)
def test_a_broken_codec_is_named_with_both_sides(
    make_tiny: Any, picture: Any, monkeypatch: Any, codes: Any, match: str
) -> None:
    pipeline = make_tiny()
    batch = pipeline.collate(_rows(picture)[1:2])
    codec = pipeline.model.part("image.generate.codec")
    monkeypatch.setattr(codec, "encode", lambda items: [codes() for _ in items])
    with pytest.raises(PluginError, match=rf"Fsq2dCodec\.encode returned.*{match}"):
        pipeline.model(**batch)
