"""A pipeline file, checked: its settings, or every fault in it at once."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from polyjanus.core.config.document import Document, try_document
from polyjanus.core.config.references import reference_faults
from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.config.wording import HIDDEN, empty_unknown, faults_of
from polyjanus.core.errors import ConfigError, Fault, PolyjanusWarning, UsageError
from polyjanus.core.registry import Registries
from polyjanus.core.settings import SamplerBlock, SamplerConfig

SHORTEST_SECRET = 4


@dataclass(frozen=True)
class Loaded:
    """A validated pipeline, and the document that it was read from."""

    config: PipelineConfig
    document: Document


def read_pipeline(
    path: Path | str,
    registries: Registries,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    *,
    is_saved: bool = False,
) -> Loaded:
    """Return the pipeline in a YAML file; a ConfigError lists everything that is wrong with it.

    Of a file that saving wrote (`is_saved`), evaluations and data sets of unknown types are kept as they are, and
    unknown keys without a value passed over: a version with more settings wrote them.
    """
    document = try_document(path, overrides, environ)
    return check_document(_without_empty(document, registries) if is_saved else document, registries, is_saved=is_saved)


def _without_empty(document: Document, registries: Registries) -> Document:
    """Return a document without the unknown keys that have no value, which are told in one line."""
    try:
        PipelineConfig.model_validate(document.data, context={"registries": registries, "is_saved": True})
    except ValidationError as error:
        data, names = deepcopy(document.data), list[str]()
        for place in empty_unknown(error, document):
            block: Any = data
            for key in place[:-1]:
                block = block[key]
            del block[place[-1]]
            names.append(".".join(map(str, place)))
        if names:
            text = f"{document.file}: unknown keys without a value are passed over: {', '.join(names)}"
            warnings.warn(text, PolyjanusWarning, stacklevel=2)
            return replace(document, data=data)
    return document


def check_document(document: Document, registries: Registries, *, is_saved: bool = False) -> Loaded:
    """Return the pipeline in a document; a ConfigError lists everything that is wrong with it."""
    faults = [*reference_faults(document)]
    config = None
    try:
        context = {"registries": registries, "is_saved": is_saved}
        config = PipelineConfig.model_validate(document.data, context=context)
    except ValidationError as error:
        faults = [*faults_of(error, document, registries), *faults]
    faults = _without_echoes(document.faults, faults)
    if faults or config is None:
        raise ConfigError(_in_order(document, [_without_secrets(document, fault) for fault in faults]))
    return Loaded(config, document)


def read_sampler(settings: Mapping[str, Any] | str, registries: Registries, path: str) -> SamplerConfig:
    """Return the settings of a sampler that a caller gives; the first thing that is wrong is a UsageError."""
    try:
        return TypeAdapter[SamplerConfig](SamplerBlock).validate_python(settings, context={"registries": registries})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([path, *map(str, first["loc"])])
        raise UsageError(f"{place}: {first['msg']}") from error


def _without_secrets(document: Document, fault: Fault) -> Fault:
    """Hide what came from the environment; a value too short to be a secret only at its own place."""
    message = fault.message
    for place, origin in document.origins.items():
        value = str(document.value(place))
        if (
            origin.kind == "env"
            and value
            and (len(value) >= SHORTEST_SECRET or fault.path == ".".join(map(str, place)))
        ):
            message = message.replace(value, HIDDEN)
    return replace(fault, message=message)


def _without_echoes(first: Sequence[Fault], later: Iterable[Fault]) -> list[Fault]:
    """Leave out what a place that could not be read properly caused further on."""
    known = {(fault.file, fault.line, fault.path) for fault in first}
    return [*first, *(fault for fault in later if (fault.file, fault.line, fault.path) not in known)]


def _in_order(document: Document, faults: Iterable[Fault]) -> list[Fault]:
    """Put the faults of the file itself first, each file from top to bottom, and each fault once."""
    return sorted(dict.fromkeys(faults), key=lambda fault: (fault.file != document.file, fault.file, fault.line or 0))
