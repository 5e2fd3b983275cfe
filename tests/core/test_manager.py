import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from polyjanus.core import manager
from polyjanus.core.errors import PluginError, RegistryError
from polyjanus.core.manager import Plugins, load_file, load_plugins

GOOD = """
from typing import Literal
from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.settings import SamplerConfig

class Mine(SamplerConfig):
    '''A sampler of mine.'''

    type: Literal["mine"]

@hookimpl
def register(registries):
    registries.samplers.add(Mine)
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str, name: str = "plugin.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return written


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that a distribution with one entry point is installed; without source, its package was deleted."""
    monkeypatch.syspath_prepend(tmp_path)

    def installed(name: str, source: str | None, version: str = "1.2") -> None:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text(f"[polyjanus.plugins]\n{name} = {name}_package\n")
        if source is not None:
            (tmp_path / f"{name}_package.py").write_text(dedent(source))
            monkeypatch.delitem(sys.modules, f"{name}_package", raising=False)

    return installed


def loaded(*files: Path) -> Plugins:
    plugins = Plugins()
    for file in files:
        load_file(plugins, file)
    return plugins


def test_a_file_offers_what_it_registers(write: Write) -> None:
    file = write(GOOD)
    entry = loaded(file).registries.samplers.entry("mine")
    assert entry.origin.distribution == str(file)
    assert entry.summary == "A sampler of mine."


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('no\\n luck')", "RuntimeError: no luck"),
        ("def broken(:", "SyntaxError"),
        ("import package_that_nobody_has", "ModuleNotFoundError: No module named 'package_that_nobody_has'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("x = 1", "implements no hook"),
        (GOOD.replace("def register(", "def regster("), "unknown hook 'regster'"),
        (GOOD.replace("def register(registries)", "def register(registry)"), "registry"),
        (GOOD.replace("type:", "api_version = 99\n    type:"), "was written for api_version 99; this polyjanus has 1"),
        (GOOD.replace("samplers.add(Mine)", "heads.add(Mine)"), "Mine is no HeadConfig; it cannot be a head"),
        (GOOD.replace('Literal["mine"]', "str"), "must be a Literal of one name"),
        (GOOD + "    raise ValueError('too late')\n", "too late"),
    ],
)
def test_a_plugin_that_fails_costs_one_line_and_leaves_nothing_behind(write: Write, source: str, reason: str) -> None:
    bad, good = write(source, "bad.py"), write(GOOD.replace("mine", "other"), "good.py")
    plugins = loaded(bad, good)
    assert list(plugins.broken) == [str(bad)]
    assert reason in plugins.broken[str(bad)]
    assert "\n" not in plugins.broken[str(bad)]
    assert plugins.registries.samplers.names() == ["other"]


def test_what_a_plugin_prints_stays_off_stdout(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    noise = "print('python'); import os; os.write(1, b'native'); os.system('echo child')\n"
    assert not loaded(write(noise + GOOD)).broken
    print("result")
    out, err = capfd.readouterr()
    assert out == "result\n"
    assert all(word in err for word in ("python", "native", "child"))


def test_a_slow_import_is_named_while_it_runs(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manager, "SLOW_S", 0.02)
    file = write("import time; time.sleep(0.2)\n" + GOOD)
    loaded(file)
    assert f"still importing plugin {file}" in capsys.readouterr().err


def test_a_fast_import_is_not_mentioned(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manager, "SLOW_S", 0.1)
    loaded(write(GOOD))
    time.sleep(0.15)
    assert capsys.readouterr().err == ""


def test_a_name_that_two_plugins_claim_belongs_to_neither(write: Write) -> None:
    one, two = write(GOOD, "one.py"), write(GOOD, "two.py")
    samplers = loaded(one, two).registries.samplers
    assert "mine" not in samplers
    with pytest.raises(RegistryError, match="registered twice") as caught:
        samplers.get("mine")
    assert str(one) in str(caught.value) and str(two) in str(caught.value)


def test_a_contested_name_is_free_again_when_the_rival_fails(write: Write) -> None:
    plugins = loaded(write(GOOD, "one.py"), write(GOOD + "    raise ValueError\n", "two.py"))
    assert "mine" in plugins.registries.samplers


def test_loading_a_file_twice_changes_nothing(write: Write) -> None:
    file = write(GOOD)
    plugins = loaded(file, file, file.parent / "." / file.name)
    assert not plugins.broken
    assert plugins.registries.samplers.names() == ["mine"]


def test_two_files_of_one_name_are_two_plugins(write: Write) -> None:
    plugins = loaded(write(GOOD, "a/plugin.py"), write(GOOD.replace("mine", "other"), "b/plugin.py"))
    assert plugins.registries.samplers.names() == ["mine", "other"]


def test_a_missing_file_is_the_users_fault(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="there is no plugin file"):
        loaded(tmp_path / "none.py")


def test_an_installed_plugin_is_loaded_with_its_distribution(install: Callable[..., None]) -> None:
    install("mylab", GOOD)
    origin = load_plugins().registries.samplers.entry("mine").origin
    assert (origin.distribution, origin.version) == ("mylab", "1.2")
    assert "mine" not in load_plugins(third_party=False).registries.samplers


def test_an_entry_point_whose_package_was_deleted_is_named(install: Callable[..., None]) -> None:
    install("gone", None)
    plugins = load_plugins()
    assert "No module named 'gone_package'" in plugins.broken["gone (gone)"]
    assert "greedy" in plugins.registries.samplers


def test_an_installed_plugin_cannot_take_a_built_in_name_silently(install: Callable[..., None]) -> None:
    install("rival", GOOD.replace("mine", "greedy"))
    with pytest.raises(RegistryError, match=r"by .*\(polyjanus\) and by .*\(rival\)"):
        load_plugins().registries.samplers.get("greedy")


def test_loading_again_gives_the_same(install: Callable[..., None]) -> None:
    install("mylab", GOOD)
    first, second = load_plugins().registries, load_plugins().registries
    assert first.samplers.get("mine") is second.samplers.get("mine")
    assert [each.names() for each in first] == [each.names() for each in second]


def test_a_requirement_inside_a_missing_package_is_just_missing(write: Write) -> None:
    source = GOOD.replace("type:", "requires = ('package_that_nobody_has.part',)\n    type:")
    assert not loaded(write(source)).registries.samplers.entry("mine").is_available


def test_an_interrupt_is_not_swallowed(write: Write) -> None:
    with pytest.raises(KeyboardInterrupt):
        loaded(write("raise KeyboardInterrupt"))


def test_messages_name_the_file_of_a_one_file_plugin_and_no_module_that_nobody_can_import(write: Write) -> None:
    one, two = write(GOOD, "one.py"), write(GOOD, "two.py")
    assert loaded(one).registries.samplers.entry("mine").location == f"Mine in {one}"
    sentence = loaded(one, two).registries.samplers.conflict("mine")
    assert (
        sentence
        == f"sampler type 'mine' is registered twice: by Mine in {one} and by Mine in {two}; remove one of them"
    )
