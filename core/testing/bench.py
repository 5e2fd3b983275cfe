"""Components under test: each in a small pipeline around it, built once, from the settings that an author gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from inspect import getsourcefile
from pathlib import Path
from typing import Any, cast

import torch

from polyjanus.core.config.json_schema import json_schema
from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.errors import WiringError, suggest
from polyjanus.core.importing import ImportsKeepValues
from polyjanus.core.manager import Plugins
from polyjanus.core.modality import Modality
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.registry import Entry
from polyjanus.core.settings import BuildContext, ComponentConfig

BUILT = ("modality", "encoder", "codec", "adaptor", "layout", "head", "sampler")
"""Kinds that are built and tried with a small pipeline around them; the others are tried alone, if at all."""
ALONE = ("backbone", "tokenizer", "template", "source", "metric", "format")
PLUGIN = "plugin"
"""The kind under which checks of a plugin as a whole stand."""
NAME = "x"
"""What the modality of every small pipeline is called."""
SMALL: dict[str, Any] = {
    "polyjanus": 1,
    "backbone": {
        "type": "causal_lm",
        "architecture": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 4096,
        },
    },
    "template": {"type": "janus", "user": "User", "assistant": "Assistant"},
    "text": {"tokenizer": "bytes"},
}
SIMPLE = {"adaptor": "linear", "layout": "grid", "head": "linear", "sampler": "guided"}
"""What stands around a component where it does not stand itself."""
PATHS = {
    "encoder": f"{NAME}.understand.encoder",
    "adaptor": f"{NAME}.understand.adaptor",
    "codec": f"{NAME}.generate.codec",
    "head": f"{NAME}.generate.head",
}


class Bench:
    """What the components under test share: the plugins, the settings given, and the pipelines built so far."""

    def __init__(self, plugins: Plugins, settings: Mapping[str, Any] | None = None) -> None:
        self.plugins = plugins
        self.registries = plugins.registries
        self.given = dict(settings or {})
        self._pipelines: dict[tuple[str, str], Pipeline | Exception] = {}

    def is_given(self, kind: str, name: str) -> bool:
        """Tell whether settings were given for a component: by kind and name, or by name alone."""
        return name in self._of_kind(kind) or name in self.given

    def block(self, kind: str, name: str) -> dict[str, Any]:
        """Return the small settings of a component: its own `example_settings`, then what was given."""
        own: Mapping[str, Any] = self.registries.of(kind).get(name).example_settings
        given: Any = self._of_kind(kind).get(name, self.given.get(name) or {})
        return {"type": name, **own, **cast("dict[str, Any]", given)}

    def _of_kind(self, kind: str) -> dict[str, Any]:
        return cast("dict[str, Any]", self.given.get(kind) or {}) if kind in (*BUILT, *ALONE) else {}

    def settings(self, kind: str, name: str) -> ComponentConfig:
        """Return the validated settings of a component."""
        return self.registries.of(kind).get(name).model_validate(self.block(kind, name), context=self.context)

    @property
    def context(self) -> dict[str, Any]:
        """Return what settings are validated with."""
        return {"registries": self.registries}

    @cached_property
    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of all that is installed."""
        return json_schema(self.registries)

    def pipeline(self, kind: str, name: str) -> Pipeline:
        """Return the small pipeline around a component, built once; raises what building it raised."""
        key = (kind, name)
        if key not in self._pipelines:
            try:
                self._pipelines[key] = self.build(kind, name)
            except Exception as error:
                self._pipelines[key] = error
        built = self._pipelines[key]
        if isinstance(built, Exception):
            raise built
        return built

    def build(self, kind: str, name: str) -> Pipeline:
        """Return a small pipeline around a component, built anew."""
        candidates = list(self._modalities(kind, name))
        wanted = self.registries.of(kind).get(name).modality_types
        fault: Exception | None = None
        for modality in candidates:
            for has_others in (True, False):  # a component is not blamed for what its neighbours do
                try:
                    return self._around(kind, name, modality, has_others=has_others)
                except Exception as error:
                    fault = fault or error
            if wanted:
                break
        raise fault or self._untriable(kind, name, wanted)

    def _untriable(self, kind: str, name: str, wanted: Iterable[str]) -> WiringError:
        """Return why no modality is there that a component can be tried on: misspelled, or without settings."""
        known = {
            family for entry in self.registries.modalities for family in self._families(entry.settings.type_name())
        }
        message = f"no modality is installed that {kind} {name!r} can be tried on"
        for each in wanted:
            if each not in known:
                return WiringError(f"{message}: its `modality_types` name {each!r}{suggest(each, known)}")
        hint = "name the types that it works with in `modality_types`, and give their settings if they need any"
        return WiringError(message, hint=hint)

    def _around(self, kind: str, name: str, modality: str, *, has_others: bool) -> Pipeline:
        block = self._modality_block(kind, name, modality, has_others=has_others)
        tree = {**SMALL, "modalities": {NAME: block}}
        config = PipelineConfig.model_validate(tree, context=self.context)
        pipeline = Pipeline.from_config(config, Path.cwd(), plugins=self.plugins, device="cpu")
        if kind in ("encoder", "codec") and not self.registries.of(kind).get(name).modality_types:
            # which media it takes, it does not say
            cast(Any, pipeline.model.part(PATHS[kind])).prepare(pipeline.compiler.modalities[NAME].example())
        return pipeline

    def _modality_block(self, kind: str, name: str, modality: str, *, has_others: bool) -> dict[str, Any]:
        """Return the block of a modality with the component in its place, and what it needs around it."""
        parts: dict[str, Any] = {**SIMPLE, kind: self.block(kind, name)}
        home = self.registries.of(kind).entry(name).origin
        needs = {"adaptor": "encoder", "layout": "codec", "head": "codec", "sampler": "codec"}.get(kind)
        for companion in ("encoder", "codec"):
            if companion not in parts and (has_others or companion == needs):
                found = self._companion(companion, modality, home, is_needed=companion == needs)
                if found is not None:
                    parts[companion] = found
        block = self.block("modality", modality)
        if "encoder" in parts:
            block["understand"] = {part: parts[part] for part in ("encoder", "adaptor")}
        if "codec" in parts:
            block["generate"] = {part: parts[part] for part in ("codec", "layout", "head", "sampler")}
            block["generate"] |= {"embedding": {"width": 32}, "adaptor": {"type": "linear"}}
            if kind != "layout" and self._varies(parts["codec"], modality):
                block["generate"]["layout"] = "ended"
        return block

    def _varies(self, codec: dict[str, Any], modality: str) -> bool:
        """Tell whether the items of a codec differ in how many codes they have."""
        try:
            settings = self.registries.codecs.get(codec["type"]).model_validate(codec, context=self.context)
            built = self.settings("modality", modality).build(BuildContext(path=NAME))
            context = BuildContext(path=PATHS["codec"], modality=built)
            with torch.device("meta"), ImportsKeepValues():
                made = settings.resolve(context).build(context)
        except Exception:  # building the pipeline says why
            return False
        return made.min_codes != made.max_codes

    def _companion(self, kind: str, modality: str, home: Any, *, is_needed: bool) -> dict[str, Any] | None:
        """Return the settings of an encoder or codec for a modality, the plugin's own before others."""
        entries = [entry for entry in self._fitting(kind, modality) if "of" not in entry.settings.model_fields]
        entries.sort(key=lambda entry: (entry.origin != home, "architecture" in entry.settings.model_fields))
        for entry in entries:
            name = entry.settings.type_name()
            is_chosen = entry.origin == home or self.is_given(kind, name)
            if entry.is_available and (is_chosen or is_needed) and self._validates(kind, name):
                return self.block(kind, name)
        return None

    def _fitting(self, kind: str, modality: str) -> Iterator[Entry[ComponentConfig]]:
        known = self._families(modality)
        for entry in self.registries.of(kind):
            if not entry.settings.modality_types or known & set(entry.settings.modality_types):
                yield entry

    def _families(self, modality: str) -> set[str]:
        return {modality, *self.registries.modalities.get(modality).behaves_like}

    def _validates(self, kind: str, name: str) -> bool:
        try:
            self.settings(kind, name)
        except ValueError:
            return False
        return True

    def _modalities(self, kind: str, name: str) -> Iterator[str]:
        """Yield the modalities that a component can be tried on, those of its own plugin first."""
        entry = self.registries.of(kind).entry(name)
        wanted = set(entry.settings.modality_types)
        entries = sorted(self.registries.modalities, key=lambda each: each.origin != entry.origin)
        for each in entries:
            modality = each.settings.type_name()
            if kind == "modality" and modality != name or wanted and not wanted & self._families(modality):
                continue
            if not self._validates("modality", modality):
                continue
            needs = {"adaptor": "encoder", "layout": "codec", "head": "codec", "sampler": "codec"}.get(kind)
            if needs is None or self._companion(needs, modality, entry.origin, is_needed=True):
                yield modality


class Subject:
    """One component under test, with what stands around it; all of it is made when first asked for."""

    def __init__(self, bench: Bench, kind: str, name: str, origin: str = "") -> None:
        self.bench, self.kind, self.name = bench, kind, name
        self.origin = origin
        """For a plugin as a whole: the file, or the module, that is loaded."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def entry(self) -> Entry[ComponentConfig]:
        """Return the registry's entry."""
        return self.bench.registries.of(self.kind).entry(self.name)

    @property
    def home(self) -> Path:
        """Return the file of a one-file plugin, or the folder of a package, that the component comes from."""
        file = Path(getsourcefile(self.entry.settings) or "?")
        return file.parent if file.name == "__init__.py" or "." in self.entry.settings.__module__ else file

    @cached_property
    def settings(self) -> ComponentConfig:
        """Return the settings."""
        return self.bench.settings(self.kind, self.name)

    @property
    def pipeline(self) -> Any:
        """Return the small pipeline around the component."""
        return self.bench.pipeline(self.kind, self.name)

    @cached_property
    def modality(self) -> Modality[Any, Any]:
        """Return the modality: the component itself, or the one that it stands in."""
        if self.kind == "modality":
            return cast("Modality[Any, Any]", self.settings.build(BuildContext(path=self.name)))
        return self.pipeline.compiler.modalities[NAME]

    @property
    def component(self) -> Any:
        """Return what is under test."""
        match self.kind:
            case "modality":
                return self.modality
            case "layout":
                return self.pipeline.parts.layouts[NAME]
            case "sampler":
                return self.pipeline.parts.samplers[NAME]
            case _:
                return self.pipeline.model.part(PATHS[self.kind])

    def part(self) -> dict[str, Any]:
        """Return a content part that holds the example of the modality."""
        return {"type": NAME, self.modality.keys[0]: self.modality.example()}
