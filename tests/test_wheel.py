"""What is in the wheel works where nothing else of the project is."""

import os
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("wheel")
    sources = home / "sources"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, tracked):
        target = sources / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to(os.readlink(ROOT / name))
        elif (ROOT / name).is_file():
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", home, sources],
        check=True,
        capture_output=True,
    )
    return next(home.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_each_module_once_and_nothing_beside_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    roots = {name.split("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"polyjanus"}
    assert len(names) == len(set(names))
    sources = {
        path.relative_to(ROOT / folder).as_posix()
        for folder in ("core", "encoders", "plugins", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts and "thermal" not in path.parts  # which is a distribution of its own
    }
    packed = {"/".join(name.split("/")[2:]) for name in names if name.endswith(".py") and name.count("/") > 1}
    assert sources <= packed
    assert "polyjanus/examples/digits.yaml" in names and "polyjanus/examples/digits/digits.npz" in names
    assert {f"polyjanus/models/{name}/manifest.json" for name in ("digits", "quintet")} <= set(names)
    assert "polyjanus/core/scaffold/single.py.tmpl" in names and not any("polyjanus_thermal" in name for name in names)


@pytest.mark.slow
def test_the_wheel_runs_the_demo_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "fresh"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    packages = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel],
        check=True,
        capture_output=True,
    )
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    where = subprocess.run(
        [python, "-c", "import polyjanus.core; print(polyjanus.core.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert str(home) in where.stdout, where.stderr
    done = subprocess.run(
        [home / "bin" / "polyjanus", "demo", "--limit", "10", "-o", tmp_path / "demo"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "rows are inputs" in done.stdout and (tmp_path / "demo" / "demo.png").stat().st_size > 5000
