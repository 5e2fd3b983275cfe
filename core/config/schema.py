"""The pipeline as settings: everything that one YAML file may say."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from polyjanus.core.settings import (
    BackboneBlock,
    MetricBlock,
    ModalityBlock,
    SamplerBlock,
    Settings,
    SourceBlock,
    Strings,
    TemplateBlock,
    TokenizerBlock,
)

RESERVED_NAMES = frozenset({"text", "backbone", "marks", "config", "device", "dtype", "training", "generation_config"})
"""Names that no modality may have: component paths and attributes of the model."""


class TextConfig(Settings):
    """Text, the spine of every pipeline: its tokenizer and how it is sampled."""

    tokenizer: TokenizerBlock = Field(default={"type": "auto"}, validate_default=True)  # type: ignore[assignment]
    sampler: SamplerBlock = Field(default={"type": "nucleus"}, validate_default=True)  # type: ignore[assignment]
    loss_weight: float = Field(default=1.0, ge=0, description="factor of the text head's loss")


class ValidationConfig(Settings):
    """When held-out rows are scored, and which score says that a model is the best so far."""

    every: int = Field(default=500, gt=0, description="steps")
    rows: int = Field(default=256, gt=0, description="rows per data set, at most")
    best: str | None = Field(
        default=None, description="`data set.loss`; the lowest mean over all data sets when absent"
    )


class SaveConfig(Settings):
    """When checkpoints are written and how many stay."""

    every: int = Field(default=1000, gt=0, description="steps")
    keep: int = Field(default=2, gt=0, description="newest checkpoints kept, besides the best")


class BadRowsConfig(Settings):
    """How many rows of a data set may be unusable before a run stops; each is listed, and another taken instead."""

    rate: float = Field(default=0.001, ge=0, lt=1, description="share of a data set's rows; 0 stops at the first one")
    minimum: int = Field(
        default=3, ge=0, description="rows that are put up with even in a small data set; not if rate is 0"
    )

    def allowed(self, rows: int) -> int:
        """Return how many of so many rows may be bad."""
        return max(self.minimum, int(self.rate * rows)) if self.rate else 0


class StageConfig(Settings):
    """One step of the curriculum: what is trained, on which mix of data, for how long."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    objective: Literal["next", "reconstruct"] = Field(
        default="next",
        description="'next' predicts the next token or frame; 'reconstruct' trains codecs on their own media",
    )
    train: Strings = Field(min_length=1, description="globs of component paths; all others are frozen")
    mix: dict[str, Annotated[float, Field(ge=0)]] = Field(min_length=1, description="rows per data set, as ratios")
    steps: int = Field(gt=0, description="optimiser steps")
    batch: int = Field(gt=0, description="rows per step")
    accumulate: int = Field(default=1, gt=0, description="passes that a step is done in; less memory, equal losses")
    optimizer: Literal["adamw", "adamw8bit", "adafactor"] = Field(
        default="adamw",
        description="adamw8bit keeps its moments in a byte each (bitsandbytes), adafactor a row and a column of one",
    )
    lr: float = Field(gt=0, description="peak learning rate")
    rates: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="peak learning rates of components by glob, where not `lr`; the last one wins"
    )
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: int = Field(default=0, ge=0, description="steps over which the learning rate rises from zero")
    weight_decay: float = Field(default=0.0, ge=0)
    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.9, 0.95)
    clip: float | None = Field(default=1.0, gt=0, description="largest norm of the gradient")

    @field_validator("mix")
    @classmethod
    def _draws(cls, mix: dict[str, float]) -> dict[str, float]:
        if not any(mix.values()):
            raise PydanticCustomError("mix", "needs at least one ratio above zero")
        return mix


class NonFiniteConfig(Settings):
    """What is done where a loss or a gradient is NaN or infinite; the weights are never touched by it."""

    action: Literal["stop", "skip"] = Field(default="stop", description="'skip' leaves the step out")
    budget: int = Field(default=3, ge=0, description="steps that may be skipped in a thousand; above it the run stops")


class SampleConfig(Settings):
    """A prompt that is answered whenever held-out rows are scored; `polyjanus report` shows the answers over time."""

    prompt: str
    inputs: dict[str, str] = Field(default_factory=dict, description="files by modality, before the prompt")
    output: Strings = Field(default=("text",), min_length=1, description="what the answer may hold")
    max_tokens: int = Field(default=64, gt=0, description="text tokens, at most")


class LoraConfig(Settings):
    """Low-rank updates of a component's linear layers, trained in place of the component itself (LoRA)."""

    rank: int = Field(default=16, gt=0)
    alpha: float = Field(default=32.0, gt=0, description="the update is scaled by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    modules: Strings = Field(default=("*",), min_length=1, description="globs of linear layers, such as '*_proj'")


class TrainingConfig(Settings):
    """The curriculum and how it is run."""

    seed: int = Field(default=0, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of the arithmetic; weights are float32. auto is bfloat16 on a GPU that has it"
    )
    max_tokens: int = Field(default=4096, gt=0, description="longest packed row, in positions")
    caption_dropout: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of generated items whose context is replaced by padding, for guidance",
    )
    bad_rows: BadRowsConfig = BadRowsConfig()
    checkpoint_activations: bool = Field(
        default=False, description="compute the backbone's activations again in the backward pass: less memory, slower"
    )
    shard: bool = Field(
        default=False,
        description="keep backbone and text in shards over all processes (FSDP2), for a model that one cannot hold",
    )
    compile: bool = Field(
        default=False, description="compile the backbone's blocks (torch.compile): slow to start, then faster"
    )
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="decay of a moving average of what is trained, which is scored and saved"
    )
    lora: dict[str, LoraConfig] = Field(
        default_factory=dict, description="components by glob of which a stage trains low-rank updates alone"
    )
    nonfinite: NonFiniteConfig = NonFiniteConfig()
    validation: ValidationConfig = ValidationConfig()
    save: SaveConfig = SaveConfig()
    init_from: dict[str, str] = Field(
        default_factory=dict, description="checkpoints, runs or hub ids by part, whose tensors it starts from"
    )
    kept: str | None = Field(
        default=None,
        description="folder of what `polyjanus precompute` kept; .polyjanus/kept beside the YAML when absent",
    )
    trackers: Strings = Field(
        default=(), description="other places for the log: tensorboard, wandb and all that accelerate knows"
    )
    samples: Annotated[tuple[SampleConfig, ...], Field(strict=False)] = ()
    stages: Annotated[tuple[StageConfig, ...], Field(strict=False, min_length=1)]

    @field_validator("stages")
    @classmethod
    def _names_differ(cls, stages: tuple[StageConfig, ...]) -> tuple[StageConfig, ...]:
        names = [stage.name for stage in stages]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise PydanticCustomError("stage_names", "{text}", {"text": f"two stages are named {twice[0]!r}"})
        return stages


def _name_as_type(value: Any) -> Any:
    """Give every modality block the type that its name implies."""
    if not isinstance(value, Mapping):
        return value
    blocks = cast("Mapping[str, Any]", value)
    return {
        name: {"type": name, **cast("Mapping[str, Any]", block or {})} if isinstance(block, Mapping | None) else block
        for name, block in blocks.items()
    }


class PipelineConfig(Settings):
    """A whole pipeline: backbone, modalities, data and training."""

    polyjanus: Literal[1] = Field(description="version of this file format")
    pretrained: str | None = Field(
        default=None,
        description="checkpoint that fills each part that it has and that names no other; a ./path or a hub id",
    )
    initialised_from: str | None = Field(
        default=None, description="where the weights first came from; written by saving"
    )
    backbone: BackboneBlock
    template: TemplateBlock = Field(default={"type": "auto"}, validate_default=True)  # type: ignore[assignment]
    text: TextConfig = Field(default={}, validate_default=True)  # type: ignore[assignment]
    modalities: Annotated[dict[str, ModalityBlock], BeforeValidator(_name_as_type)] = Field(default_factory=dict)
    data: dict[str, SourceBlock] = Field(default_factory=dict)
    training: TrainingConfig | None = None
    evaluation: dict[str, MetricBlock] = Field(default_factory=dict)

    def component_paths(self) -> list[str]:
        """Return the path of every component of this pipeline, in the order of the way of the data."""
        paths = ["backbone", "text.embedding", "text.head"]
        for name, modality in self.modalities.items():
            if modality.understand:
                paths += [f"{name}.understand.{part}" for part in ("encoder", "adaptor")]
            if modality.generate:
                paths += [f"{name}.generate.{part}" for part in ("codec", "embedding", "adaptor", "head")]
        return [*paths, "marks"] if self.generated() else paths

    def generated(self) -> list[str]:
        """Return the names of the modalities that can be generated."""
        return [name for name, modality in self.modalities.items() if modality.generate]


def selects(glob: str, path: str) -> bool:
    """Tell whether a glob selects a component path: a prefix selects its subtree, `*` crosses dots."""
    return fnmatchcase(path, glob) or fnmatchcase(path, f"{glob}.*")
