"""Made-up EEG, who judges it, and what the codec keeps of it."""

import time
from typing import Any

import numpy as np
import pytest
import torch

from polyjanus.core.data.rows import split
from polyjanus.core.judging import KernelClassifier
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.eeg import EegConfig, EegFsqConfig, SsvepConfig, SsvepMadeConfig, SsvepNamedConfig
from polyjanus.encoders.eeg.judges import agreement, ceiling, correlation, detect, unseen
from polyjanus.encoders.eeg.media import EegModality
from polyjanus.encoders.eeg.recording import Recording
from polyjanus.encoders.eeg.ssvep import CHANNELS, NAMES, RATE, TARGETS, Person, SsvepRows, make_ssvep

CONTEXT = BuildContext(path="data.x")


def rows(**settings: Any) -> SsvepRows:
    return SsvepConfig.model_validate({"type": "ssvep", "task": "name", **settings}).build(CONTEXT)


def modality() -> EegModality:
    block = {"type": "eeg", "channels": list(CHANNELS), "sample_rate": RATE}
    return EegConfig.model_validate(block).build(BuildContext(path="eeg"))


def media_of(found: Any) -> Recording:
    return next(part for m in found["messages"] for part in m["content"] if isinstance(part, dict))["eeg"]


def test_a_row_is_a_function_of_its_number_and_noise() -> None:
    def volts(index: int, seed: int) -> Any:
        return media_of(rows().row(index, np.random.default_rng(seed))).volts

    assert np.array_equal(volts(3, 0), volts(3, 0))
    assert not np.array_equal(volts(3, 1), volts(3, 0)) and not np.array_equal(volts(7, 0), volts(3, 0))


def test_one_task_asks_and_the_other_answers_with_eeg() -> None:
    noise = np.random.default_rng(0)
    asked = rows().row(2, noise)["messages"]
    made = rows(task="make").row(2, noise)["messages"]
    assert asked[1]["content"] == ["up"] and asked[0]["content"][0]["type"] == "eeg"
    assert "up" in made[0]["content"][0] and made[1]["content"][0]["type"] == "eeg"


def test_people_are_held_out_whole() -> None:
    train, held_out = split("x", rows(rows=400, people=20), 0.1, 0)
    people = [
        {side.row(i, np.random.default_rng(0))["subject"] for i in range(len(side))} for side in (train, held_out)
    ]
    assert (len(people[0]), len(people[1])) == (18, 2) and not people[0] & people[1]


def test_it_is_eeg_in_volts_that_is_strongest_where_it_should_be() -> None:
    media, _ = unseen(40)
    for each in media:
        modality().load(each)  # which refuses what can be no EEG in volts
    powers = [[np.abs(np.fft.rfft(each.volts)[:, round(TARGETS[NAMES[i % 4]] * 2)]) for i, each in enumerate(media)]]
    by_channel = dict(zip(CHANNELS, np.mean(powers[0], axis=0), strict=True))
    assert by_channel["Oz"] > 2 * by_channel["Cz"] and by_channel["O1"] > by_channel["Fz"]


def test_the_detector_finds_a_flicker_and_finds_none_in_noise() -> None:
    assert 0.9 < ceiling() < 1
    noise = np.random.default_rng(0)
    media, labels = unseen(120)
    robbed = [modality().noise(each, noise) for each in media]
    assert np.mean([detect(each) == label for each, label in zip(robbed, labels, strict=True)]) < 0.4
    times = np.arange(400) / RATE
    assert correlation(np.sin(2 * np.pi * 12 * times + 1)[None], RATE, 12.0) == pytest.approx(1)
    assert correlation(np.zeros((2, 400)), RATE, 12.0) == 0


def test_spectra_of_the_same_people_agree_and_white_noise_does_not() -> None:
    media, _ = unseen(64)
    noise = np.random.default_rng(0)
    assert agreement(media[:32], media[32:]) > 0.95
    assert agreement([modality().noise(each, noise) for each in media], media) < 0.5


class Perfect:
    """A pipeline that names every target rightly, and answers every request with EEG of looking up."""

    def run_many(self, prompts: Any, output: Any, **_: Any) -> Any:
        class Reply:
            def __init__(self, index: int) -> None:
                self.text = NAMES[index % 4]

            def media(self, name: str) -> list[Recording]:
                return [make_ssvep("up", Person.of(0), np.random.default_rng(0))]

        return [Reply(index) for index in range(len(prompts))]


def test_scores_are_shares_of_right_answers() -> None:
    named = SsvepNamedConfig(type="ssvep_named").build(CONTEXT).measure(Perfect(), limit=16)  # type: ignore[arg-type]
    made = SsvepMadeConfig(type="ssvep_made").build(CONTEXT).measure(Perfect(), limit=16)  # type: ignore[arg-type]
    assert (named.score, named.n) == (1.0, 16)
    assert made.score == pytest.approx(4 / 16) and 0.9 < made.details["judge_on_real"] < 1


# the codec


def facts(media: list[Recording]) -> Any:
    """Return amplitudes at the back (N, 8) at each target's frequency, beside those at its neighbours."""
    spectra = np.stack([np.abs(np.fft.rfft(each.volts[-3:], axis=1)).mean(0) for each in media])
    bins = [round(hertz * 2) for hertz in TARGETS.values()]
    return np.stack([np.log(spectra[:, b] / (spectra[:, b - 1] + spectra[:, b + 1]) + 0.1) for b in bins], axis=1)


@pytest.mark.slow
def test_half_a_minute_of_training_keeps_spectrum_and_target() -> None:
    torch.manual_seed(0)
    block = {"type": "eeg_fsq", "codebooks": 2, "levels": [8, 8], "width": 64, "depth": 1}
    codec = EegFsqConfig.model_validate(block).build(BuildContext(path="codec", modality=modality()))
    media, labels = unseen(120)
    untrained = codec.eval().decode(codec.encode([codec.prepare(each) for each in media]))
    optimiser = torch.optim.AdamW(codec.train().parameters(), 2e-3)
    began, noise = time.monotonic(), np.random.default_rng(0)
    for step in range(400):
        people = [Person.of(int(noise.integers(40))) for _ in range(16)]
        items = [codec.prepare(make_ssvep(NAMES[i % 4], person, noise)) for i, person in enumerate(people)]
        loss, count = codec.reconstruct(items)
        (loss / count).backward()
        optimiser.param_groups[0]["lr"] = 2e-3 * 0.5 * (1 + np.cos(np.pi * step / 400))
        optimiser.step()
        optimiser.zero_grad()
        if time.monotonic() - began > 60:
            break
    codec.eval()
    rebuilt = codec.decode(codec.encode([codec.prepare(each) for each in media]))
    others = [make_ssvep(NAMES[i % 4], Person.of(5000 + i), np.random.default_rng([i, 9])) for i in range(400)]
    judge = KernelClassifier(facts(others), np.arange(400) % 4, gamma=0.3, ridge=0.1)  # has seen no reconstruction

    def right(each: list[Recording]) -> float:
        return float((judge.predict(facts(each)) == labels).mean())

    def found(each: list[Recording]) -> float:
        return float(np.mean([detect(one) == label for one, label in zip(each, labels, strict=True)]))

    print(f"classifier {right(media):.3f} -> {right(rebuilt):.3f}, untrained {right(untrained):.3f};", end=" ")
    print(f"detector {found(media):.3f} -> {found(rebuilt):.3f}; spectrum {agreement(rebuilt, media):.3f}")
    assert right(media) > 0.85
    assert right(rebuilt) > 0.7 > 0.5 > right(untrained)
    assert found(rebuilt) > 0.75
    assert agreement(rebuilt, media) > 0.88 > agreement(untrained, media)
