"""The numbers of DeepSeek's own code, through pipeline and engine, on weights that both make from a seed."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from polyjanus.core.generation.choosing import Request
from polyjanus.core.modules import guide
from polyjanus.core.sequence.packing import collate
from polyjanus.core.sequence.spans import Span, TokenSequence
from polyjanus.plugins.samplers.draws import GreedySampler

pytestmark = pytest.mark.slow
PLACE = 500
"""The id that stands where features go."""
GUIDED = {"image": GreedySampler(5.0)}


def difference(name: str, found: Tensor, expected: Tensor) -> float:
    """Return the largest difference as a share of the largest value; `pytest -s` shows it."""
    share = float((found - expected).abs().max() / expected.abs().max())
    print(f"{name}: differ by {share:.1e} of the largest value, {float(expected.abs().max()):.3g}")
    return share


def understanding(golden: dict[str, Tensor]) -> TokenSequence:
    """Return the recorded prompt: text ids, and the picture's features in place of a placeholder's run."""
    ids = golden["understanding_ids"][0].tolist()
    start, count = ids.index(PLACE), ids.count(PLACE)
    pixels = (golden["pixel_values"][0] * 0.5 + 0.5) * 255
    return TokenSequence(
        ids=[0 if number == PLACE else number for number in ids],
        learned=[False] * len(ids),
        spans=[Span("image", "understand", start, count, 0)],
        items=[{"pixels": pixels}],
    )


def prompt(golden: dict[str, Tensor], number: int) -> TokenSequence:
    """Return a recorded prompt without the opening mark at its end, which the engine writes."""
    ids = golden[f"prompt_{number}"].flatten().tolist()
    assert ids[-1] == 4
    return TokenSequence(ids=ids[:-1], learned=[False] * (len(ids) - 1))


def drawn(pipeline: Any, prompts: list[TokenSequence]) -> list[list[int]]:
    """Return the greedy codes of several prompts drawn together; nothing is decoded, for speed."""
    codec = pipeline.model.part("image.generate.codec")
    caught: list[Tensor] = []
    codec.decode = lambda codes: (caught.extend(codes), [None] * len(codes))[1]
    try:
        list(pipeline.engine.generate(prompts, Request(["image"], samplers=GUIDED)))
    finally:
        del codec.decode
    return [codes.flatten().tolist() for codes in caught]


def test_understanding_features_are_deepseeks(golden: dict[str, Tensor], golden_pipeline: Any) -> None:
    model = golden_pipeline.model
    with torch.no_grad():
        features = model.part("image.understand.encoder")(understanding(golden).items)
        adapted = model.part("image.understand.adaptor")(features).values
    assert difference("features", adapted, golden["understanding_features"][0]) < 1e-5


def test_answers_about_a_picture_are_deepseeks(golden: dict[str, Tensor], golden_pipeline: Any) -> None:
    model, sequence = golden_pipeline.model, understanding(golden)
    with torch.no_grad():
        embeddings, _ = model.embed(collate([sequence], pad=3))
        positions = torch.arange(len(sequence)).unsqueeze(0)
        logits = model.text_logits(model.hidden(embeddings, positions, None))[:, -8:]
    assert difference("text logits", logits, golden["understanding_logits"]) < 1e-5
    written = golden_pipeline.engine.generate([sequence], Request(["text"], max_tokens=16))
    text = "".join(event.text for event in written if type(event).__name__ == "TextDelta")
    assert text == golden_pipeline.tokenizer.decode(golden["understanding_greedy"][0].tolist())


def test_codes_and_their_decoding_are_deepseeks(golden: dict[str, Tensor], golden_pipeline: Any) -> None:
    codec = golden_pipeline.model.part("image.generate.codec")
    with torch.no_grad():
        codes = codec.quantise(codec.to_latents(golden["pixel_values"])).flatten(1)
        assert torch.equal(codes, golden["vq_ids"].long())
        for name, ids in (("vq", golden["vq_ids"]), ("ids", golden["ids_in"])):
            grid = ids.long().unflatten(1, (24, 24))
            values = codec.to_values(codec.vectors(grid).movedim(-1, 1))
            assert difference("decoded picture", avg_pool2d(values, 8), golden[f"{name}_decoded_pooled"]) < 1e-4
            if name == "vq":
                crop = values[..., 100:164, 200:264]
                assert difference("decoded crop", crop, golden["vq_decoded_crop"]) < 1e-4


@pytest.mark.parametrize("number", [0, 1])
def test_guided_logits_of_the_first_code_are_deepseeks(
    golden: dict[str, Tensor], golden_pipeline: Any, number: int
) -> None:
    model, ids = golden_pipeline.model, golden[f"prompt_{number}"].flatten().tolist()
    rows = torch.tensor([ids, [ids[0], *[3] * (len(ids) - 2), ids[-1]]])
    with torch.no_grad():
        hidden = model.hidden(model.embed_text(rows), torch.arange(len(ids)).expand(2, -1), None)[:, -1]
        logits = model.part("image.generate.head").logits(hidden)[:, 0]
    guided = guide(logits[0], logits[1], 5.0)
    assert difference("guided logits", guided, golden[f"first_logits_{number}"].flatten()) < 1e-5


@pytest.mark.parametrize("size", ["333x77", "500x333"])
def test_pictures_are_prepared_as_deepseek_does(golden: dict[str, Tensor], golden_pipeline: Any, size: str) -> None:
    from PIL import Image

    encoder = golden_pipeline.model.part("image.understand.encoder")
    pixels = encoder.prepare(Image.fromarray(golden[f"photo_{size}"].numpy()))["pixels"]
    assert torch.equal(pixels, golden[f"prepared_{size}"])


def test_all_greedy_codes_are_deepseeks_alone_and_in_one_batch(golden: dict[str, Tensor], golden_pipeline: Any) -> None:
    prompts = [prompt(golden, number) for number in (0, 1)]
    expected = [golden[f"greedy_{number}"].flatten().tolist() for number in (0, 1)]
    alone = [drawn(golden_pipeline, [each])[0] for each in prompts]
    assert alone == expected
    assert drawn(golden_pipeline, prompts) == expected
