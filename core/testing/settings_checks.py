"""Checks of settings and of a plugin as a whole: what is declared, and what declaring it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any, cast

from polyjanus.core.testing.bench import ALONE, BUILT, PLUGIN, Subject
from polyjanus.core.testing.contract import check, expect, place, settings_of

EVERY = (*BUILT, *ALONE)
CONTRACTS = "polyjanus.core.settings"
SECONDS = 2.0
"""How long importing and registering a plugin may take, beyond what polyjanus itself takes."""


@check(PLUGIN)
def plugin_loads(subject: Subject) -> None:
    """Importing the plugin and calling its `register` works in a process of its own, and offers something."""
    found = _probed(subject.origin)
    expect(not found["broken"], "a plugin that loads", found["broken"], subject.origin)
    expect(bool(found["offers"]), "a `register` hook that adds settings classes", "nothing added", subject.origin)


@check(PLUGIN)
def declaration_leaves_torch_out(subject: Subject) -> None:
    """Importing the plugin imports neither torch nor transformers: listing and validating stay light."""
    heavy = _probed(subject.origin)["heavy"]
    expected = "imports of torch inside `build` only"
    expect(not heavy, expected, f"{', '.join(heavy)} imported with the plugin", subject.origin)


@check(PLUGIN)
def declaration_is_fast(subject: Subject) -> None:
    """Importing and registering the plugin takes less than two seconds."""
    seconds = _probed(subject.origin)["seconds"]
    expect(seconds < SECONDS, f"less than {SECONDS:g} s to import", f"{seconds:.1f} s", subject.origin)


@check(PLUGIN)
def declaration_asks_no_network(subject: Subject) -> None:
    """Importing the plugin, and building its modalities, opens no connection."""
    asked = _probed(subject.origin)["network"]
    expect(not asked, "no use of the network", ", ".join(asked[:3]), subject.origin)


@check(PLUGIN)
def media_leave_torch_out(subject: Subject) -> None:
    """The modalities load, save and show media without torch: files are decoded where it is never imported."""
    heavy = _probed(subject.origin)["media"]
    expect(not heavy, "media that need no torch", f"{', '.join(heavy)} imported by them", subject.origin)


@cache
def _probed(origin: str) -> dict[str, Any]:
    """Return what a fresh process saw while it loaded a plugin."""
    command = [sys.executable, "-m", "polyjanus.core.testing.probe", origin]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        died = f"the process died: {done.stderr.strip()[-300:]}"
        return {"broken": died, "offers": 0, "heavy": [], "media": [], "network": [], "seconds": 0.0}
    return cast("dict[str, Any]", json.loads(done.stdout.strip().splitlines()[-1]))


@check(*EVERY)
def settings_are_described(subject: Subject) -> None:
    """The settings class has a docstring, and every field that it adds a description."""
    cls = subject.entry.settings
    expect(bool(subject.entry.summary), "a docstring that says what it is, in one line", "none", place(cls))
    for name, info in cls.model_fields.items():
        home = next(parent for parent in cls.__mro__ if name in vars(parent).get("__annotations__", {}))
        if name == "type" or home.__module__ == CONTRACTS:
            continue
        expect(bool(info.description), f"Field(description=…) on {name!r}, with its unit", "none", place(home))


@check(*EVERY)
def settings_are_in_the_schema(subject: Subject) -> None:
    """The JSON Schema that editors use has every field of the settings."""
    cls = subject.entry.settings
    definition: Any = subject.bench.schema["definitions"].get(f"{subject.kind}.{subject.name}") or {}
    missing = sorted(set(cls.model_fields) - set(definition.get("properties", {})))
    expect(not missing, "every field in the JSON Schema", f"{missing} missing", place(cls))


@check(*EVERY)
def settings_survive_a_round_trip(subject: Subject) -> None:
    """Settings written to a checkpoint as JSON and read again are equal, no field lost."""
    settings, cls = settings_of(subject), subject.entry.settings
    dump = json.loads(json.dumps(settings.model_dump(mode="json", serialize_as_any=True)))
    lost = sorted(set(cls.model_fields) - set(dump))
    expect(not lost, "a dump with every field", f"{lost} left out", place(cls))
    again = cls.model_validate(dump, context=subject.bench.context)
    differ = [name for name in cls.model_fields if getattr(again, name) != getattr(settings, name)]
    found = ", ".join(f"{name}: {getattr(settings, name)!r} → {getattr(again, name)!r}" for name in differ)
    expect(not differ and again == settings, "equal settings after a round trip through JSON", found, place(cls))


@check(*EVERY)
def settings_refuse_unknown_keys(subject: Subject) -> None:
    """A misspelled key is a fault, never dropped."""
    settings, cls = settings_of(subject), subject.entry.settings
    dump = settings.model_dump(mode="json", serialize_as_any=True)
    try:
        cls.model_validate({**dump, "no_such_key": 1}, context=subject.bench.context)
    except ValueError:
        return
    expect(False, "a fault for the unknown key 'no_such_key'", "settings that took it", place(cls))
