"""Documents that share a row: losses and gradients are those of each alone, and no document sees another."""

from typing import Any

import pytest
import torch
from torch import Tensor

from polyjanus.core.sequence.packing import collate

HEADS = "hidden_size: 32, intermediate_size: 48, num_hidden_layers: 3, num_attention_heads: 4, num_key_value_heads: 2"
SMALL = f"{HEADS}, head_dim: 8, max_position_embeddings: 256"
MIXED = "sliding_window: 5, layer_types: [sliding_attention, full_attention, sliding_attention]"
ONLY = MIXED.replace("full", "sliding")
ARCHITECTURES = {
    "llama": f"model_type: llama, {SMALL}",
    "mistral": f"model_type: mistral, {SMALL}, sliding_window: 5",
    "qwen2": f"model_type: qwen2, {HEADS}, max_position_embeddings: 256, use_sliding_window: true, {MIXED}",
    "qwen3": f"model_type: qwen3, {SMALL}",
    "qwen3 sliding": f"model_type: qwen3, {SMALL}, use_sliding_window: true, {MIXED}",
    "gemma3": f"model_type: gemma3_text, {SMALL}, {MIXED}",
    "gemma3 sliding": f"model_type: gemma3_text, {SMALL}, {ONLY}",
}
WINDOW = 5


@pytest.fixture(params=ARCHITECTURES)
def pipeline(make_tiny: Any, request: pytest.FixtureRequest) -> Any:
    made = make_tiny(f"backbone.architecture={{{ARCHITECTURES[request.param]}}}")
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # far from zero, so that attention is not almost even
        for value in made.model.part("backbone").parameters():
            value.add_(0.2 * torch.randn(value.shape, generator=generator))
    return made


def _sequences(pipeline: Any, picture: Any, *, changed: str = "blue") -> list[Any]:
    image = {"type": "image", "image": picture}

    def turn(asked: Any, answer: Any) -> Any:
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        return pipeline.compiler.compile(pipeline.messages(messages), is_prompt=False)

    return [
        turn([image, "what is this, and what is under it, and behind?"], "a picture"),
        turn("draw", [image]),
        turn(f"say {changed}", "yes"),
        turn("why", "because so it is"),
        turn("count", "1 2 3"),
    ]


def _losses(model: Any, batches: list[Any]) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Return the loss of every head per target, and the gradients of their sum, over all batches together."""
    model.zero_grad(set_to_none=True)
    sums: dict[str, list[Any]] = {}
    for batch in batches:
        for name, (total, count) in model(**batch).sums.items():
            sums.setdefault(name, []).append((total, count))
    means = {name: sum(t for t, _ in parts) / sum(int(c) for _, c in parts) for name, parts in sums.items()}
    sum(means.values()).backward()  # type: ignore[union-attr]
    gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    return {name: float(value.detach()) for name, value in means.items()}, gradients


@pytest.mark.parametrize("recomputes", [False, True])
def test_losses_and_gradients_of_packed_rows_are_those_of_each_document_alone(
    pipeline: Any, picture: Any, recomputes: bool
) -> None:
    sequences, pad = _sequences(pipeline, picture), pipeline.tokenizer.id_of(pipeline.tokenizer.pad)
    packed = collate(sequences, pad=pad)
    assert len(packed["ids"]) < len(sequences) and int(packed["documents"].max()) >= 1
    assert min(map(len, sequences)) > 2 * WINDOW
    pipeline.model.part("backbone").checkpoint_activations(recomputes)
    pipeline.model.eval().part("backbone").train()
    mine, my_gradients = _losses(pipeline.model, [packed])
    alone = [collate([sequence], pad=pad) for sequence in sequences]  # transformers' own masks: no document mask
    theirs, their_gradients = _losses(pipeline.model, alone)
    pipeline.model.part("backbone").checkpoint_activations(False)
    assert mine.keys() == theirs.keys() == {"text", "image.generate"}
    for name, value in theirs.items():
        assert abs(mine[name] - value) < 1e-5
    assert my_gradients.keys() == their_gradients.keys()
    for name, value in their_gradients.items():
        torch.testing.assert_close(my_gradients[name], value, atol=1e-5, rtol=1e-5, msg=name)


@torch.no_grad()
def test_what_one_document_says_changes_no_other_at_all(pipeline: Any, picture: Any) -> None:
    pad = pipeline.tokenizer.id_of(pipeline.tokenizer.pad)
    batches = [collate(_sequences(pipeline, picture, changed=word), pad=pad) for word in ("blue", "wine")]
    model = pipeline.model.eval()
    kept: list[Tensor] = []
    hook = model.part("backbone").register_forward_hook(lambda *given: kept.append(given[2]))
    for batch in batches:
        model(**batch)
    hook.remove()
    differing = batches[0]["ids"] != batches[1]["ids"]
    (row,) = differing.any(1).nonzero()[:, 0].tolist()
    (document,) = batches[0]["documents"][row][differing[row]].unique().tolist()
    is_changed = torch.zeros_like(differing)
    is_changed[row] = batches[0]["documents"][row] == document
    others = int(batches[0]["documents"][row].max())
    assert others >= 1 and not torch.equal(kept[0][is_changed], kept[1][is_changed])
    assert torch.equal(kept[0][~is_changed], kept[1][~is_changed])
