"""Stand-ins for every kind of component, so that these tests need no plugin."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

import pytest
from pydantic import Field

from polyjanus.core.config.reading import Loaded, read_pipeline
from polyjanus.core.errors import ConfigError
from polyjanus.core.registry import Registries
from polyjanus.core.settings import (
    AdaptorConfig,
    BackboneConfig,
    CodecConfig,
    EncoderConfig,
    Floats,
    HeadConfig,
    LayoutConfig,
    MetricConfig,
    ModalityConfig,
    PretrainedSettings,
    SamplerConfig,
    Settings,
    SourceConfig,
    Strings,
    TemplateConfig,
    TokenizerConfig,
)


class Lm(PretrainedSettings, BackboneConfig):
    """A language model."""

    type: Literal["lm"]
    dtype: Literal["auto", "float32"] = "auto"


class AutoTokenizer(TokenizerConfig):
    """A tokenizer."""

    type: Literal["auto"]


class AutoTemplate(TemplateConfig):
    """A template."""

    type: Literal["auto"]


class Greedy(SamplerConfig):
    """The likeliest."""

    type: Literal["greedy"]


class Nucleus(SamplerConfig):
    """A draw."""

    type: Literal["nucleus"]
    temperature: float = Field(1.0, gt=0)


class Guided(SamplerConfig):
    """A guided draw."""

    type: Literal["guided"]
    scale: float = 5.0


class Patch(EncoderConfig):
    """Patches."""

    type: Literal["patch"]
    depth: int = Field(2, gt=0)
    mean: Floats = (0.5, 0.5)
    size: tuple[int, int] | int = 8
    is_causal: bool = False
    title: str = "patch"


class Shared(EncoderConfig):
    """The part of another component."""

    type: Literal["shared"]
    of: str


class Mlp(AdaptorConfig):
    """Linear layers."""

    type: Literal["mlp"]
    depth: int = 2


class Vq(CodecConfig):
    """Codes."""

    type: Literal["vq"]
    codes: int = Field(description="number of codes")


class Grid(LayoutConfig):
    """A grid."""

    type: Literal["grid"]


class MlpHead(HeadConfig):
    """A head."""

    type: Literal["mlp"]


class Picture(ModalityConfig):
    """Pictures."""

    type: Literal["image"]
    max_pixels: int = 100


class Channel(Settings):
    """One channel."""

    name: str
    gain: float = 1.0


class Series(ModalityConfig):
    """Series in time."""

    type: Literal["timeseries"]
    channels: Strings
    positions: dict[str, Channel] = Field(default_factory=dict)
    sample_rate: float = Field(description="Hz")


class Folder(SourceConfig):
    """A folder."""

    type: Literal["folder"]
    path: str
    task: str | None = None


class Accuracy(MetricConfig):
    """The share that is right."""

    type: Literal["accuracy"]
    data: str
    rows: int = 10


STAND_INS = (
    *(Lm, AutoTokenizer, AutoTemplate, Greedy, Nucleus, Guided, Patch, Shared, Mlp, Vq, Grid, MlpHead),
    *(Picture, Series, Folder, Accuracy),
)

RICH = """\
polyjanus: 1
backbone:
  type: lm
  pretrained: ./model
  dtype: auto
template: auto
text:
  tokenizer:
    type: auto
  sampler:
    type: nucleus
    temperature: 0.7
  loss_weight: 1
modalities:
  image:
    max_pixels: 64
    understand:
      encoder:
        type: patch
        depth: 3
        mean: [0.1, 0.2]
        size: [4, 4]
        is_causal: true
        title: eyes
      adaptor:
        type: mlp
        depth: 2
    generate:
      codec:
        type: vq
        codes: 16
      layout: grid
      embedding:
        width: 8
      adaptor: {type: mlp, depth: 1}
      head:
        type: mlp
      sampler:
        type: guided
        scale: 5.0
      loss_weight: 0.5
  imu:
    type: timeseries
    channels: [ax, ay]
    positions:
      ax:
        name: left
        gain: 2
    sample_rate: 100
    understand:
      encoder:
        type: shared
        of: image.generate.codec
data:
  captions:
    type: folder
    path: ./pictures
    task: image.generate
    validation: 0.1
  motion:
    type: folder
    path: ./motion
    task: imu.understand
training:
  seed: 1
  precision: auto
  max_tokens: 128
  caption_dropout: 0.1
  validation:
    every: 5
    rows: 8
    best: captions.loss
  save:
    every: 5
    keep: 1
  stages:
    - name: codec
      objective: reconstruct
      train: [image.generate.codec]
      mix:
        captions: 1
      steps: 10
      batch: 2
      lr: 1e-3
    - name: all
      train: ["*.adaptor", imu, marks]
      mix:
        captions: 2
        motion: 1
      steps: 10
      batch: 2
      lr: 1e-4
      schedule: cosine
      warmup: 2
      weight_decay: 0.1
      betas: [0.9, 0.99]
      clip: 1.0
evaluation:
  score:
    type: accuracy
    data: motion
    rows: 5
"""

Write = Callable[..., Path]
Read = Callable[..., Loaded]
Messages = Callable[..., list[str]]


@pytest.fixture(scope="session")
def registries() -> Registries:
    registries = Registries()
    for settings in STAND_INS:
        registries.of(settings.kind).add(settings)
    return registries


@pytest.fixture
def rich() -> str:
    return RICH


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a YAML file and return its path."""

    def written(text: str, name: str = "cfg.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return written


@pytest.fixture
def read(write: Write, registries: Registries) -> Read:
    """Write a YAML file and read it as a pipeline."""

    def loaded(text: str, *overrides: str, environ: dict[str, str] | None = None) -> Loaded:
        return read_pipeline(write(text), registries, overrides, environ or {})

    return loaded


@pytest.fixture
def messages(read: Read) -> Messages:
    """Return the faults of a YAML text as `line: path: message`, the file left out."""

    def found(text: str, *overrides: str, **options: Any) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read(text, *overrides, **options)
        faults = caught.value.faults
        return [f"{each.line or each.file}: {each.path}: {each.message}" for each in faults]

    return found


@pytest.fixture
def small() -> str:
    return "polyjanus: 1\nbackbone: {type: lm, pretrained: ./model}\n"
