"""A pipeline file, checked: its settings, or every fault in it at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from polyjanus.core.config.document import Document, try_document
from polyjanus.core.config.references import reference_faults
from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.config.wording import HIDDEN, faults_of
from polyjanus.core.errors import ConfigError, Fault, UsageError
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
) -> Loaded:
    """Return the pipeline in a YAML file; a ConfigError lists everything that is wrong with it."""
    return check_document(try_document(path, overrides, environ), registries)


def check_document(document: Document, registries: Registries) -> Loaded:
    """Return the pipeline in a document; a ConfigError lists everything that is wrong with it."""
    faults = [*reference_faults(document)]
    config = None
    try:
        config = PipelineConfig.model_validate(document.data, context={"registries": registries})
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
