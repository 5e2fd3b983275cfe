"""What is not installed is named with the extra that brings it, when it is needed and not before."""

import sys
from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.errors import MediaError, WiringError
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.settings import BuildContext

YAML = """
polyjanus: 1
backbone:
  type: causal_lm
  architecture:
    {{model_type: llama, hidden_size: 32, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2}}
text: {{tokenizer: bytes}}
modalities:
  x: {0}
"""


def modality(plugins: Any, kind: str, **settings: Any) -> Any:
    built = plugins.registries.of("modality").get(kind).model_validate({"type": kind, **settings})
    return built.build(BuildContext(path=kind))


def hide(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """Let imports of a library fail as where it is not installed."""
    for name in [name for name in sys.modules if name == library or name.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)


@pytest.mark.parametrize(
    ("kind", "library", "suffix", "extra", "settings"),
    [
        ("audio", "soundfile", ".wav", "audio", {}),
        ("eeg", "mne", ".fif", "eeg", {}),
        ("timeseries", "pyarrow", ".parquet", "parquet", {"channels": ["a"], "sample_rate": 10.0}),
    ],
)
def test_a_file_whose_library_is_missing_names_the_extra(
    plugins: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
    library: str,
    suffix: str,
    extra: str,
    settings: dict[str, Any],
) -> None:
    built = modality(plugins, kind, **settings)
    path = tmp_path / f"a_raw{suffix}"
    built.save(built.example(), path)
    hide(monkeypatch, library)
    if library == "pyarrow":
        hide(monkeypatch, "pyarrow.parquet")
    with pytest.raises(MediaError, match=rf'polyjanus\[{extra}\]"'):
        built.load(path)


def test_a_component_whose_library_is_missing_names_the_extra(
    plugins: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(YAML.format("{type: audio, understand: {encoder: {type: mel_patch}}}"), encoding="utf-8")
    monkeypatch.setattr("polyjanus.core.model.fitting.can_import", lambda name: name != "torchaudio")
    with pytest.raises(WiringError, match=r"'mel_patch' needs torchaudio(.|\n)*polyjanus\[audio\]"):
        Pipeline.from_yaml(path, plugins=plugins, device="cpu")
