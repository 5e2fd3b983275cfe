"""What must start fast: commands that need no torch do not import it."""

import subprocess
import sys
import time
from ast import literal_eval
from pathlib import Path

import pytest

EXAMPLES = sorted(Path(__file__).parents[2].joinpath("examples").glob("*.yaml"))
LIBRARIES = {"open3d", "mne", "torchaudio", "soundfile", "scipy", "pyarrow", "matplotlib"}
PROBE = """
import sys
from polyjanus.core.cli.main import main
status = main(sys.argv[1:])
names = ("torch", "transformers", "numpy", "PIL", "pydantic", "ruamel.yaml", "polyjanus.core.registry",
         "open3d", "mne", "torchaudio", "soundfile", "scipy", "pyarrow", "matplotlib")
heavy = [name for name in names if name in sys.modules]
sys.stderr.write(f"\\nHEAVY {heavy}")
sys.exit(status)
"""


def heavy(*arguments: object) -> tuple[set[str], float]:
    """Run the command line in a fresh process; return the heavy modules that it imported, and its seconds."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    return set(literal_eval(done.stderr.rpartition("HEAVY ")[2])), seconds


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_imports_neither_torch_nor_pydantic_nor_registries(argument: str) -> None:
    found, seconds = heavy(argument)
    assert found == set()
    assert seconds < 2


@pytest.mark.parametrize("arguments", [["plugins", "list"], ["plugins", "info", "mlp"], ["schema"]])
def test_listing_leaves_torch_out(arguments: list[str]) -> None:
    found, seconds = heavy("--no-plugins", *arguments)
    assert not found & {"torch", "transformers", "numpy", "PIL", *LIBRARIES}
    assert seconds < 4


@pytest.mark.skipif(not EXAMPLES, reason="no examples yet")
def test_validating_leaves_torch_out() -> None:
    found, _ = heavy("--no-plugins", "validate", *EXAMPLES)
    assert not found & {"torch", "transformers", *LIBRARIES}


def test_writing_a_pipeline_leaves_torch_out(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(b"is not opened")
        (tmp_path / f"{number}.txt").write_text("words")
    found, _ = heavy("--no-plugins", "init", "--data", tmp_path, "-o", tmp_path / "my.yaml")
    assert not found & {"torch", "transformers", "PIL"}
    found, _ = heavy("--no-plugins", "validate", tmp_path / "my.yaml")
    assert not found & {"torch", "transformers", "PIL"}
