"""What the kit takes, and what it says."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.cli.main import main
from polyjanus.core.errors import PluginError
from polyjanus.core.testing import cases_of, check_plugin
from polyjanus.core.testing.contract import CHECKS

pytest_plugins = ["pytester"]

SAMPLER = '''
"""A sampler."""
from typing import Literal
from pydantic import Field
from polyjanus import hookimpl
from polyjanus.core.settings import SamplerConfig

class Mine(SamplerConfig):
    """The first code."""
    type: Literal["mine"]
    scale: float = Field(description="none")

    def build(self, context):
        from polyjanus.core.modules import Sampler

        class First(Sampler):
            is_greedy = True

            def __call__(self, logits, noise):
                return logits.argmax(-1)

        return First()

@hookimpl
def register(registries):
    registries.samplers.add(Mine)
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SAMPLER.lstrip(), encoding="utf-8")
    return path


def test_there_are_many_checks_and_each_says_its_property() -> None:
    assert len(CHECKS) >= 45
    assert all(check.summary.endswith(".") for check in CHECKS.values())


def test_a_type_a_plugin_and_a_module_can_be_checked() -> None:
    assert {str(case.subject) for case in cases_of("greedy")} == {"sampler greedy"}
    by_plugin = {str(case.subject) for case in cases_of("samplers")}
    assert {"plugin samplers", "sampler greedy", "sampler guided"} <= by_plugin
    assert {str(case.subject) for case in cases_of("polyjanus.plugins.samplers")} >= {"sampler nucleus"}


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(PluginError, match="did you mean 'samplers'"):
        cases_of("sampler")


def test_settings_that_are_missing_are_one_failure_and_can_be_given(file: Path) -> None:
    failed = [result for result in check_plugin(file) if result.outcome == "failed"]
    assert [result.check for result in failed] == ["builds"]
    assert "scale: Field required" in failed[0].message and "example_settings" in failed[0].message
    for given in ({"mine": {"scale": 1.0}}, {"sampler": {"mine": {"scale": 1.0}}}):
        assert "failed" not in [result.outcome for result in check_plugin(file, settings=given)]


def test_the_command_says_what_is_wrong_and_its_status(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", str(file)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"FAILED +sampler mine: builds\n +expected settings that validate; found .*scale", out)
    assert main(["plugins", "check", str(file), "--json", "--settings", '{"mine": {"scale": 1.0}}']) == 0
    rows: list[Any] = json.loads(capsys.readouterr().out)
    assert {tuple(row) for row in rows} == {("kind", "type", "check", "outcome", "message")}
    assert {row["outcome"] for row in rows} <= {"passed", "skipped"}
    assert main(["plugins", "check", str(file), "--settings", "{"]) == 2


def test_what_has_no_settings_is_counted_apart_from_what_does_not_apply(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bare.py").write_text(BARE, encoding="utf-8")
    assert main(["plugins", "check", str(tmp_path / "bare.py")]) in (0, 1)
    assert re.search(r"\d+ not tried: give --settings or example_settings", capsys.readouterr().out)


BARE = '''
"""A source without example_settings."""
from typing import Literal
from pydantic import Field
from polyjanus import hookimpl
from polyjanus.core.settings import SourceConfig

class BareConfig(SourceConfig):
    """Rows of a file."""
    type: Literal["bare_rows"]
    path: str = Field(description="file")

@hookimpl
def register(registries):
    registries.sources.add(BareConfig)
'''


MUTE = '''
"""A modality whose example fails, with an encoder for it."""
from typing import Literal
from polyjanus import hookimpl
from polyjanus.core.settings import EncoderConfig
from polyjanus.encoders.array import ArraySettings

class MuteConfig(ArraySettings):
    """Arrays."""
    example_settings = {"shape": (1, 4, 4)}
    type: Literal["mute"]

    def build(self, context):
        from polyjanus.encoders.array.media import ArrayModality

        class Mute(ArrayModality):
            def example(self):
                raise ValueError("no words")

        return Mute(context.path, self)

class MuteRows(EncoderConfig):
    """Rows."""
    modality_types = ("mute",)
    type: Literal["mute_rows"]

    def build(self, context):
        from torch import nn
        from polyjanus.encoders.shared.networks import GridEncoder

        return GridEncoder(context.modality.grid(), nn.Conv2d(1, 8, 2, 2))

@hookimpl
def register(registries):
    registries.modalities.add(MuteConfig)
    registries.encoders.add(MuteRows)
'''


def test_one_cause_is_one_failure_and_what_else_needs_it_is_not_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mute.py"
    file.write_text(MUTE.lstrip(), encoding="utf-8")
    results = check_plugin(file)
    (failed,) = [result for result in results if result.outcome == "failed"]
    assert (failed.type, failed.check) == ("mute", "example_is_always_the_same")
    untried = {(result.type, result.check): result.message for result in results if result.outcome == "untried"}
    assert {("mute", "preview_is_a_picture"), ("mute_rows", "features_are_repeatable")} <= set(untried)
    assert set(untried.values()) == {"modality mute: example_is_always_the_same fails first"}
    assert main(["plugins", "check", str(file)]) == 1
    out = capsys.readouterr().out
    assert (
        out.count("no words") == 1 and "not tried, since modality mute: example_is_always_the_same fails first:" in out
    )
    assert f"1 failed, {len(untried)} not tried" in out


def test_what_cannot_be_built_is_one_failure(tmp_path: Path) -> None:
    file = tmp_path / "mute.py"
    file.write_text(MUTE.replace("Mute(context.path, self)", "Mute(self)").lstrip(), encoding="utf-8")
    results = check_plugin(file)
    assert [result.check for result in results if result.outcome == "failed"] == ["modality_builds"]
    untried = {result.message for result in results if result.outcome == "untried"}
    assert untried == {"modality mute: modality_builds fails first"}


def test_a_misspelled_modality_is_told_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "mute.py"
    file.write_text(MUTE.replace('("mute",)', '("muet",)').lstrip(), encoding="utf-8")
    failed = {result.check: result.message for result in check_plugin(file) if result.type == "mute_rows"}
    assert "its `modality_types` name 'muet'; did you mean 'mute'?" in failed["builds"]


def test_a_package_that_is_not_installed_is_told_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "polyjanus_mute"
    package.mkdir()
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    (package / "__init__.py").write_text(MUTE.lstrip(), encoding="utf-8")
    assert "modality mute" in {str(case.subject) for case in cases_of(package / "__init__.py")}  # one file
    (package / "media.py").write_text("", encoding="utf-8")
    for target in (package / "__init__.py", package):
        with pytest.raises(PluginError, match="not installed") as caught:
            cases_of(target)
        assert caught.value.hint == f"pip install -e {tmp_path}, then: polyjanus plugins check polyjanus_mute"
    monkeypatch.syspath_prepend(tmp_path)
    assert {str(case.subject) for case in cases_of(package)} == {
        str(case.subject) for case in cases_of("polyjanus_mute")
    }


def test_pytest_runs_the_same_checks_one_test_each(pytester: Any, file: Path) -> None:
    pytester.makepyfile(
        f"""
        from polyjanus.core.testing import parametrize_with_checks

        @parametrize_with_checks({str(file)!r}, settings={{"mine": {{"scale": 1.0}}}},
                                 expected_failures={{"mine": {{"settings_are_described": "in haste"}}}})
        def test_contracts(case):
            case()
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q", "-rA", "-k", "sampler-mine")
    text = done.stdout.str()
    assert "PASSED test_pytest_runs_the_same_checks_one_test_each.py::test_contracts[sampler-mine-builds]" in text
    assert "[XPASS(strict)] in haste" in text  # it passes, so the reason is stale


def test_a_case_runs_by_being_called() -> None:
    case: Callable[[], None] = next(
        case for case in cases_of("greedy") if case.check.name == "drawn_frames_are_allowed"
    )
    case()
