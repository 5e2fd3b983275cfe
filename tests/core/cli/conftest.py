"""A command line that runs in this process, with the stand-ins as its only plugins."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from polyjanus.core.cli.main import main
from polyjanus.core.manager import Plugins
from polyjanus.core.registry import Registries


@dataclass
class Outcome:
    """What a call of the command line left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(
    registries: Registries, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run the command line and return status and output."""
    plugins = Plugins(registries=registries)
    monkeypatch.setattr("polyjanus.core.manager.load_plugins", lambda *_, **__: plugins)

    def call(*arguments: object) -> Outcome:
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Outcome(status, out, err)

    return call
