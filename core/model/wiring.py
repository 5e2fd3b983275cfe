"""Whether the parts of a pipeline fit, and how large they are: built on the meta device, without weights or network."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import nn

from polyjanus.core import hf
from polyjanus.core.assembling import build_tokenizer
from polyjanus.core.config.reading import Loaded
from polyjanus.core.config.schema import PipelineConfig, StageConfig, TrainingConfig
from polyjanus.core.errors import WiringError
from polyjanus.core.model.building import Parts, add_marks, build_parts
from polyjanus.core.model.lora import find_layers
from polyjanus.core.model.memory import FLOAT32, Costs, StageMemory
from polyjanus.core.modules import Adaptor, Backbone, Codec, Encoder, Prepared
from polyjanus.core.registry import Registries
from polyjanus.core.sequence.spans import Vocabulary
from polyjanus.core.sequence.tokenizer import TextTokenizer
from polyjanus.core.training.globs import chosen

DEVICES = (2, 4, 8, 16, 32, 64)
"""Numbers of devices that are tried where nothing fits on those that there are."""


@dataclass
class Wiring:
    """The parts on the meta device, and what does not fit."""

    pipeline: PipelineConfig
    parts: Parts = field(default_factory=Parts)
    faults: list[WiringError] = field(default_factory=list[WiringError])

    def parameters(self) -> dict[str, int]:
        """Return the number of parameters of each component; a tensor that two share counts for the first."""
        seen: set[int] = set()
        counts: dict[str, int] = {}
        for path, module in self.parts.modules.items():
            new = [parameter for parameter in module.parameters() if id(parameter) not in seen]
            seen.update(map(id, new))
            counts[path] = sum(parameter.numel() for parameter in new)
        return counts

    def cache_bytes_per_position(self) -> int:
        """Return the bytes of keys and values that one position of one row takes, in float32."""
        backbone = cast(Backbone, self.parts.modules["backbone"])
        return 2 * backbone.num_layers * backbone.kv_width * FLOAT32

    def positions(self) -> dict[str, int]:
        """Return how many positions one item of each pathway takes; an example stands for what is understood."""
        found: dict[str, int] = {}
        for name, modality in self.pipeline.modalities.items():
            if modality.understand and (prepared := self._examples().get(f"{name}.understand.encoder")) is not None:
                encoder = cast(Encoder, self.parts.modules[f"{name}.understand.encoder"])
                adaptor = cast(Adaptor, self.parts.modules[f"{name}.understand.adaptor"])
                found[f"{name}.understand"] = adaptor.num_tokens(*encoder.num_tokens(prepared))[0]
            if modality.generate:
                codec = cast(Codec, self.parts.modules[f"{name}.generate.codec"])
                found[f"{name}.generate"] = self.parts.layouts[name].num_steps(codec.max_codes)
        return found

    def _examples(self) -> dict[str, Prepared]:
        """Return the tensors of an example for each encoder whose modality has one."""
        found: dict[str, Prepared] = {}
        for path, module in self.parts.modules.items():
            if isinstance(module, Encoder):
                with suppress(NotImplementedError):
                    found[path] = module.prepare(self.parts.modalities[path.partition(".")[0]].example())
        return found

    def costs(self, devices: int = 1) -> Costs:
        """Return what the parts cost in training on one of some devices."""
        parts = self.parts
        return Costs(parts.modules, parts.layouts, self.parameters(), self.positions(), self._examples(), devices)

    def stages(self, devices: int = 1) -> list[StageMemory]:
        """Return what each training stage holds on one of some devices."""
        training = self.pipeline.training
        if training is None:
            return []
        costs = self.costs(devices)
        return [costs.stage(stage, training) for stage in training.stages]

    def left_fresh(self) -> list[str]:
        """Return the components whose weights are drawn and then never trained, where there is a curriculum."""
        training = self.pipeline.training
        if training is None or self.pipeline.pretrained:
            return []
        trained = {path for stage in self.stages() for path in stage.trained}
        started = tuple(f"{path}." for path in training.init_from)
        owned = self.parts.settings
        return [
            path
            for path, count in self.parameters().items()
            if count and path not in trained and not f"{path}.".startswith(started or ("/",))
            if not getattr(owned.get(path), "pretrained", None) and not path.startswith("text.")
        ]

    def memory_report(self, limit: int | None = None, devices: int = 1) -> str:
        """Return one line per stage: what each of the devices holds, and whether it fits in `limit` bytes."""
        lines: list[str] = []
        for stage in self.stages(devices):
            fits = "" if limit is None else (" · fits" if stage.total <= limit else f" · OVER {human(limit)}")
            gathered = f" + gathered {human(stage.gathered)}" if stage.gathered else ""
            rows = f"{stage.rows} rows of some {stage.positions // stage.rows} positions"
            lines.append(
                f"  {stage.name}: {human(stage.total)} = weights {human(stage.weights)} + gradients"
                f" {human(stage.gradients)} + optimiser {human(stage.optimizer)} + activations"
                f" {human(stage.activations)}{gathered} ({rows}){fits}"
            )
            if limit is not None and stage.total > limit:
                lines.append(f"    {self._remedy(stage.name, limit, devices)}")
        weights = sum(self.parameters().values()) * FLOAT32
        per_position = self.cache_bytes_per_position()
        lines.append(f"  inference: weights {human(weights)}, cache {human(per_position)} per position and row")
        lines += [f"  note: {path} is neither pretrained nor trained by any stage" for path in self.left_fresh()]
        return "\n".join(lines)

    def _remedy(self, name: str, limit: int, devices: int) -> str:
        """Return what would make a stage fit."""
        training = cast(TrainingConfig, self.pipeline.training)
        index = [stage.name for stage in training.stages].index(name)
        tries = [devices, *(count for count in DEVICES if count > devices)]
        found = ((count, self.costs(count).advice(training.stages[index], training, limit)) for count in tries)
        count, settings = next((each for each in found if each[1] is not None), (devices, None))
        if settings is None:
            return "no setting makes it fit: take a smaller backbone or larger devices (docs/scaling.md)"
        of_stage = StageConfig.model_fields
        homes = [f"stages.{index}." if each.partition("=")[0] in of_stage else "" for each in settings]
        where = "it fits" if count == devices else f"no setting makes it fit on so few: on {count} devices it fits"
        return f"{where} with " + " ".join(
            shlex.quote(f"training.{h}{s}") for h, s in zip(homes, settings, strict=True)
        )


def check_wiring(loaded: Loaded, registries: Registries, folder: Path | None = None) -> Wiring:
    """Build the parts on the meta device; faults name the component paths that do not fit each other.

    Relative paths start at `folder`, else at that of the file.
    """
    folder = folder or Path(loaded.document.file).absolute().parent
    wiring = Wiring(loaded.config)
    with hf.offline():
        tokens = _count_tokens(loaded.config, folder, registries, wiring.faults)
        if tokens is None:
            return wiring
        with torch.device("meta"):
            wiring.parts = build_parts(
                loaded.config, folder, tokens=len(tokens), registries=registries, faults=wiring.faults
            )
            if "backbone" in wiring.parts.modules:
                generated = loaded.config.generated()
                add_marks(wiring.parts, Vocabulary.of(tokens, wiring.parts.vocab_size, generated))
    if not wiring.faults:
        wiring.faults += [
            *_untrained_stages(loaded.config, wiring.parts.modules),
            *_useless_updates(loaded.config, wiring.parts.modules),
        ]
    return wiring


def _count_tokens(
    config: PipelineConfig, folder: Path, registries: Registries, faults: list[WiringError]
) -> TextTokenizer | None:
    try:
        return build_tokenizer(config, folder, registries)
    except WiringError as error:
        faults.append(error)
    except (OSError, ValueError) as error:
        faults.append(
            WiringError(
                f"the tokenizer cannot be read without a network: {str(error).splitlines()[0]}",
                paths=["text.tokenizer"],
                hint="fetch it once, or name a folder",
            )
        )
    return None


def _untrained_stages(config: PipelineConfig, modules: Mapping[str, nn.Module]) -> list[WiringError]:
    """Return a fault for each stage that selects only components without parameters."""
    faults: list[WiringError] = []
    for index, stage in enumerate(config.training.stages if config.training else ()):
        paths = chosen(stage.train, list(modules))
        if not any(True for path in paths for _ in modules[path].parameters()):
            faults.append(
                WiringError(
                    f"stage {stage.name!r} has nothing to train: {', '.join(stage.train)} have no parameters",
                    paths=[f"training.stages.{index}.train"],
                )
            )
    return faults


def _useless_updates(config: PipelineConfig, modules: Mapping[str, nn.Module]) -> list[WiringError]:
    """Return a fault for low-rank updates that match nothing, or that no stage trains."""
    training = config.training
    if training is None:
        return []
    try:
        found = find_layers(modules, training.lora)
    except WiringError as error:
        return [error]
    trained = {path for stage in training.stages for path in chosen(stage.train, list(modules))}
    return [
        WiringError(f"{path} has low-rank updates, but no stage trains it", paths=["training.lora"])
        for path in found
        if path not in trained
    ]


def human(count: float) -> str:
    """Return bytes as a person reads them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
