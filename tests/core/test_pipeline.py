"""The pipeline: whatever a user hands over, whatever comes back, and a checkpoint that needs nothing else."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyjanus.core.errors import MediaError, PolyjanusError, SequenceError, UsageError
from polyjanus.core.pipeline import Pipeline

FORCED = {"seed": 3, "max_tokens": 8}


def _same(first: Any, second: Any) -> bool:
    return first.text == second.text and [np.asarray(p["media"]).tolist() for p in first.parts if "media" in p] == [
        np.asarray(p["media"]).tolist() for p in second.parts if "media" in p
    ]


def test_text_media_parts_lists_and_messages_are_prompts(tiny: Any, picture: Any, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    picture.save(path)
    part = {"type": "image", "path": str(path)}
    alike = [
        [picture, "what is this?"],
        [part, "what is this?"],
        [{"type": "image", "image": picture}, {"type": "text", "text": "what is this?"}],
        [{"type": "image", "image": np.asarray(picture)}, "what is this?"],
        [np.asarray(picture), "what is this?"],
        [{"role": "user", "content": [part, "what is this?"]}],
    ]
    replies = [tiny.run(prompt, **FORCED) for prompt in alike]
    assert all(_same(reply, replies[0]) for reply in replies)
    sequences = [tiny.compile(prompt) for prompt in alike]
    assert all(sequence.ids == sequences[0].ids and len(sequence.spans) == 1 for sequence in sequences)
    assert tiny.run(picture, **FORCED).parts


def test_an_image_is_an_attribute_of_the_reply(tiny: Any) -> None:
    reply = tiny.run("draw", "image")
    assert [part["type"] for part in reply.parts] == ["image"]
    assert reply.image is reply.media("image")[0] and reply.image.size == (16, 16)
    assert reply.text == ""
    assert tiny.run("say", **FORCED).image is None


def test_a_reply_shows_itself_in_a_notebook(tiny: Any) -> None:
    reply = tiny.run("draw", ["image"])
    reply.parts.insert(0, {"type": "text", "text": "<b>&"})
    shown = reply._repr_html_()
    assert "<p>&lt;b&gt;&amp;</p>" in shown
    assert 'src="data:image/png;base64,' in shown


def test_an_attribute_of_no_modality_is_named(tiny: Any) -> None:
    with pytest.raises(AttributeError, match="no modality 'audio' in this reply's pipeline"):
        _ = tiny.run("x", **FORCED).audio


@pytest.mark.parametrize("prompt", [3, None, object(), ["a", 3.5], b"bytes", Path("a.xyz"), ("a", "b"), {1, 2}])
def test_an_object_of_no_modality_is_refused_with_a_hint(tiny: Any, prompt: Any) -> None:
    with pytest.raises(UsageError, match=r"of no modality of this pipeline(.|\n)*hand over text, a medium"):
        tiny.run(prompt)


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        ([], UsageError),
        ([[]], UsageError),
        ([{"role": "user"}], SequenceError),
        ([{"role": "user", "content": "x"}, "y"], SequenceError),
        ([{"role": "user", "content": "x"}, {"no": "role"}], SequenceError),
        ([{"type": "image"}], SequenceError),
        ([{"type": "image", "path": "nowhere.png"}], MediaError),
        ([np.zeros(3)], UsageError),
    ],
)
def test_whatever_is_wrong_with_a_prompt_is_a_fault_not_a_crash(tiny: Any, prompt: Any, error: Any) -> None:
    with pytest.raises(PolyjanusError) as caught:
        tiny.run(prompt, **FORCED)
    assert isinstance(caught.value, error)


def test_empty_text_is_a_prompt(tiny: Any) -> None:
    assert tiny.run("", ["image"]).image is not None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"samplers": {"text": {"type": "gredy"}}}, "no sampler of type 'gredy'; did you mean 'greedy'"),
        ({"samplers": {"text": {}}}, "'type'"),
        ({"samplers": {"text": {"type": "nucleus", "temprature": 1.0}}}, "temprature"),
        ({"samplers": {"txt": {"type": "greedy"}}}, "'txt'.*did you mean 'text'"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_token": 1}, r"^run\(\) has no option 'max_token'; did you mean 'max_tokens'\?"),
        ({"foo": 1}, r"options of run\(\): seed, max_tokens, samplers"),
    ],
)
def test_wrong_options_are_refused(tiny: Any, options: Any, match: str) -> None:
    with pytest.raises(PolyjanusError, match=match):
        tiny.run("x", **options)


def test_samplers_of_a_call_take_the_place_of_the_pipelines(tiny: Any) -> None:
    greedy = {"samplers": {"text": {"type": "greedy"}}, "max_tokens": 6}
    assert tiny.run("x", seed=1, **greedy).text == tiny.run("x", seed=2, **greedy).text
    short = {"samplers": {"text": "greedy"}, "max_tokens": 6}
    assert tiny.run("x", **short).text == tiny.run("x", **greedy).text


def test_many_prompts_are_answered_as_each_alone(tiny: Any, picture: Any) -> None:
    prompts = ["a", [picture, "b"]]
    together = tiny.run_many(prompts, ["image"], seed=4)
    assert len(together) == 2
    assert _same(together[0], tiny.run("a", ["image"], seed=4))
    assert tiny.run_many([]) == []


def test_a_checkpoint_needs_nothing_of_the_folder_it_came_from(tiny_text: str, tmp_path: Path, picture: Any) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "tiny.yaml").write_text(tiny_text)
    pipeline = Pipeline.from_yaml(home / "tiny.yaml", device="cpu")
    prompt = [picture, "what?"]
    expected = [pipeline.run(prompt, output, **FORCED) for output in (["text"], ["image"], ["text", "image"])]
    pipeline.save(home / "saved")
    shutil.move(home / "saved", tmp_path / "elsewhere")
    shutil.rmtree(home)
    loaded = Pipeline.from_pretrained(tmp_path / "elsewhere", device="cpu")
    replies = [loaded.run(prompt, output, **FORCED) for output in (["text"], ["image"], ["text", "image"])]
    assert all(_same(mine, theirs) for mine, theirs in zip(replies, expected, strict=True))
    assert "home" not in (tmp_path / "elsewhere" / "polyjanus.yaml").read_text()
    again = loaded.save(tmp_path / "again")
    first = {p.name: p.read_bytes() for p in (tmp_path / "elsewhere" / "components").iterdir()}
    assert first == {p.name: p.read_bytes() for p in (again / "components").iterdir()}


def test_saving_over_a_checkpoint_replaces_it(tiny: Any, make_tiny: Any, tmp_path: Path) -> None:
    tiny.save(tmp_path / "x")
    other = make_tiny("modalities.image.generate.sampler.scale=1.0")
    other.save(tmp_path / "x")
    assert (
        Pipeline.from_pretrained(tmp_path / "x", device="cpu").config.modalities["image"].generate.sampler.scale == 1.0
    )


def test_building_a_pipeline_leaves_the_random_numbers_alone(make_tiny: Any) -> None:
    import torch

    state = torch.get_rng_state()
    make_tiny()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_path_is_read_as_the_medium_that_its_suffix_says(tiny: Any, picture: Any, tmp_path: Path) -> None:
    picture.save(tmp_path / "p.png")
    assert tiny.messages([tmp_path / "p.png", "what?"])[0]["content"][0] == {
        "type": "image",
        "path": str(tmp_path / "p.png"),
    }
    assert tiny.run([tmp_path / "p.png", "what?"], max_tokens=2).text is not None


def test_many_prompts_are_a_list_and_a_stream_takes_one(tiny: Any) -> None:
    with pytest.raises(UsageError, match="many prompts come as a list"):
        tiny.run_many("abc")
    assert {event.row for event in tiny.stream("abc", max_tokens=2)} == {0}


def test_a_pipeline_shows_what_it_reads_and_writes(tiny: Any) -> None:
    assert repr(tiny) == "Pipeline(understands ['text', 'image'], writes ['text', 'image'])"


@pytest.mark.parametrize(
    ("device", "words"), [("gpu", "no device 'gpu'"), ("cuda:9", "no device 'cuda:9': torch finds"), ("", "no device")]
)
def test_a_device_that_is_not_here_is_refused(device: str, words: str) -> None:
    from polyjanus.core.assembling import find_device

    with pytest.raises(UsageError, match=words):
        find_device(device)


def test_a_part_may_hold_its_medium_under_the_name_that_the_yaml_gives_it(plugins: Any, tmp_path: Any) -> None:
    import numpy as np

    path = tmp_path / "emg.yaml"
    llama = "{model_type: llama, hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 2}"
    series = "{type: timeseries, channels: [a], sample_rate: 10, understand: {encoder: {type: patch1d, patch: 2}}}"
    lines = [
        "polyjanus: 1",
        f"backbone: {{type: causal_lm, architecture: {llama}}}",
        "text: {tokenizer: bytes}",
        f"modalities: {{emg: {series}}}",
    ]
    path.write_text("\n".join(lines))
    pipeline = Pipeline.from_yaml(path, plugins=plugins, device="cpu")
    values = np.ones(10, np.float32)
    named, typed = ({"type": "emg", key: values} for key in ("emg", "timeseries"))
    assert pipeline.compile([named]).ids == pipeline.compile([typed]).ids
