"""Killed runs: a few here, by the hundred with `python tests/trials.py`."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_run_killed_at_any_time_loses_nothing_that_was_saved_and_goes_on_bit_by_bit() -> None:
    script = Path(__file__).with_name("trials.py")
    ended = subprocess.run([sys.executable, script, "--count", "10"], capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "trials 10" in ended.stdout and "faults 0" in ended.stdout
