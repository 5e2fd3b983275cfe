"""Made-up sounds with names in words, and who judges them: something to try a pipeline on without recordings."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from polyjanus.core.data.rows import Row, Source
from polyjanus.core.evaluation import Metric, Sample, Score
from polyjanus.core.judging import KernelClassifier
from polyjanus.core.pipeline import Pipeline
from polyjanus.encoders.audio.media import Audio
from polyjanus.encoders.shared.signals import Array

RATE, SECONDS = 8_000, 0.8
KINDS = ("rising", "falling", "steady", "trembling", "pulsing")
PITCHES = {"low": 300.0, "high": 1_200.0}
NAMES = tuple(f"a {pitch} {kind} tone" for pitch in PITCHES for kind in KINDS)
QUESTIONS = ("What do you hear?", "Which sound is this?", "Name this sound.")
REQUESTS = ("Play {}.", "Make {}.", "Let me hear {}.")
UNSEEN = 1_000_000
"""Numbers of sounds from here on are in no data set."""
FITTED, HELD_OUT = 400, 160
PIECES = 16
GAMMA, RIDGE = 0.05, 1e-2
MODALITY = "audio"


class ToneRows(Source):
    """Questions about sounds, or requests for them, with their answers."""

    def __init__(self, task: str, rows: int) -> None:
        self.task, self.rows = task, rows

    def __len__(self) -> int:
        """Return the number of rows, which take the names in turn."""
        return self.rows

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one conversation about a sound; the sound is that of its number."""
        name = NAMES[index % len(NAMES)]
        part: dict[str, Any] = {"type": MODALITY, MODALITY: make_tone(index)}
        if self.task == "name":
            asked: list[Any] = [part, QUESTIONS[noise.integers(len(QUESTIONS))]]
            answer: list[Any] = [name]
        else:
            asked, answer = [REQUESTS[noise.integers(len(REQUESTS))].format(name)], [part]
        return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}


def make_tone(number: int) -> Audio:
    """Return the sound of a number, mono at 8 kHz: pitch, loudness, overtones and noise are its own."""
    draw = np.random.default_rng([number, 0])
    name = number % len(NAMES)
    middle = list(PITCHES.values())[name // len(KINDS)] * draw.uniform(0.85, 1.18)
    times = np.arange(round(RATE * SECONDS)) / RATE
    along = times / SECONDS - 0.5
    octaves, loud = np.zeros_like(times), np.ones_like(times)
    match KINDS[name % len(KINDS)]:
        case "rising":
            octaves = along * draw.uniform(0.7, 1.1)
        case "falling":
            octaves = -along * draw.uniform(0.7, 1.1)
        case "trembling":
            octaves = 0.12 * np.sin(2 * np.pi * draw.uniform(5, 7) * times + draw.uniform(0, 6))
        case "pulsing":
            loud = (np.sin(2 * np.pi * draw.uniform(5, 7) * times + draw.uniform(0, 6)) > 0).astype(float)
        case _:
            pass
    phase = 2 * np.pi * np.cumsum(middle * 2**octaves) / RATE + draw.uniform(0, 6)
    wave = np.sin(phase) + draw.uniform(0.1, 0.4) * np.sin(2 * phase)
    edge = np.minimum(1, np.minimum(times, SECONDS - times) / 0.02)
    samples = draw.uniform(0.15, 0.4) * wave * edge * np.convolve(loud, np.hanning(81) / 40, "same")
    samples += draw.normal(0, 0.005, len(times))
    return Audio(samples.clip(-1, 1).astype(np.float32)[None], float(RATE))


def facts(sound: Audio) -> Array:
    """Return what tells the sounds apart, from the wave alone: the loudest pitch and the loudness of each piece."""
    wave = np.zeros(round(RATE * SECONDS))
    mono = sound.samples.mean(0)[: len(wave)]
    wave[: len(mono)] = mono
    pieces = wave.reshape(PIECES, -1)
    spectra = np.abs(np.fft.rfft(pieces * np.hanning(pieces.shape[1]), 4 * pieces.shape[1], axis=1))
    pitch = np.log2((spectra.argmax(1) + 1) * RATE / (4 * pieces.shape[1]) / 600)
    loud = np.log10(pieces.std(1) + 1e-3)
    heard = loud > loud.max() - 0.7
    level = np.median(pitch[heard])
    moved = np.where(heard, pitch - level, 0) * 3
    return np.concatenate([[2 * level], moved, 2 * (loud - loud.max()).clip(-1)])


@cache
def judge() -> tuple[KernelClassifier, float]:
    """Return the classifier fitted on sounds as they are, and its accuracy on others."""
    numbers = np.arange(2 * UNSEEN, 2 * UNSEEN + FITTED)
    fitted = KernelClassifier(
        np.stack([facts(make_tone(int(n))) for n in numbers]), numbers % len(NAMES), gamma=GAMMA, ridge=RIDGE
    )
    others = np.arange(UNSEEN, UNSEEN + HELD_OUT)
    guesses = fitted.predict(np.stack([facts(make_tone(int(n))) for n in others]))
    return fitted, float((guesses == others % len(NAMES)).mean())


class NamedTones(Metric):
    """Unseen sounds, named in words."""

    def measure(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Score:
        """Ask about 160 sounds, or `limit`."""
        sounds = [make_tone(UNSEEN + i) for i in range(limit or HELD_OUT)]
        prompts: list[Any] = [[{"type": MODALITY, MODALITY: sound}, QUESTIONS[0]] for sound in sounds]
        greedy = {"text": {"type": "greedy"}}
        replies = pipeline.run_many(prompts, ["text"], seed=seed, samplers=greedy, max_tokens=32)
        answers = [reply.text for reply in replies]
        right = sum(answer == NAMES[i % len(NAMES)] for i, answer in enumerate(answers))
        samples = tuple(Sample(a or "?", MODALITY, sound) for a, sound in zip(answers[:8], sounds, strict=False))
        return Score.of(right, len(sounds), input=MODALITY, output="text", judge="exact match", samples=samples)


class MadeTones(Metric):
    """Sounds made on request."""

    def measure(self, pipeline: Pipeline, *, limit: int | None = None, seed: int = 0) -> Score:
        """Ask for 160 sounds, or `limit`, with the pipeline's own sampler."""
        fitted, ceiling = judge()
        wanted = np.arange(limit or HELD_OUT) % len(NAMES)
        prompts = [REQUESTS[0].format(NAMES[label]) for label in wanted]
        sounds = [reply.media(MODALITY)[0] for reply in pipeline.run_many(prompts, [MODALITY], seed=seed)]
        right = int((fitted.predict(np.stack([facts(sound) for sound in sounds])) == wanted).sum())
        return Score.of(
            right,
            len(wanted),
            input="text",
            output=MODALITY,
            judge=f"kernel classifier fitted on sounds as they are ({ceiling:.1%} of others)",
            details={"judge_on_real": ceiling},
            samples=tuple(Sample(NAMES[label], MODALITY, s) for label, s in zip(wanted[:8], sounds, strict=False)),
            commands=(f'"Play a high rising tone." --output {MODALITY} -o tone.wav',),
        )
