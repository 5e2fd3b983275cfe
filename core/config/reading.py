"""A pipeline file, checked: its settings, or every fault in it at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from polyjanus.core.config.document import Document, try_document
from polyjanus.core.config.references import reference_faults
from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.config.wording import faults_of
from polyjanus.core.errors import ConfigError, Fault
from polyjanus.core.registry import Registries


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
    document = try_document(path, overrides, environ)
    faults = [*reference_faults(document)]
    config = None
    try:
        config = PipelineConfig.model_validate(document.data, context={"registries": registries})
    except ValidationError as error:
        faults = [*faults_of(error, document, registries), *faults]
    faults = _without_echoes(document.faults, faults)
    if faults or config is None:
        raise ConfigError(_in_order(document, faults))
    return Loaded(config, document)


def _without_echoes(first: Sequence[Fault], later: Iterable[Fault]) -> list[Fault]:
    """Leave out what a place that could not be read properly caused further on."""
    known = {(fault.file, fault.line, fault.path) for fault in first}
    return [*first, *(fault for fault in later if (fault.file, fault.line, fault.path) not in known)]


def _in_order(document: Document, faults: Iterable[Fault]) -> list[Fault]:
    """Put the faults of the file itself first, each file from top to bottom, and each fault once."""
    return sorted(dict.fromkeys(faults), key=lambda fault: (fault.file != document.file, fault.file, fault.line or 0))
