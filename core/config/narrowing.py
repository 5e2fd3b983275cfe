"""A pipeline cut down to what a run needs, so that nothing else is built or read."""

from __future__ import annotations

from collections.abc import Collection

from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.settings import GenerateConfig, UnderstandConfig


def narrow(
    config: PipelineConfig, inputs: Collection[str] | None = None, outputs: Collection[str] | None = None
) -> PipelineConfig:
    """Return a pipeline that understands `inputs` and writes `outputs`; None leaves a side whole.

    A pathway stays where a part of another that stays is shared with it (`of:`).
    """
    kept = {
        f"{name}.{pathway}"
        for name, modality in config.modalities.items()
        for pathway, block, wanted in (
            ("understand", modality.understand, inputs),
            ("generate", modality.generate, outputs),
        )
        if block is not None and (wanted is None or name in wanted)
    }
    shared = _shared(config)
    while more := {shared[path] for path in kept if path in shared} - kept:
        kept |= more
    modalities = {
        name: modality.model_copy(
            update={
                "understand": modality.understand if f"{name}.understand" in kept else None,
                "generate": modality.generate if f"{name}.generate" in kept else None,
            }
        )
        for name, modality in config.modalities.items()
    }
    return config.model_copy(update={"modalities": modalities})


def _shared(config: PipelineConfig) -> dict[str, str]:
    """Return, by pathway, the other pathway of which it uses a part."""
    found: dict[str, str] = {}
    for name, modality in config.modalities.items():
        blocks: dict[str, UnderstandConfig | GenerateConfig | None] = {
            "understand": modality.understand,
            "generate": modality.generate,
        }
        for pathway, block in blocks.items():
            for part in (getattr(block, field) for field in type(block).model_fields) if block else ():
                target = getattr(part, "of", None)
                if isinstance(target, str):
                    found[f"{name}.{pathway}"] = target.rpartition(".")[0]
    return found
