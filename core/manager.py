"""Loading plugins: installed ones by entry point, single files by name; one that fails harms no other."""

import contextlib
import importlib.util
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import pluggy

from polyjanus.core import hookspecs
from polyjanus.core.errors import PluginError
from polyjanus.core.registry import Origin, Registries

GROUP = "polyjanus.plugins"
SLOW_S = 2.0


@dataclass
class Plugins:
    """What was loaded: the registries, and the hooks to call."""

    registries: Registries = field(default_factory=Registries)
    manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(hookspecs.PROJECT))

    def __post_init__(self) -> None:
        if not hasattr(self.manager.hook, "register"):
            self.manager.add_hookspecs(hookspecs)

    @property
    def broken(self) -> dict[str, str]:
        """Return the plugins that could not be loaded, each with its reason."""
        return self.registries.broken


def load_plugins(files: Sequence[Path | str] = (), *, third_party: bool = True) -> Plugins:
    """Load every installed plugin, then the named files; failures are kept in `broken`, one line each."""
    plugins = Plugins()
    for point in sorted(entry_points(group=GROUP), key=_built_ins_first):
        if third_party or _is_built_in(point):
            _load_entry_point(plugins, point)
    for file in files:
        load_file(plugins, Path(file))
    return plugins


def load_file(plugins: Plugins, file: Path) -> None:
    """Load a one-file plugin that the user named; a missing file is the user's fault and raises."""
    file = file.expanduser().resolve()
    if not file.is_file():
        raise PluginError(f"there is no plugin file {str(file)!r}", hint="--plugin takes the path of a .py file")
    name = f"polyjanus_plugin_{file.stem}"
    with _guarded(plugins, str(file)):
        _register(plugins, _import_file(name, file), Origin(plugin=file.stem, distribution=str(file), version=""))


def _is_built_in(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == hookspecs.PROJECT


def _built_ins_first(point: EntryPoint) -> tuple[bool, str, str]:
    return (not _is_built_in(point), point.name, point.value)


def _load_entry_point(plugins: Plugins, point: EntryPoint) -> None:
    distribution = point.dist.name if point.dist else "unknown distribution"
    version = point.dist.version if point.dist else ""
    if plugins.manager.has_plugin(point.value):
        return
    with _guarded(plugins, f"{distribution} ({point.name})"):
        module = point.load()
        _register(plugins, module, Origin(plugin=point.name, distribution=distribution, version=version), point.value)


def _import_file(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{file.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _register(plugins: Plugins, module: object, origin: Origin, name: str | None = None) -> None:
    manager = plugins.manager
    if manager.register(module, name=name or origin.distribution) is None:
        return
    try:
        manager.check_pending()
        plugins.registries.set_origin(origin)
        others = [plugin for plugin in manager.get_plugins() if plugin is not module]
        manager.subset_hook_caller("register", remove_plugins=others)(registries=plugins.registries)
    except BaseException:
        manager.unregister(module)
        raise


@contextlib.contextmanager
def _guarded(plugins: Plugins, who: str) -> Generator[None]:
    """Keep what a plugin prints off stdout, name a slow one, and turn any failure into one line in `broken`."""
    notice = threading.Timer(SLOW_S, lambda: sys.stderr.write(f"polyjanus: still importing plugin {who} …\n"))
    notice.daemon = True
    notice.start()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit too
        reason = " ".join(str(error).split()) or type(error).__name__
        plugins.broken[who] = f"{type(error).__name__}: {reason}"[:300]
    finally:
        notice.cancel()
