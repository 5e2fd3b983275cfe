import json
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest

from polyjanus.core.cli import main as face
from polyjanus.core.cli.main import COMMANDS
from polyjanus.core.errors import PolyjanusWarning

Cli = Callable[..., Any]
Write = Callable[..., Path]


@click.command()
@click.pass_obj
def interrupted(_: object) -> None:
    raise KeyboardInterrupt


@click.command()
def unreadable() -> None:
    Path("/nonexistent/file").read_text()


def test_every_command_of_the_table_has_a_module_or_is_still_to_come() -> None:
    light = {"validate", "config", "schema", "plugins"}
    assert light <= {name for name in COMMANDS if find_spec(f"polyjanus.core.cli.{name}")}


def test_help_lists_every_command(cli: Cli) -> None:
    outcome = cli("--help")
    assert outcome.status == 0
    assert all(f"  {name} " in outcome.out for name in COMMANDS)


def test_what_a_user_should_know_is_one_line_and_other_warnings_are_pythons_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(_: object) -> int:
        warnings.simplefilter("always")
        warnings.warn("a.safetensors: a result is damaged", PolyjanusWarning, stacklevel=1)
        warnings.warn("another's", UserWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(sys.modules["polyjanus.core.cli.main"], "_main", warn)
    with pytest.warns(UserWarning, match="another's"):
        assert face([]) == 0
    assert capsys.readouterr().err == "warning: a.safetensors: a result is damaged\n"


def test_the_version_is_shown(cli: Cli) -> None:
    assert cli("--version").out.startswith("polyjanus ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validat"], "no command 'validat'; did you mean 'validate'?"),
        (["zzz"], "no command 'zzz'; commands: run, chat"),
        (["--nothing"], "No such option"),
        (["validate"], "Missing argument"),
        (["validate", "a=b"], "validate needs a file"),
        (["validate", "none.yaml"], "no such file"),
        (["config", "none.yaml"], "no such file"),
        (["plugins", "info", "mpl"], "no type 'mpl'; did you mean 'mlp'?"),
        (["plugins", "list", "--kind", "encoders"], "no kind 'encoders'; did you mean 'encoder'?"),
        (["schema", "-o", "/nonexistent/x.json"], "/nonexistent/x.json: No such file or directory"),
    ],
)
def test_a_users_fault_is_one_message_on_stderr_and_status_2(cli: Cli, arguments: list[str], message: str) -> None:
    outcome = cli(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert message in outcome.err


def test_an_interrupt_is_status_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyjanus.core.cli.validate.command", interrupted)
    assert cli("validate").status == 130


def test_debug_shows_the_trace(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert face(["--debug", "config", "none.yaml"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_config_shows_what_is_written_and_resolved_every_default(cli: Cli, write: Write, rich: str) -> None:
    path = write(rich)
    assert "top_p" not in cli("config", path).out
    outcome = cli("config", path, "--resolved", "training.seed=7")
    assert "  seed: 7  # override 'training.seed=7'\n" in outcome.out
    assert "validation: 0.0  # default\n" in outcome.out


def test_the_schema_is_json_and_can_be_written(cli: Cli, tmp_path: Path) -> None:
    shown = json.loads(cli("schema").out)
    assert cli("schema", "-o", tmp_path / "s.json").out == ""
    assert json.loads((tmp_path / "s.json").read_text()) == shown


def test_rows_of_plugins_have_the_documented_keys(cli: Cli) -> None:
    rows = json.loads(cli("plugins", "list", "--json").out)
    keys = {
        "kind",
        "type",
        "modality",
        "distribution",
        "version",
        "summary",
        "extras",
        "available",
        "pathways",
        "licence",
    }
    assert all(row.keys() == keys for row in rows)
    assert len(rows) == 16
    assert [row["type"] for row in json.loads(cli("plugins", "list", "--kind", "head", "--json").out)] == ["mlp"]


def test_info_shows_every_field_with_type_default_and_unit(cli: Cli) -> None:
    out = cli("plugins", "info", "timeseries").out
    assert "sample_rate: number, required  Hz" in out
    assert "channels: list of text, required" in out
    fields = json.loads(cli("plugins", "info", "patch", "--json").out)[0]["fields"]
    assert {"name": "depth", "type": "whole number", "default": 2, "required": False, "description": ""} in fields
    assert len(json.loads(cli("plugins", "info", "mlp", "--json").out)) == 2


def test_plugins_are_named_by_option_and_by_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text("1 / 0")
    monkeypatch.setenv("POLYJANUS_PLUGINS", f"{tmp_path / 'one.py'}")
    assert face(["plugins", "list"]) == 0
    assert f"warning: plugin {tmp_path / 'one.py'}" in capsys.readouterr().err
    for words in (["--plugin", str(tmp_path / "two.py"), "plugins", "list"], ["plugins", "list", "--plugin"]):
        assert face([*words, str(tmp_path / "two.py")] if words[-1] == "--plugin" else words) == 2
        assert "two.py could not be loaded: ZeroDivisionError" in capsys.readouterr().err
    monkeypatch.delenv("POLYJANUS_PLUGINS")
    assert face(["--plugin", "none.py", "plugins", "list"]) == 2
    assert "there is no plugin file" in capsys.readouterr().err
