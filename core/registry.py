"""Registries: from the names that a YAML may use to the settings classes behind them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Generic, TypeVar

from polyjanus.core.errors import PluginError, RegistryError, suggest
from polyjanus.core.settings import (
    API_VERSION,
    AdaptorConfig,
    BackboneConfig,
    CodecConfig,
    ComponentConfig,
    EncoderConfig,
    FormatConfig,
    HeadConfig,
    LayoutConfig,
    MetricConfig,
    ModalityConfig,
    SamplerConfig,
    SourceConfig,
    TemplateConfig,
    TokenizerConfig,
)

S = TypeVar("S", bound=ComponentConfig)


ONE_FILE = "polyjanus_plugin_"
"""Begins the module name of a one-file plugin, which no one can import."""


def home_of(cls: type) -> str:
    """Return where a class is, for messages: its dotted place, or its name and the file of a one-file plugin."""
    if not cls.__module__.startswith(ONE_FILE):
        return f"{cls.__module__}.{cls.__qualname__}"
    name = cls.__qualname__.rpartition("<locals>.")[2]
    return f"{name} in {getattr(sys.modules.get(cls.__module__), '__file__', None) or 'a file'}"


@dataclass(frozen=True)
class Origin:
    """Who offers an entry."""

    plugin: str
    distribution: str
    version: str


UNKNOWN_ORIGIN = Origin(plugin="", distribution="", version="")


@dataclass(frozen=True)
class Entry(Generic[S]):
    """A settings class and who offers it."""

    settings: type[S]
    origin: Origin

    @property
    def location(self) -> str:
        """Return the dotted place of the class and its distribution, for messages."""
        place, distribution = home_of(self.settings), self.origin.distribution
        is_file = self.settings.__module__.startswith(ONE_FILE)  # whose distribution is the file once more
        return f"{place} ({distribution})" if distribution and not is_file else place

    @property
    def is_available(self) -> bool:
        """Tell whether everything that building needs can be imported."""
        return all(can_import(name) for name in self.settings.requires)

    @property
    def summary(self) -> str:
        """Return the first line of the class's documentation."""
        return (self.settings.__doc__ or "").strip().split("\n")[0]


def can_import(name: str) -> bool:
    """Tell whether a module is installed, without importing it."""
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # `mne.io` without mne
        return False


class Registry(Generic[S]):
    """Names of one kind; a name that two plugins claim belongs to neither."""

    def __init__(self, base: type[S]) -> None:
        self.base = base
        self.kind = base.kind
        self.origin = UNKNOWN_ORIGIN
        self._entries: dict[str, Entry[S]] = {}
        self._conflicts: dict[str, list[Entry[S]]] = {}

    def add(self, settings: type[S]) -> None:
        """Offer a settings class under the name in its `type` literal; adding it again changes nothing."""
        if not issubclass(settings, self.base):
            raise PluginError(f"{settings.__qualname__} is no {self.base.__name__}; it cannot be a {self.kind}")
        if settings.api_version != API_VERSION:
            raise PluginError(
                f"{home_of(settings)} was written for api_version {settings.api_version};"
                f" this polyjanus has {API_VERSION}"
            )
        name = settings.type_name()
        entry = Entry(settings, self.origin)
        known = self._entries.get(name)
        if known is not None and known.settings is not settings:
            claims = self._conflicts.setdefault(name, [known])
            if all(claim.settings is not settings for claim in claims):
                claims.append(entry)
        elif known is None:
            self._entries[name] = entry

    def withdraw(self, origin: Origin) -> None:
        """Take back what one plugin offered; a name that it contested belongs to the other again."""
        for name, claims in list(self._conflicts.items()):
            others = [claim for claim in claims if claim.origin != origin]
            if len(others) < 2:
                del self._conflicts[name]
            else:
                self._conflicts[name] = others
            self._entries[name] = (others or claims)[0]
        self._entries = {name: entry for name, entry in self._entries.items() if entry.origin != origin}

    def conflict(self, name: str) -> str | None:
        """Return the sentence that names everyone who claims `name`, where more than one does."""
        claims = self._conflicts.get(name)
        if not claims:
            return None
        places = " and by ".join(entry.location for entry in claims)
        return f"{self.kind} type {name!r} is registered twice: by {places}; remove one of them"

    def entry(self, name: str) -> Entry[S]:
        """Return the entry of that name; a RegistryError names what there is instead."""
        conflict = self.conflict(name)
        if conflict:
            raise RegistryError(conflict)
        if name not in self._entries:
            raise RegistryError(f"no {self.kind} of type {name!r}{suggest(name, self.names(), noun='installed')}")
        return self._entries[name]

    def get(self, name: str) -> type[S]:
        """Return the settings class of that name."""
        return self.entry(name).settings

    def names(self) -> list[str]:
        """Return all usable names in order."""
        return sorted(set(self._entries) - set(self._conflicts))

    def conflicts(self) -> list[str]:
        """Return the sentence of each name that is claimed twice."""
        return [sentence for name in sorted(self._conflicts) if (sentence := self.conflict(name))]

    def __contains__(self, name: object) -> bool:
        return name in self._entries and name not in self._conflicts

    def __iter__(self) -> Iterator[Entry[S]]:
        return (self._entries[name] for name in self.names())


class Registries:
    """One registry per kind, and what went wrong while they were filled."""

    def __init__(self) -> None:
        self.modalities = Registry(ModalityConfig)
        self.encoders = Registry(EncoderConfig)
        self.codecs = Registry(CodecConfig)
        self.layouts = Registry(LayoutConfig)
        self.adaptors = Registry(AdaptorConfig)
        self.backbones = Registry(BackboneConfig)
        self.tokenizers = Registry(TokenizerConfig)
        self.templates = Registry(TemplateConfig)
        self.heads = Registry(HeadConfig)
        self.samplers = Registry(SamplerConfig)
        self.sources = Registry(SourceConfig)
        self.metrics = Registry(MetricConfig)
        self.formats = Registry(FormatConfig)
        self.broken: dict[str, str] = {}
        """Plugins that could not be loaded: distribution or file, and the reason in one line."""

    def of(self, kind: str) -> Registry[ComponentConfig]:
        """Return the registry of one kind."""
        for registry in self:
            if registry.kind == kind:
                return registry
        raise KeyError(kind)

    def set_origin(self, origin: Origin) -> None:
        """Say who the next entries come from."""
        for registry in self:
            registry.origin = origin

    def withdraw(self, origin: Origin) -> None:
        """Take back what one plugin offered."""
        for registry in self:
            registry.withdraw(origin)

    def __iter__(self) -> Iterator[Registry[ComponentConfig]]:
        for value in vars(self).values():
            if isinstance(value, Registry):
                yield value
