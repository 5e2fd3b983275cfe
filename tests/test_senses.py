"""Five modalities in one pipeline: in any order, several at once, absent in some rows, read and written together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyjanus.core.errors import UsageError
from polyjanus.core.pipeline import Pipeline

SENSES = ("image", "audio", "point_cloud", "eeg", "imu")
EXAMPLE = Path(__file__).parents[1] / "examples" / "senses.yaml"


@pytest.fixture(scope="module")
def senses(plugins: Any) -> Pipeline:
    return Pipeline.from_yaml(EXAMPLE, plugins=plugins, device="cpu")


def part(pipeline: Pipeline, name: str) -> dict[str, Any]:
    modality = pipeline.compiler.modalities[name]
    return {"type": name, modality.keys[0]: modality.example()}


def codes(reply: Any, name: str) -> bytes:
    (media,) = reply.media(name)
    return reply.modalities[name].preview(media)


@pytest.mark.parametrize("given", SENSES)
@pytest.mark.parametrize("wanted", SENSES)
def test_every_sense_is_answered_in_every_other(senses: Pipeline, given: str, wanted: str) -> None:
    reply = senses.run([part(senses, given), "Answer."], [wanted], seed=1)
    (media,) = reply.media(wanted)
    assert senses.compiler.modalities[wanted].preview(media).startswith(b"\x89PNG")


def test_several_senses_come_in_one_message_and_several_go_out_in_one_reply(senses: Pipeline) -> None:
    prompt = [part(senses, "point_cloud"), "and", part(senses, "audio"), "are which digit?"]
    reply = senses.run(prompt, ["eeg", "image", "imu"], seed=2)
    assert [each["type"] for each in reply.parts] == ["eeg", "image", "imu"]
    assert senses.run(prompt, ["text"], max_tokens=3).text is not None


def test_rows_of_one_batch_may_write_different_senses_freely(senses: Pipeline) -> None:
    prompts = [[part(senses, name), "Answer."] for name in SENSES]
    together = senses.run_many(prompts, ["audio"], seed=3)
    for row, prompt in enumerate(prompts):
        if row == 0:
            assert codes(senses.run(prompt, ["audio"], seed=3), "audio") == codes(together[row], "audio")
    assert len({codes(reply, "audio") for reply in together}) == len(SENSES)


def _rows(pipeline: Pipeline, names: tuple[str, ...]) -> list[Any]:
    return [
        [
            {"role": "user", "content": [part(pipeline, name), "What?"]},
            {"role": "assistant", "content": ["This.", part(pipeline, name)]},
        ]
        for name in names
    ]


def test_absent_senses_change_nothing_for_the_others(senses: Pipeline) -> None:
    """The losses of a batch are the sums of those of its rows alone."""
    with torch.no_grad():
        whole = senses.model(**senses.collate(_rows(senses, SENSES))).sums
        alone = [senses.model(**senses.collate(_rows(senses, (name,)))).sums for name in SENSES]
    assert set(whole) == {"text", *(f"{name}.generate" for name in SENSES)}
    for name in whole:
        known = [sums[name] for sums in alone if name in sums]
        torch.testing.assert_close(
            whole[name][0], torch.stack([total for total, _ in known]).sum(), rtol=1e-4, atol=1e-3
        )
        assert int(whole[name][1]) == sum(int(count) for _, count in known)


def test_all_senses_survive_saving_to_the_bit(senses: Pipeline, plugins: Any, tmp_path: Path) -> None:
    senses.save(tmp_path / "saved")
    again = Pipeline.from_pretrained(tmp_path / "saved", plugins=plugins, device="cpu")
    for name in SENSES:
        prompt = [part(senses, name), "Answer."]
        assert codes(senses.run(prompt, [name], seed=4), name) == codes(again.run(prompt, [name], seed=4), name)


def test_files_of_all_senses_are_told_apart_by_their_suffix(senses: Pipeline, tmp_path: Path) -> None:
    for name, suffix in (
        ("image", ".png"),
        ("audio", ".wav"),
        ("point_cloud", ".ply"),
        ("eeg", ".edf"),
        ("imu", ".csv"),
    ):
        path = tmp_path / f"a{suffix}"
        modality = senses.compiler.modalities[name]
        modality.save(modality.example(), path)
        (message,) = senses.messages([path, "What?"])
        assert message["content"][0] == {"type": name, "path": str(path)}


def test_a_suffix_of_two_senses_is_a_question_and_not_a_guess(senses: Pipeline, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((6, 100)))
    with pytest.raises(UsageError, match="point_cloud' or 'imu'"):
        senses.messages([tmp_path / "a.npy", "What?"])
