"""From settings to parts: every component of a pipeline built in order, each told what it must fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from polyjanus.core.checkpoints.assigning import assign_tensors, attach
from polyjanus.core.checkpoints.borrowing import LANGUAGE, Borrowed, borrow
from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.errors import CheckpointError, PolyjanusError, WiringError
from polyjanus.core.importing import ImportsKeepValues
from polyjanus.core.modality import Modality
from polyjanus.core.model.fitting import check_fits, check_installed, check_lengths, last_line, missing_package
from polyjanus.core.modules import Adaptor, Backbone, Codec, CodeEmbedding, Layout, Sampler
from polyjanus.core.registry import Registries, home_of
from polyjanus.core.sequence.spans import Vocabulary
from polyjanus.core.settings import BuildContext, ComponentConfig, GenerateConfig, ModalityConfig, UnderstandConfig


@dataclass(frozen=True)
class LanguageModel:
    """What a backbone's settings build: the transformer, the text embedding and the text head."""

    backbone: Backbone
    embedding: nn.Module
    head: nn.Module
    vocab_size: int


class Marks(nn.Module):
    """Embedding rows and logits of the marks that the tokenizer lacks; the backbone's matrices are never resized."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(count, width)
        self.head = nn.Linear(width, count, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw small rows, as a language model's own are."""
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)


@dataclass
class Parts:
    """All parts of one pipeline: modules by component path, and what is no module."""

    modules: dict[str, nn.Module] = field(default_factory=dict[str, nn.Module])
    modalities: dict[str, Modality[Any, Any]] = field(default_factory=dict[str, Modality[Any, Any]])
    layouts: dict[str, Layout] = field(default_factory=dict[str, Layout])
    samplers: dict[str, Sampler] = field(default_factory=dict[str, Sampler])
    settings: dict[str, ComponentConfig] = field(default_factory=dict[str, ComponentConfig])
    resolved: dict[str, ComponentConfig] = field(default_factory=dict[str, ComponentConfig])
    contexts: dict[str, BuildContext] = field(default_factory=dict[str, BuildContext])
    borrowed: dict[str, Borrowed] = field(default_factory=dict[str, Borrowed])
    vocab_size: int = 0
    d_model: int = 0

    def load_pretrained(self) -> None:
        """Fill every component whose settings name pretrained weights."""
        for path, settings in self.settings.items():
            if path in self.borrowed:
                self._load_borrowed(path)
            elif path in self.modules:
                component = self.language_model() if path == "backbone" else self.modules[path]
                settings.load(component, self.contexts[path])

    def _load_borrowed(self, path: str) -> None:
        """Fill a component with the tensors of another checkpoint's."""
        own = [name for name in LANGUAGE if name in self.modules] if path == "backbone" else [path]
        home = nn.Module()
        attach(home, {name: self.modules[name] for name in own})
        tensors = self.borrowed[path].tensors(path)
        report = assign_tensors(home, tensors, device=torch.device("cpu"), dtype=torch.float32)
        if report.fresh or report.unexpected:
            odd = [*report.fresh, *report.unexpected][0]
            raise CheckpointError(
                f"does not fill {path}: {report}, {odd} for one", where=str(self.borrowed[path].folder)
            )

    def resolved_pipeline(self, pipeline: PipelineConfig) -> dict[str, Any]:
        """Return the pipeline as plain data in which no component needs anything outside."""
        dump = pipeline.model_dump(mode="json", serialize_as_any=True)
        if pipeline.pretrained:
            dump |= {"pretrained": None, "initialised_from": pipeline.pretrained}
        for path, settings in self.resolved.items():
            *parents, last = path.split(".") if path == "backbone" else f"modalities.{path}".split(".")
            block = dump
            for name in parents:
                block = block[name]
            block[last] = settings.model_dump(mode="json", serialize_as_any=True)
        return dump

    def language_model(self) -> LanguageModel:
        """Return the backbone with its text embedding and head."""
        modules = self.modules
        backbone = cast(Backbone, modules["backbone"])
        return LanguageModel(backbone, modules["text.embedding"], modules["text.head"], self.vocab_size)


def build_parts(
    pipeline: PipelineConfig,
    folder: Path,
    *,
    tokens: int = 0,
    registries: Registries | None = None,
    faults: list[WiringError] | None = None,
) -> Parts:
    """Build every component with fresh weights for a tokenizer of so many `tokens`.

    With `registries`, a component may come out of a checkpoint in any format that they know. A WiringError names the
    component paths that do not fit; with `faults`, each pathway that does not is noted there and left out.
    """
    builder = _Builder(Parts(), folder, registries)
    steps: list[Callable[[], None]] = [partial(builder.language, pipeline, tokens)]
    steps += [partial(builder.modality, name, modality) for name, modality in pipeline.modalities.items()]
    for name, modality in pipeline.modalities.items():
        if modality.generate:
            steps.append(partial(builder.generation, name, modality.generate))
    for name, modality in pipeline.modalities.items():
        if modality.understand:
            steps.append(partial(builder.understanding, name, modality.understand))
    for step in steps:
        try:
            with ImportsKeepValues():
                step()
        except WiringError as error:
            if faults is None:
                raise
            faults.append(error)
            if "backbone" not in builder.parts.modules:
                break
    return builder.parts


def add_marks(parts: Parts, vocabulary: Vocabulary) -> None:
    """Add the component `marks` where the tokenizer lacks any."""
    if vocabulary.num_marks:
        parts.modules["marks"] = Marks(vocabulary.num_marks, parts.d_model)


class _Builder:
    def __init__(self, parts: Parts, folder: Path, registries: Registries | None) -> None:
        self.parts = parts
        self.folder = folder
        self.registries = registries

    def context(self, path: str, **known: Any) -> BuildContext:
        """Return the surroundings of the component at `path`."""
        modality = self.parts.modalities.get(path.split(".")[0])
        return BuildContext(
            path=path,
            d_model=self.parts.d_model,
            modality=modality,
            parts=self.parts.modules,
            folder=self.folder,
            **known,
        )

    def component(self, settings: ComponentConfig, context: BuildContext) -> Any:
        """Build one component; an error of a plugin names the component."""
        check_fits(settings, context)
        check_installed(settings, context)
        try:
            borrowed = borrow(settings, context, self.registries) if self.registries else None
            resolved = borrowed.settings.resolve(context) if borrowed else settings.resolve(context)
            built = resolved.build(context)
        except PolyjanusError:
            raise
        except ImportError as error:
            raise missing_package(settings, context, error) from error
        except Exception as error:
            place = home_of(type(settings))
            raise WiringError(
                f"{settings.kind} {settings.type!r} could not be built: {last_line(error)}",
                paths=[context.path],
                hint=f"built by {place}",
            ) from error
        self.parts.settings[context.path] = settings
        self.parts.resolved[context.path] = resolved
        if borrowed:
            self.parts.borrowed[context.path] = borrowed
        self.parts.contexts[context.path] = context
        if isinstance(built, nn.Module):
            self.parts.modules[context.path] = built
        return built

    def language(self, pipeline: PipelineConfig, tokens: int) -> None:
        """Build backbone, text embedding, text head and the text sampler."""
        model: LanguageModel = self.component(pipeline.backbone, self.context("backbone", vocab_size=tokens))
        if model.vocab_size < tokens:
            raise WiringError(
                f"the tokenizer has {tokens} ids but the backbone only {model.vocab_size} text embeddings",
                paths=["backbone", "text.tokenizer"],
            )
        self.parts.d_model = model.backbone.width
        self.parts.vocab_size = model.vocab_size
        self.parts.modules |= {
            "backbone": model.backbone,
            "text.embedding": model.embedding,
            "text.head": model.head,
        }
        self.parts.samplers["text"] = pipeline.text.sampler.build(self.context("text.sampler"))

    def modality(self, name: str, settings: ModalityConfig) -> None:
        """Build what loads and saves one modality."""
        context = replace(self.context(name), path=name)
        self.parts.modalities[name] = settings.build(context)

    def generation(self, name: str, settings: GenerateConfig) -> None:
        """Build codec, layout, embedding, adaptor, head and sampler of one modality."""
        prefix = f"{name}.generate"
        codec: Codec = self.component(settings.codec, self.context(f"{prefix}.codec"))
        layout: Layout = self.component(
            settings.layout,
            self.context(
                f"{prefix}.layout",
                cardinality=codec.cardinality,
                num_codebooks=codec.num_codebooks,
                max_codes=codec.max_codes,
                min_codes=codec.min_codes,
            ),
        )
        check_lengths(settings, codec, layout, prefix)
        self.parts.layouts[name] = layout
        embedding = CodeEmbedding(layout.cardinality, layout.width, settings.embedding.width)
        self.parts.modules[f"{prefix}.embedding"] = embedding
        adaptor: Adaptor = self.component(
            settings.adaptor,
            self.context(f"{prefix}.adaptor", width_in=embedding.width, width_out=self.parts.d_model),
        )
        if any(adaptor.num_tokens(n, None)[0] != n for n in (1, layout.max_steps)):
            raise WiringError(
                f"adaptor {settings.adaptor.type!r} changes how many positions there are; one frame is one position",
                paths=[f"{prefix}.adaptor"],
                hint="use an adaptor that keeps the number, such as 'linear' or 'mlp'",
            )
        self.component(
            settings.head,
            self.context(f"{prefix}.head", cardinality=layout.cardinality, num_codebooks=layout.width),
        )
        self.parts.samplers[name] = self.component(settings.sampler, self.context(f"{prefix}.sampler"))

    def understanding(self, name: str, settings: UnderstandConfig) -> None:
        """Build encoder and adaptor of one modality."""
        prefix = f"{name}.understand"
        encoder = self.component(settings.encoder, self.context(f"{prefix}.encoder"))
        self.component(
            settings.adaptor,
            self.context(f"{prefix}.adaptor", width_in=encoder.width, width_out=self.parts.d_model),
        )
