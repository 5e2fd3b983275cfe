"""`polyjanus doctor`: what is here, what is missing and what it would enable, and whether it works."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from polyjanus.core.cli import doctor

Call = Callable[..., tuple[int, str, str]]


def test_a_sound_installation_passes_its_self_test(call: Call) -> None:
    status, out, _ = call("doctor", "--json")
    report = json.loads(out)
    assert status == 0 and [test["name"] for test in report["tests"]] == ["reads and writes", "decodes", "learns"]
    assert not any(test["error"] for test in report["tests"])
    assert report["versions"]["torch"] and report["machine"]["dtype"] == "float32"


def test_what_is_missing_names_what_it_would_enable_and_how_to_get_it(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polyjanus.core import registry

    real = registry.can_import
    monkeypatch.setattr(registry, "can_import", lambda name: name != "mne" and real(name))
    status, out, _ = call("doctor", "--no-test")
    (line,) = [line for line in out.splitlines() if 'pip install "polyjanus[eeg]"' in line]
    assert status == 0 and "modality eeg" in line


def test_a_part_that_fails_is_named_and_the_others_are_still_tried(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> str:
        raise OSError("no such luck")

    monkeypatch.setattr(doctor, "TESTS", {"first": broken, "second": lambda _: "fine"})
    status, out, err = call("doctor")
    assert status == 1 and "does not work" in err
    assert "FAILED: first: OSError: no such luck" in out and "ok: second: fine" in out
