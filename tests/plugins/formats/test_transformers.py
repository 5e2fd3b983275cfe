"""Against transformers' own JanusForConditionalGeneration, small and with random weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from polyjanus.core.errors import UsageError
from polyjanus.core.generation.choosing import Request
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.sequence.packing import collate
from polyjanus.core.sequence.spans import Span, TokenSequence
from polyjanus.plugins.samplers.draws import GreedySampler

Make = Callable[..., Any]
PATCHES = 16
BEGIN, END, IMAGE = 4, 5, 300
WORDS = [30, 31, 32, 33, 34]


def drawn(pipeline: Any, prompts: list[list[int]], scale: float = 5.0) -> list[list[int]]:
    """Return the greedy codes of prompts, their opening marks left to the engine."""
    return draw(pipeline, [TokenSequence(ids=list(ids), learned=[False] * len(ids)) for ids in prompts], scale)


def draw(pipeline: Any, sequences: list[TokenSequence], scale: float) -> list[list[int]]:
    """Return the greedy codes; what is decoded is looked at on its way."""
    codec, caught = pipeline.model.part("image.generate.codec"), list[Tensor]()
    codec.decode, decode = lambda codes: (caught.extend(codes), decode(codes))[1], codec.decode
    try:
        list(pipeline.engine.generate(sequences, Request(["image"], samplers={"image": GreedySampler(scale)})))
    finally:
        del codec.decode
    return [codes.flatten().tolist() for codes in caught]


def drawn_by_transformers(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    """Return transformers' greedy codes of prompts padded on the left, over every code."""
    longest = max(map(len, prompts)) + 1
    ids = torch.tensor([[3] * (longest - 1 - len(prompt)) + prompt + [BEGIN] for prompt in prompts])
    mask = torch.tensor([[0] * (longest - 1 - len(prompt)) + [1] * (len(prompt) + 1) for prompt in prompts])
    codes = model.generate(
        input_ids=ids,
        attention_mask=mask,
        generation_mode="image",
        do_sample=False,
        top_k=0,
        guidance_scale=5.0,
    )
    return codes.tolist()


def picture_prompt(count: int, seed: int = 0) -> tuple[list[int], Tensor]:
    """Return ids with a run of placeholders per picture, and pixels (count, 3, 16, 16), uint8."""
    ids = [1, *WORDS]
    for number in range(count):
        ids += [BEGIN, *[IMAGE] * PATCHES, END, 40 + number]
    rng = np.random.default_rng(seed)
    return ids, torch.from_numpy(rng.integers(0, 256, (count, 3, 16, 16), dtype=np.uint8))


def sequence_of(ids: list[int], pixels: Tensor) -> TokenSequence:
    """Return the same prompt as ours."""
    starts = [place + 1 for place, number in enumerate(ids) if number == BEGIN]
    spans = [Span("image", "understand", start, PATCHES, item) for item, start in enumerate(starts)]
    plain = [0 if number == IMAGE else number for number in ids]
    return TokenSequence(plain, [False] * len(ids), spans, [{"pixels": item} for item in pixels])


def logits(pipeline: Any, sequence: TokenSequence) -> Tensor:
    model = pipeline.model
    with torch.no_grad():
        embeddings, _ = model.embed(collate([sequence], pad=3))
        return model.text_logits(model.hidden(embeddings, torch.arange(len(sequence)).unsqueeze(0), None))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_text_logits_are_equal_with_any_number_of_pictures(small_janus: Any, small_pipeline: Any, count: int) -> None:
    ids, pixels = picture_prompt(count)
    values = pixels.float() / 127.5 - 1 if count else None
    with torch.no_grad():
        expected = small_janus(
            input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), pixel_values=values
        ).logits
    torch.testing.assert_close(logits(small_pipeline, sequence_of(ids, pixels)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_greedy_text_is_equal(small_janus: Any, small_pipeline: Any, count: int) -> None:
    ids, pixels = picture_prompt(count, seed=3)
    # what our engine never writes: padding, marks
    barred = [[3], [BEGIN], [END]]
    expected = small_janus.generate(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        pixel_values=pixels.float() / 127.5 - 1,
        generation_mode="text",
        do_sample=False,
        max_new_tokens=12,
        bad_words_ids=barred,
    )[0, len(ids) :].tolist()
    request = Request(["text"], max_tokens=12)
    events = list(small_pipeline.engine.generate([sequence_of(ids, pixels)], request))
    text = "".join(event.text for event in events if type(event).__name__ == "TextDelta")
    assert text == small_pipeline.tokenizer.decode([number for number in expected if number != 2])


def test_greedy_codes_are_equal(small_janus: Any, small_pipeline: Any) -> None:
    prompt = [1, *WORDS]
    assert drawn(small_pipeline, [prompt]) == drawn_by_transformers(small_janus, [prompt])


def test_prompts_of_different_length_in_one_batch_are_what_each_is_alone(small_janus: Any, small_pipeline: Any) -> None:
    prompts = [[1, *WORDS], [1, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60], [1, 70]]
    together = drawn(small_pipeline, prompts)
    assert together == [drawn(small_pipeline, [prompt])[0] for prompt in prompts]
    assert together == drawn_by_transformers(small_janus, prompts)


def test_sampling_is_over_every_code_unless_told_otherwise(small_pipeline: Any) -> None:
    # transformers keeps the 50 likeliest where nothing is said; DeepSeek draws from all
    assert small_pipeline.model.samplers["image"].top_k == 0
    assert small_pipeline.model.samplers["image"].top_p == 1.0


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_guidance_may_be_zero_one_or_anything(small_pipeline: Any, scale: float) -> None:
    prompt = [1, *WORDS]
    model, codes = small_pipeline.model, drawn(small_pipeline, [prompt], scale)[0]
    head = model.part("image.generate.head")

    def first(ids: list[int]) -> Tensor:
        embeddings = model.embed_text(torch.tensor([ids]))
        return head.logits(model.hidden(embeddings, torch.arange(len(ids)).unsqueeze(0), None)[:, -1])[0, 0]

    with torch.no_grad():
        positive, negative = first([*prompt, BEGIN]), first([1, *[3] * len(WORDS), BEGIN])
    assert codes[0] == int((negative + scale * (positive - negative)).argmax())


def test_padding_in_the_negative_row_is_attended_to_and_the_length_stays(small_pipeline: Any) -> None:
    # were pads hidden or the row shortened, scale 0 would not depend on how long the prompt is
    short, long = drawn(small_pipeline, [[1, 30], [1, *range(30, 48)]], 0.0)
    assert short != long
    other = drawn(small_pipeline, [[1, 31]], 0.0)[0]
    assert other == short


def test_pictures_in_a_prompt_are_not_ignored_while_another_is_drawn(small_pipeline: Any) -> None:
    prompts = [sequence_of(*picture_prompt(1, seed)) for seed in (0, 1)]
    codes = draw(small_pipeline, prompts, 1.0)
    assert codes[0] != codes[1]
    assert codes == [draw(small_pipeline, [prompt], 1.0)[0] for prompt in prompts]


def test_several_pictures_of_one_prompt_differ_and_do_not_depend_on_how_many(small_pipeline: Any) -> None:
    four = [np.asarray(reply.image) for reply in small_pipeline.run_many(["hello"] * 4, ["image"], seed=5)]
    two = [np.asarray(reply.image) for reply in small_pipeline.run_many(["hello"] * 2, ["image"], seed=5)]
    assert all(np.array_equal(a, b) for a, b in zip(four, two, strict=False))
    assert len({image.tobytes() for image in four}) > 1


def test_the_head_is_not_tied_although_transformers_default_is(small_pipeline: Any) -> None:
    from transformers import JanusConfig

    assert JanusConfig().tie_word_embeddings
    model = small_pipeline.model
    assert model.part("text.head").weight.data_ptr() != model.part("text.embedding").weight.data_ptr()
    assert small_pipeline.config.backbone.architecture["tie_word_embeddings"] is False


def test_a_file_without_a_head_of_its_own_is_tied(
    plugins: Any, make_janus: Make, add_tokenizer: Make, tmp_path: Path
) -> None:
    tied = make_janus(is_tied=True)
    tied.save_pretrained(tmp_path)
    add_tokenizer(tmp_path)
    pipeline = Pipeline.from_pretrained(tmp_path, plugins=plugins, device="cpu")
    assert pipeline.model.part("text.head").weight is pipeline.model.part("text.embedding").weight
    ids = [1, *WORDS]
    with torch.no_grad():
        expected = tied(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits
    torch.testing.assert_close(logits(pipeline, TokenSequence(ids, [False] * len(ids))), expected)
    exported = tmp_path / "exported"
    exported.mkdir()
    _write(pipeline, "transformers", exported)
    assert "lm_head.weight" not in load_file(exported / "model.safetensors")
    assert json.loads((exported / "config.json").read_text())["tie_word_embeddings"] is True


def test_codes_are_found_with_a_code_book_of_unit_rows(small_janus: Any, small_pipeline: Any) -> None:
    # transformers compares raw distances when it encodes; DeepSeek normalises both sides
    codec = small_pipeline.model.part("image.generate.codec")
    latents = torch.randn(1, codec.latent_width, 4, 4, generator=torch.Generator().manual_seed(0))
    rows = torch.nn.functional.normalize(small_janus.model.vqmodel.quantize.embedding.weight, dim=-1)
    flat = torch.nn.functional.normalize(latents.movedim(1, -1), dim=-1)
    expected = torch.cdist(flat.flatten(0, 2), rows).argmin(-1)
    assert torch.equal(codec.quantise(latents).flatten(), expected)
    assert float(small_janus.model.vqmodel.quantize.embedding.weight.detach().norm(dim=-1).std()) > 0.05


def test_decoded_pictures_are_equal(small_janus: Any, small_pipeline: Any) -> None:
    codes = torch.randint(0, 40, (2, PATCHES), generator=torch.Generator().manual_seed(0))
    codec = small_pipeline.model.part("image.generate.codec")
    with torch.no_grad():
        expected = small_janus.decode_image_tokens(codes).movedim(-1, 1)
        values = codec.to_values(codec.vectors(codes.unflatten(1, (4, 4))).movedim(-1, 1))
    torch.testing.assert_close(values, expected)


def _write(pipeline: Any, form: str, folder: Path) -> None:
    from polyjanus.core.checkpoints.formats import open_format

    open_format(pipeline.plugins.registries.formats.get(form)(type=form)).write(pipeline.exported(), folder)


def test_an_export_to_transformers_loads_strict_and_gives_equal_logits(
    small_janus: Any, small_pipeline: Any, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, JanusForConditionalGeneration

    _write(small_pipeline, "transformers", tmp_path)
    model, info = JanusForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert all(torch.equal(value, small_janus.state_dict()[name]) for name, value in model.state_dict().items())
    assert model.generation_config.generation_kwargs["boi_token_id"] == BEGIN
    assert model.generation_config.pad_token_id == 3
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.pad_token_id, tokenizer.image_token_id, tokenizer.boi_token_id) == (3, IMAGE, BEGIN)
    ids = torch.tensor([[1, *WORDS]])
    with torch.no_grad():
        mask = torch.ones_like(ids)
        assert torch.equal(model(ids, attention_mask=mask).logits, small_janus(ids, attention_mask=mask).logits)


def test_an_export_to_deepseeks_layout_and_back_is_bit_equal(small_pipeline: Any, plugins: Any, tmp_path: Path) -> None:
    _write(small_pipeline, "deepseek", tmp_path)
    again = Pipeline.from_pretrained(tmp_path, plugins=plugins, device="cpu", dtype="stored")
    before, after = small_pipeline.model.state_dict(), again.model.state_dict()
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert again.config.model_dump() == small_pipeline.config.model_dump() | {
        "backbone": again.config.backbone.model_dump()
    }


def test_bfloat16_is_kept_by_an_export_and_computes(
    plugins: Any, make_janus: Make, add_tokenizer: Make, tmp_path: Path
) -> None:
    model = make_janus(dtype=torch.bfloat16)
    source, target = tmp_path / "source", tmp_path / "target"
    model.save_pretrained(source)
    add_tokenizer(source)
    pipeline = Pipeline.from_pretrained(source, plugins=plugins, device="cpu", dtype="stored")
    target.mkdir()
    _write(pipeline, "deepseek", target)
    stored = load_file(target / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert torch.equal(stored["gen_embed.weight"], model.state_dict()["model.generation_embeddings.weight"])
    assert json.loads((target / "config.json").read_text())["torch_dtype"] == "bfloat16"
    computed = Pipeline.from_pretrained(target, plugins=plugins, device="cpu", dtype="bfloat16")
    ids = [1, *WORDS]
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long)).logits
    found = logits(computed, TokenSequence(ids, [False] * len(ids)))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, atol=0.25, rtol=0.05)
    assert computed.run("hello", ["image"]).image.size == (16, 16)


def test_a_pipeline_that_is_no_janus_is_not_exported(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"image\.generate\.codec is 'fsq2d'"):
        _write(tiny, "deepseek", tmp_path)


def test_the_long_side_is_rounded_down_where_transformers_rounds(small_pipeline: Any) -> None:
    # 333 of 500 pixels at 384 are 255.74: DeepSeek keeps 255 rows, transformers 256
    from PIL import Image

    from polyjanus.encoders.image.pixels import Preparation

    assert small_pipeline.model.part("image.understand.encoder").preparation.resize == "pad"
    pixels = Preparation(384).cells(Image.new("RGB", (500, 333), (255, 0, 0)))
    assert int((pixels[0, :, 0] != 127).sum()) == 255


def test_pixels_are_truncated_as_deepseeks_scripts_do(small_pipeline: Any) -> None:
    codec = small_pipeline.model.part("image.generate.codec")
    codes = torch.randint(0, 40, (1, PATCHES), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        values = codec.to_values(codec.vectors(codes.unflatten(1, (4, 4))).movedim(-1, 1))[0]
    expected = np.clip((values.numpy().transpose(1, 2, 0) + 1) / 2 * 255, 0, 255).astype(np.uint8)
    assert np.array_equal(np.asarray(codec.decode([codes[0].unsqueeze(1)])[0]), expected)


def test_a_prompt_without_pictures_never_runs_the_encoder(small_pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = small_pipeline.model.part("image.understand.encoder")
    monkeypatch.setattr(encoder, "forward", lambda items: pytest.fail("the encoder was run"))
    small_pipeline.run("hello", max_tokens=2)
    small_pipeline.run("hello", ["image"])


def test_prompts_are_left_as_they_were(small_pipeline: Any) -> None:
    ids, pixels = picture_prompt(1)
    sequence = sequence_of(ids, pixels.clone())
    before = list(sequence.ids)
    draw(small_pipeline, [sequence], 5.0)
    assert sequence.ids == before
    assert torch.equal(sequence.items[0]["pixels"], pixels[0])


def test_text_and_pictures_come_interleaved(small_folder: Path, plugins: Any) -> None:
    pipeline = Pipeline.from_pretrained(small_folder, plugins=plugins, device="cpu")
    weight = pipeline.model.part("text.head").weight
    with torch.no_grad():
        weight[BEGIN] = 3 * weight.abs().max()  # a head that opens pictures often
    reply = pipeline.run("hello", ["text", "image"], max_tokens=8)
    assert "image" in {part["type"] for part in reply.parts}
    assert reply.image.size == (16, 16)


def test_pictures_are_drawn_in_float16_where_deepseeks_codec_fails(small_folder: Path, plugins: Any) -> None:
    # DeepSeek's upsampling casts to bfloat16 whatever comes in
    pipeline = Pipeline.from_pretrained(small_folder, plugins=plugins, device="cpu", dtype="float16")
    assert pipeline.run("hello", ["image"]).image.size == (16, 16)


def test_a_dtype_that_nothing_computes_in_is_refused(small_folder: Path, plugins: Any) -> None:
    with pytest.raises(UsageError, match="no dtype 'int8'; there are auto, float32, bfloat16"):
        Pipeline.from_pretrained(small_folder, plugins=plugins, device="cpu", dtype="int8")


def test_angles_of_positions_stay_exact_in_bfloat16(small_folder: Path, plugins: Any) -> None:
    pipeline = Pipeline.from_pretrained(small_folder, plugins=plugins, device="cpu", dtype="bfloat16")
    angles = [value for name, value in pipeline.model.named_buffers() if name.endswith("inv_freq")]
    assert angles and all(value.dtype == torch.float32 for value in angles)
    assert next(pipeline.model.parameters()).dtype == torch.bfloat16
