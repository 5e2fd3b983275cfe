"""Loading plugins: installed ones by entry point, single files by name; one that fails harms no other."""

import contextlib
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import pluggy

from polyjanus.core import hookspecs
from polyjanus.core.errors import PluginError
from polyjanus.core.registry import ONE_FILE, UNKNOWN_ORIGIN, Origin, Registries, can_import

GROUP = "polyjanus.plugins"
SLOW_S = 2.0


@dataclass
class Plugins:
    """What was loaded: the registries, and the hooks to call."""

    registries: Registries = field(default_factory=Registries)
    manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(hookspecs.PROJECT))
    files: list[Path] = field(default_factory=list[Path])
    """The one-file plugins that were loaded because a user named them."""

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
    if plugins.manager.has_plugin(str(file)):
        return
    plugins.files.append(file)
    name = f"{ONE_FILE}{file.stem}_{sha256(str(file).encode()).hexdigest()[:8]}"
    with _guarded(plugins, str(file)):
        _register(plugins, _import_file(name, file), Origin(plugin=file.stem, distribution=str(file), version=""))


def load_target(plugins: Plugins, name: str) -> Origin | None:
    """Load one plugin, if it is not loaded yet: a .py file, an entry point's name, a distribution or a module.

    Returns who its entries come from, None where there is no such plugin; a failure is kept in `broken`.
    """
    if name.endswith(".py"):
        load_file(plugins, Path(name))
        file = Path(name).expanduser().resolve()
        return Origin(plugin=file.stem, distribution=str(file), version="")
    for point in entry_points(group=GROUP):
        if name in (point.name, point.value, point.dist.name if point.dist else None):
            return _load_entry_point(plugins, point)
    if not name.replace(".", "").isidentifier() or not can_import(name):
        return None
    origin = Origin(plugin=name, distribution=name, version="")
    with _guarded(plugins, name):
        _register(plugins, importlib.import_module(name), origin)
    return origin


def _is_built_in(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == hookspecs.PROJECT


def _built_ins_first(point: EntryPoint) -> tuple[bool, str, str]:
    return (not _is_built_in(point), point.name, point.value)


def _load_entry_point(plugins: Plugins, point: EntryPoint) -> Origin:
    distribution = point.dist.name if point.dist else "unknown distribution"
    version = point.dist.version if point.dist else ""
    origin = Origin(plugin=point.name, distribution=distribution, version=version)
    if not plugins.manager.has_plugin(point.value):
        with _guarded(plugins, f"{distribution} ({point.name})"):
            _register(plugins, point.load(), origin, point.value)
    return origin


def _import_file(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{file.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _register(plugins: Plugins, module: object, origin: Origin, name: str | None = None) -> None:
    manager = plugins.manager
    if manager.is_registered(module):
        return
    manager.register(module, name=name or origin.distribution)
    try:
        plugins.registries.set_origin(origin)
        if not manager.get_hookcallers(module):
            if not any(manager.hook.adopt(registries=plugins.registries, module=module)):
                raise PluginError(
                    "implements no hook; mark its `register` function with @hookimpl, or define a torch module"
                )
            return
        manager.check_pending()
        others = [plugin for plugin in manager.get_plugins() if plugin is not module]
        manager.subset_hook_caller("register", remove_plugins=others)(registries=plugins.registries)
    except BaseException:
        manager.unregister(module)
        plugins.registries.withdraw(origin)
        raise
    finally:
        plugins.registries.set_origin(UNKNOWN_ORIGIN)


@contextlib.contextmanager
def _guarded(plugins: Plugins, who: str) -> Generator[None]:
    """Keep what a plugin prints off stdout, name a slow one, and turn any failure into one line in `broken`."""
    notice = threading.Timer(SLOW_S, lambda: sys.stderr.write(f"polyjanus: still importing plugin {who} …\n"))
    notice.daemon = True
    notice.start()
    try:
        with contextlib.redirect_stdout(sys.stderr), _descriptor_to_stderr():
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit too
        plugins.broken[who] = _reason(error)
    finally:
        notice.cancel()


@contextlib.contextmanager
def _descriptor_to_stderr() -> Generator[None]:
    """Send what native code and child processes write to stdout to stderr."""
    try:
        kept = os.dup(1)
    except OSError:  # stdout is closed
        yield
        return
    try:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
        with contextlib.suppress(OSError):
            os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _reason(error: BaseException) -> str:
    """Return why a plugin failed, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return (text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}")[:300]
