"""The model's config.json: the resolved pipeline and the ids of its marks, enough to build it again offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polyjanus.core import hf
from polyjanus.core.config.schema import LoraConfig, PipelineConfig
from polyjanus.core.manager import load_plugins
from polyjanus.core.model.building import Parts, add_marks, build_parts
from polyjanus.core.registry import Registries
from polyjanus.core.sequence.spans import Vocabulary


class UnifiedConfig(hf.PreTrainedConfig):
    """Config of `UnifiedModel`: the resolved pipeline as plain data, and its vocabulary."""

    model_type = "polyjanus"
    keys_to_ignore_at_inference = ["sums"]  # noqa: RUF012

    pipeline: dict[str, Any] | None = None
    vocabulary: dict[str, Any] | None = None

    @classmethod
    def of(cls, pipeline: dict[str, Any], vocabulary: Vocabulary) -> UnifiedConfig:
        """Return the config of a resolved pipeline."""
        table = {"size": vocabulary.size, "begins": dict(vocabulary.begins), "ends": dict(vocabulary.ends)}
        return cls(pipeline=pipeline, vocabulary=table)

    def vocabulary_of(self) -> Vocabulary:
        """Return the ids of the text head."""
        table = self.vocabulary or {"size": 0, "begins": {}, "ends": {}}
        return Vocabulary(table["size"], table["begins"], table["ends"])

    def pipeline_of(self, registries: Registries | None = None) -> PipelineConfig:
        """Return the validated pipeline; installed plugins are loaded where no registries are given."""
        registries = registries or load_plugins().registries
        return PipelineConfig.model_validate(self.pipeline, context={"registries": registries, "is_saved": True})

    def loss_weights(self) -> dict[str, float]:
        """Return the factor of each head's loss."""
        pipeline = self.pipeline or {"text": {}, "modalities": {}}
        weights = {"text": float(pipeline["text"].get("loss_weight", 1.0))}
        for name, modality in pipeline["modalities"].items():
            if modality.get("generate"):
                weights[f"{name}.generate"] = float(modality["generate"].get("loss_weight", 1.0))
        return weights

    def lora(self) -> dict[str, LoraConfig]:
        """Return the low-rank updates by glob of component paths."""
        training: dict[str, Any] = (self.pipeline or {}).get("training") or {}
        blocks: dict[str, Any] = training.get("lora") or {}
        return {glob: LoraConfig.model_validate(block) for glob, block in blocks.items()}

    def assemble(self, registries: Registries | None = None) -> Parts:
        """Build the parts anew, marks included."""
        parts = build_parts(self.pipeline_of(registries), Path())
        add_marks(parts, self.vocabulary_of())
        return parts
