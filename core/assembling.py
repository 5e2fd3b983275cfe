"""From settings to everything that a pipeline is made of: tokenizer, parts, model, template, compiler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from polyjanus.core.checkpoints.assigning import assign_tensors
from polyjanus.core.checkpoints.borrowing import LANGUAGE, borrow
from polyjanus.core.checkpoints.opening import open_checkpoint
from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.errors import CheckpointError, PolyjanusError, UsageError, WiringError
from polyjanus.core.model.building import Parts, add_marks, build_parts
from polyjanus.core.model.config import UnifiedConfig
from polyjanus.core.model.unified import UnifiedModel
from polyjanus.core.modules import Adaptor, Codec, Encoder
from polyjanus.core.registry import Registries
from polyjanus.core.sequence.spans import Compiler, Generation, Understanding, Vocabulary
from polyjanus.core.sequence.tokenizer import TextTokenizer
from polyjanus.core.settings import BuildContext, locate

STORED = "stored"
"""As a dtype: whatever the checkpoint has."""


@dataclass(frozen=True)
class Assembly:
    """What a pipeline is made of."""

    model: UnifiedModel
    compiler: Compiler
    parts: Parts


def assemble(
    config: PipelineConfig,
    folder: Path,
    registries: Registries,
    *,
    whole: PipelineConfig | None = None,
    writes_text: bool = True,
) -> Assembly:
    """Build everything with fresh weights; marks are those of the `whole` pipeline, of which `config` is a part."""
    tokenizer = build_tokenizer(config, folder, registries)
    parts = build_parts(config, folder, tokens=len(tokenizer), registries=registries)
    if not writes_text:
        del parts.modules["text.head"]
    vocabulary = Vocabulary.of(tokenizer, parts.vocab_size, (whole or config).generated())
    add_marks(parts, vocabulary)
    config = with_own_template(config, folder, registries)
    model = UnifiedModel(UnifiedConfig.of(parts.resolved_pipeline(config), vocabulary), parts)
    return Assembly(model, build_compiler(config, folder, parts, tokenizer, vocabulary), parts)


def with_own_template(config: PipelineConfig, folder: Path, registries: Registries) -> PipelineConfig:
    """Return the settings in which `template: auto` is that of the checkpoint which the language model comes from."""
    if config.template.type == "auto" and (lender := _lender(config, folder, registries)):
        return config.model_copy(update={"template": lender[0].template})
    return config


def build_compiler(
    config: PipelineConfig, folder: Path, parts: Parts, tokenizer: TextTokenizer, vocabulary: Vocabulary
) -> Compiler:
    """Return what turns messages into sequences for these parts, which may be on the meta device."""
    template = config.template.build(BuildContext(path="template", parts={"text.tokenizer": tokenizer}, folder=folder))
    return Compiler(tokenizer, template, vocabulary, parts.modalities, *_pathways(config, parts))


def build_tokenizer(config: PipelineConfig, folder: Path, registries: Registries) -> TextTokenizer:
    """Return the tokenizer; `auto` beside a pretrained pipeline or a backbone out of one is that checkpoint's."""
    settings = config.text.tokenizer
    context = BuildContext(path="text.tokenizer", parts={"backbone.settings": config.backbone}, folder=folder)
    if settings.type == "auto":
        lender = _lender(config, folder, registries)
        if lender is not None:
            settings, context = lender[0].text.tokenizer, BuildContext(path=context.path, folder=lender[1])
    return settings.build(context)


def _lender(config: PipelineConfig, folder: Path, registries: Registries) -> tuple[PipelineConfig, Path] | None:
    """Return pipeline and folder of the checkpoint that the language model comes from, if it comes from one."""
    if config.pretrained is None:
        lender = borrow(config.backbone, BuildContext(path="backbone", folder=folder), registries)
        return None if lender is None else (lender.pipeline, lender.folder)
    try:
        opened = open_checkpoint(locate(config.pretrained, folder), registries, is_verified=False)
    except PolyjanusError as error:
        raise WiringError(f"{config.pretrained!r} cannot be read: {error}", paths=["pretrained"]) from error
    return opened.config, opened.folder


def fill(assembly: Assembly, config: PipelineConfig, folder: Path, registries: Registries) -> None:
    """Load what the settings say is pretrained: single components, and what the whole pipeline starts from."""
    parts = assembly.parts
    parts.load_pretrained()
    if config.pretrained is None:
        return
    own = {path for path, settings in parts.settings.items() if getattr(settings, "pretrained", None)}
    own |= set(LANGUAGE) if "backbone" in own else set()
    opened = open_checkpoint(locate(config.pretrained, folder), registries)
    covered = tuple(f"{path}." for path in opened.config.component_paths() if path in parts.modules and path not in own)
    tensors = opened.tensors(lambda name: name.startswith(covered))
    report = assign_tensors(assembly.model, tensors, device=torch.device("cpu"), dtype=torch.float32)
    missing = [name for name in report.fresh if name.startswith(covered)]
    if missing or report.unexpected:
        odd = [*missing, *report.unexpected]
        raise CheckpointError(f"does not fill this pipeline: {odd[0]} for one of {len(odd)}", where=config.pretrained)


def _pathways(config: PipelineConfig, parts: Parts) -> tuple[dict[str, Understanding], dict[str, Generation]]:
    """Return the parts that count positions, per understood and per generated modality."""
    modules = parts.modules
    understandings = {
        name: Understanding(
            cast(Encoder, modules[f"{name}.understand.encoder"]), cast(Adaptor, modules[f"{name}.understand.adaptor"])
        )
        for name, modality in config.modalities.items()
        if modality.understand
    }
    generations = {
        name: Generation(cast(Codec, modules[f"{name}.generate.codec"]), parts.layouts[name])
        for name in config.generated()
    }
    return understandings, generations


def find_device(name: str) -> torch.device:
    """Return a device; `auto` is a GPU where there is one. One that is not here is a UsageError."""
    has_gpu = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if has_gpu else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device {name!r}", hint="use auto, cpu, cuda or cuda:1") from error
    count = torch.cuda.device_count() if has_gpu else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        found = f"{count} GPUs" if count else "no GPU"
        raise UsageError(f"no device {name!r}: torch finds {found} here", hint="use auto or cpu")
    return device


def compute_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype to compute in; `auto` is bfloat16 only on a GPU that multiplies it natively."""
    if name == "auto":
        is_native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if is_native else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise UsageError(f"no dtype {name!r}; there are auto, {', '.join(known)} and {STORED}")
    return known[name]
