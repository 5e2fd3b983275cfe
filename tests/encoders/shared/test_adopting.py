"""A plain torch module in a file that the user names is an encoder; its constructor's arguments are its settings."""

from pathlib import Path
from typing import Any

import pytest
import torch

from polyjanus.core.errors import ConfigError, WiringError
from polyjanus.core.manager import load_plugins
from polyjanus.core.pipeline import Pipeline

NETWORK = """
import torch


class Part(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()


class Net(torch.nn.Module):
    \"\"\"Stretches of a wave, by one convolution.\"\"\"

    def __init__(self, width: int, stride: int = 8, bias: bool = True):
        super().__init__()
        self.layer = torch.nn.Conv1d(2, width, 8, stride, bias=bias)

    def forward(self, values):
        return self.layer(values).transpose(1, 2)
"""
YAML = """
polyjanus: 1
backbone: {{type: causal_lm, architecture: {{model_type: llama, hidden_size: 32, intermediate_size: 64,
  num_hidden_layers: 1, num_attention_heads: 2}}}}
template: {{type: janus, user: User, assistant: Assistant}}
text: {{tokenizer: bytes}}
modalities:
  x: {{type: timeseries, channels: [a, b], sample_rate: 32, understand: {{encoder: {{{encoder}}}}}}}
"""
ENCODER = "type: Net, width: 12, arranged: channels"


@pytest.fixture
def make(tmp_path: Path) -> Any:
    def build(encoder: str, network: str = NETWORK) -> tuple[Any, Any]:
        (tmp_path / "net.py").write_text(network, encoding="utf-8")
        (tmp_path / "x.yaml").write_text(YAML.format(encoder=encoder), encoding="utf-8")
        plugins = load_plugins([tmp_path / "net.py"])
        return Pipeline.from_yaml(tmp_path / "x.yaml", plugins=plugins, device="cpu"), plugins

    return build


def test_a_plain_module_reads_and_learns(make: Any) -> None:
    pipeline, plugins = make(ENCODER)
    encoder = pipeline.model.part("x.understand.encoder")
    media = pipeline.compiler.modalities["x"].example()
    prepared = encoder.prepare(media)
    assert encoder.width == 12
    with torch.no_grad():
        torch.testing.assert_close(encoder([prepared]).values, encoder.tower(prepared["values"][None])[0])
    part = {"type": "x", "x": media}
    row = [{"role": "user", "content": [part, "what?"]}, {"role": "assistant", "content": "that"}]
    pipeline.model(**pipeline.collate([row])).loss.backward()
    assert encoder.tower.layer.weight.grad.abs().sum() > 0
    assert plugins.registries.encoders.entry("Net").summary == "Stretches of a wave, by one convolution."


def test_a_saved_pipeline_wants_the_file_again_and_gives_the_same(make: Any, tmp_path: Path) -> None:
    pipeline, plugins = make(ENCODER)
    folder = pipeline.save(tmp_path / "saved")
    again = Pipeline.from_pretrained(folder, plugins=plugins, device="cpu")
    mine, theirs = pipeline.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    with pytest.raises(ConfigError, match=r"--plugin .*net\.py"):
        Pipeline.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        ("type: Net, width: 12, arranged: mono", "Net cannot be given values of shape"),
        ("type: Net, width: wide, arranged: channels", "whole number|integer"),
        ("type: Net, widht: 12", "did you mean 'width'"),
        ("type: Part", "no encoder of type 'Part'"),
    ],
)
def test_what_does_not_fit_is_told(make: Any, encoder: str, told: str) -> None:
    with pytest.raises((WiringError, ConfigError), match=told):
        make(encoder)


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (NETWORK.replace("width: int", "width"), "'inner' of Part is no int|'width' of Net is no int"),
        ("import torch", "implements no hook"),
        ("class Net: ...", "implements no hook"),
    ],
)
def test_a_file_that_offers_nothing_says_why(tmp_path: Path, network: str, told: str) -> None:
    (tmp_path / "net.py").write_text(network, encoding="utf-8")
    (reason,) = load_plugins([tmp_path / "net.py"]).broken.values()
    assert any(each in reason for each in told.split("|"))
