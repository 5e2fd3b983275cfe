"""The six arms of the paper's ablation and what they start from, each as overrides of a sense's YAML.

Before the arms come the pixel codec of A, D and F; the teacher, an encoder that learned to read, with which D and E
begin; and the semantic tokenizer of B and C, which is built on that encoder. Arms that only read, or only write, take
the half of each step that is theirs: as many steps, and as many rows of each task, as the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyjanus.core.config.schema import PipelineConfig, StageConfig
from polyjanus.core.sweeping import Arm

HOME = Path(__file__).parent
SENSES = ("image", "eeg")
CODEC, TEACHER, TOKENIZER = "codec", "teacher", "tokenizer"
READING = ("backbone", "text", "*.understand")
WRITING = ("backbone", "text", "marks", "*.generate.embedding", "*.generate.adaptor", "*.generate.head")
READ_ROWS, WRITE_ROWS = ("read",), ("write",)


@dataclass(frozen=True)
class Plan:
    """What one run is: how it reads and writes, what it learns, and what it starts from."""

    title: str
    reads: bool = False
    writes: bool = False
    is_shared: bool = False
    """Whether it reads with the codec that writes."""
    is_semantic: bool = False
    """Whether its codec is the semantic tokenizer."""
    starts: tuple[str, ...] = ()
    """The runs that it starts from."""

    @property
    def scores(self) -> tuple[str, ...]:
        """Return the names of its evaluations."""
        found = [name for name, has in (("read", self.reads), ("write", self.writes)) if has]
        return tuple(found or ["rebuilt"])

    @property
    def unused(self) -> tuple[str, ...]:
        """Return the components, as globs, that stand in its YAML and that it has no use for."""
        if not self.reads:
            return ("*.understand",)
        others = ("marks", "*.generate.embedding", "*.generate.adaptor", "*.generate.head")
        return () if self.writes else others if self.is_shared else (*others, "*.generate.codec")


PREPARED: Mapping[str, Plan] = {
    CODEC: Plan("pixel codec"),
    TEACHER: Plan("encoder that learns to read", reads=True),
    TOKENIZER: Plan("semantic tokenizer", is_semantic=True, starts=(TEACHER,)),
}
"""What the arms start from, in the order in which it is made."""
ARMS: Mapping[str, Plan] = {
    "D": Plan("decoupled", reads=True, writes=True, starts=(CODEC, TEACHER)),
    "A": Plan("one pixel codec for both", reads=True, writes=True, is_shared=True, starts=(CODEC,)),
    "B": Plan(
        "one semantic tokenizer for both",
        reads=True,
        writes=True,
        is_shared=True,
        is_semantic=True,
        starts=(TOKENIZER,),
    ),
    "C": Plan("B, reading only", reads=True, is_shared=True, is_semantic=True, starts=(TOKENIZER,)),
    "E": Plan("D, reading only", reads=True, starts=(CODEC, TEACHER)),
    "F": Plan("D, writing only", writes=True, starts=(CODEC, TEACHER)),
}
"""The arms; all others are compared with the first."""


@dataclass(frozen=True)
class Size:
    """How much is trained, as a share of the steps in the YAML, and how much is asked."""

    steps: float = 1.0
    questions: int = 300


@dataclass(frozen=True)
class PlannedArm(Arm):
    """A run of one sense, which starts from those of the same seed."""

    sense: str
    plan: Plan
    home: Path

    def overrides_of(self, seed: int) -> list[str]:
        """Return the settings of its run with a seed."""
        found, encoder = super().overrides_of(seed), f"{self.sense}.understand.encoder"
        if self.name == TOKENIZER:
            teacher = f"{self._run(TEACHER, seed)}:{encoder}"
            return [*found, f"modalities.{self.sense}.generate.codec.teacher={json.dumps(teacher)}"]
        codec = f"{self.sense}.generate.codec"
        sources = {encoder if name == TEACHER else codec: self._run(name, seed) for name in self.plan.starts}
        return [*found, f"training.init_from={json.dumps(sources)}"]

    def _run(self, name: str, seed: int) -> str:
        """Return the folder of another run of the same sense and seed."""
        return str((self.home / name / f"seed-{seed}").resolve())


def arms_of_sense(sense: str, config: PipelineConfig, home: Path, size: Size) -> list[PlannedArm]:
    """Return what is run for a sense, in order: what the arms start from, then the arms; runs lie in `home`."""
    yaml = HOME / f"{sense}.yaml"
    return [
        PlannedArm(name, yaml, tuple(_overrides(sense, plan, config, size)), sense, plan, home)
        for name, plan in {**PREPARED, **ARMS}.items()
    ]


def _overrides(sense: str, plan: Plan, config: PipelineConfig, size: Size) -> list[str]:
    """Return what a plan changes in the YAML of its sense."""
    scores = {name: plain(config.evaluation[name], count=size.questions) for name in plan.scores}
    found = [f"training.stages={json.dumps([_stage(plan, config, size)])}", f"evaluation={json.dumps(scores)}"]
    block = f"modalities.{sense}"
    modality = config.modalities[sense]
    if plan.is_semantic and modality.understand and modality.generate:
        encoder = plain(modality.understand.encoder)
        codec = {"type": "semantic_fsq", "levels": plain(modality.generate.codec)["levels"], "encoder": encoder}
        found.append(f"{block}.generate.codec={json.dumps(codec)}")
    if plan.is_shared:
        features = {"type": "codec_features", "of": f"{sense}.generate.codec"}
        found.append(f"{block}.understand.encoder={json.dumps(features)}")
    return found


def _stage(plan: Plan, config: PipelineConfig, size: Size) -> dict[str, Any]:
    """Return the one stage of a run: that of the codecs, or the half or the whole of the arms'."""
    assert config.training is not None
    codec, arm = config.training.stages
    stage: StageConfig = arm if plan.reads or plan.writes else codec
    steps = max(1, round(stage.steps * size.steps))
    changed: dict[str, Any] = {"steps": steps, "warmup": min(stage.warmup, steps)}
    if plan.reads != plan.writes:
        mine = READ_ROWS if plan.reads else WRITE_ROWS
        rows = {name: ratio if name in mine else 0 for name, ratio in stage.mix.items()}
        share = sum(rows.values()) / sum(stage.mix.values())
        changed |= {"mix": rows, "batch": round(stage.batch * share), "train": READING if plan.reads else WRITING}
    if not plan.reads:
        changed["rates"] = {}
    return plain(stage.model_copy(update=changed))


def plain(settings: Any, **changed: Any) -> dict[str, Any]:
    """Return settings as what a YAML would say, with some changed."""
    return {**settings.model_dump(mode="json", exclude_unset=True), **changed}
