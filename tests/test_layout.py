"""The tree: what is packaged, how long modules are, and what no module may do."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("polyjanus", "core", "encoders", "plugins", "examples")
LIMIT = 300
OTHERS = [path.parent for path in ROOT.glob("examples/*/pyproject.toml")]
"""Distributions of their own, which are in our tree as examples and not in our wheel."""


def _is_ours(path: Path) -> bool:
    return not any(path.is_relative_to(folder) for folder in OTHERS)


MODULES = sorted(
    path
    for top in SOURCES
    for path in (ROOT / top).rglob("*.py")
    if not (top == "polyjanus" and path.parent != ROOT / top) and _is_ours(path)
)
BANNED_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BANNED_CALLS = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen", "pickle.load", "pickle.loads"}
READS_PICKLES = {"encoders/shared/checkpoints.py", "core/checkpoints/stored.py"}
"""Modules that may call torch.load, always with weights_only=True: foreign checkpoints come so."""
TRANSFORMERS = {"core/hf.py"}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _trees() -> Iterator[tuple[str, ast.AST]]:
    for path in MODULES:
        yield _name(path), ast.parse(path.read_text(encoding="utf-8"))


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_every_folder_of_modules_is_packaged_and_nothing_else() -> None:
    """A folder missing here works in an editable install and is absent from the wheel."""
    folders = {path.parent for path in MODULES if path.name == "__init__.py"}
    named = {
        "polyjanus" if folder.name == "polyjanus" else f"polyjanus.{_name(folder).replace('/', '.')}"
        for folder in folders
    }
    assert set(_project()["tool"]["setuptools"]["packages"]) == named
    assert {path.parent for path in MODULES} == folders


def test_every_top_folder_is_mapped_and_linked() -> None:
    mapped = _project()["tool"]["setuptools"]["package-dir"]
    tops = [top for top in SOURCES if top != "polyjanus"]
    assert mapped == {f"polyjanus.{top}": top for top in tops}
    for top in tops:
        link = ROOT / "polyjanus" / top
        assert link.is_symlink() and link.resolve() == ROOT / top


def test_every_entry_point_is_a_module_with_a_hook() -> None:
    for value in _project()["project"]["entry-points"]["polyjanus.plugins"].values():
        path = ROOT.joinpath(*value.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert "@hookimpl" in file.read_text(encoding="utf-8"), value


def test_files_that_are_not_python_are_package_data() -> None:
    patterns = _project()["tool"]["setuptools"]["package-data"]["*"]
    for top in SOURCES[1:]:
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and path.suffix not in {".py", ".pyc"} and _is_ours(path):
                assert any(path.match(pattern) for pattern in patterns), _name(path)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_module_is_longer_than_a_person_reads(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LIMIT


def test_nothing_runs_foreign_code() -> None:
    faults: list[str] = []
    for name, tree in _trees():
        for call in _calls(tree):
            function = ast.unparse(call.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if function in BANNED_CALLS:
                faults.append(f"{name}:{call.lineno}: {function}")
            if keywords.get("shell") == "True" or keywords.get("trust_remote_code", "False") != "False":
                faults.append(f"{name}:{call.lineno}: {ast.unparse(call)[:80]}")
            if function.endswith("torch.load") and not (
                name in READS_PICKLES and keywords.get("weights_only") == "True"
            ):
                faults.append(f"{name}:{call.lineno}: torch.load")
    assert not faults


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_nothing_reads_or_writes_pickles() -> None:
    """Where torch.load is allowed, its errors may be caught by name."""
    found = {
        (name, found) for name, tree in _trees() for found in _imports(tree) if found.split(".")[0] in BANNED_IMPORTS
    }
    assert found <= {(name, "pickle") for name in READS_PICKLES}
    used = {
        ast.unparse(node)
        for name, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle"
    }
    assert used <= {"pickle.UnpicklingError"}


def test_transformers_has_one_door() -> None:
    through = {name for name, tree in _trees() for found in _imports(tree) if found.split(".")[0] == "transformers"}
    assert {name for name in through if name.startswith("core/")} == TRANSFORMERS


def test_no_module_of_core_names_a_modality_but_text() -> None:
    words = re.compile(r"""["'](image|audio|point_cloud|eeg|timeseries)["']""")
    faults: list[str] = []
    for name, tree in _trees():
        if not name.startswith("core/"):
            continue
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        faults += [
            f"{name}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
            if words.fullmatch(repr(node.value))
        ]
    assert not faults


def test_every_module_says_what_it_is_for() -> None:
    assert not [name for name, tree in _trees() if not ast.get_docstring(tree)]  # type: ignore[arg-type]
