"""What is first imported while a pipeline is checked without memory works afterwards."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from polyjanus.core.importing import ImportsKeepValues


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "lazy_constants.py").write_text(
        "import torch\n\nEPSILON = torch.tensor(0.5)\n\n\nclass Bands:\n    edges = torch.arange(3)\n\n\n"
        "def fresh():\n    return torch.empty(2)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lazy_constants", raising=False)
    return "lazy_constants"


def test_constants_of_a_module_imported_on_the_meta_device_have_values(module: str) -> None:
    with torch.device("meta"), ImportsKeepValues():
        constants = importlib.import_module(module)
    assert float(constants.EPSILON) == 0.5
    assert constants.Bands.edges.tolist() == [0, 1, 2]


def test_what_is_built_there_has_no_memory(module: str) -> None:
    with torch.device("meta"), ImportsKeepValues():
        constants = importlib.import_module(module)
        assert constants.fresh().is_meta
        assert torch.nn.Linear(2, 2).weight.is_meta
    assert not constants.fresh().is_meta
