"""A plugin written for api_version 1, kept as it was: later versions of polyjanus must go on taking it.

Do not change this file. It uses what version 1 promises: settings, media, encoder, codec, adaptor, layout, head,
sampler and hooks, each written out, with no base class but those of the contracts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from polyjanus import hookimpl
from polyjanus.core.errors import MediaError
from polyjanus.core.modality import Modality
from polyjanus.core.settings import (
    AdaptorConfig,
    CodecConfig,
    EncoderConfig,
    HeadConfig,
    LayoutConfig,
    ModalityConfig,
    SamplerConfig,
)


@dataclass(frozen=True, eq=False)
class Tide:
    """Heights (12,) in metres."""

    heights: Any


class TideModality(Modality[Tide, Any]):
    """Twelve heights of the sea, one an hour."""

    keys: ClassVar[tuple[str, ...]] = ("tide", "path")
    suffixes: ClassVar[tuple[str, ...]] = (".tide",)
    medium = Tide

    def load(self, source, start=None, duration=None):
        if start is not None or duration is not None:
            raise MediaError("a tide is whole", where=self.name)
        if isinstance(source, Tide):
            return source
        try:
            content = source if isinstance(source, bytes) else Path(source).read_bytes()
        except (OSError, TypeError, ValueError) as error:
            raise MediaError(f"no tide: {error}", where=self.name) from error
        if len(content) != 48 or len(content) > self.settings.max_bytes:
            raise MediaError(f"{len(content)} bytes are no twelve heights", where=self.name)
        heights = np.frombuffer(content, "<f4").astype(np.float32)
        if not (np.abs(heights) < 20).all():
            raise MediaError("heights beyond 20 m", where=self.name)
        return Tide(heights)

    def save(self, media, path):
        if path.suffix != ".tide":
            raise MediaError(f"cannot write {path.suffix}", where=self.name)
        path.write_bytes(media.heights.astype("<f4").tobytes())

    def preview(self, media):
        import io

        from PIL import Image

        rows = np.arange(20, -20, -1)[:, None] / 4 < media.heights[None]
        stream = io.BytesIO()
        Image.fromarray((~rows * 255).astype(np.uint8)).save(stream, "PNG")
        return stream.getvalue()

    def example(self):
        return Tide((3 * np.sin(np.arange(12) / 2) + np.arange(12) / 10).astype(np.float32))


class TideConfig(ModalityConfig):
    """Heights of the sea over twelve hours, in metres."""

    api_version = 1
    type: Literal["tide"]
    max_bytes: int = Field(default=1000, gt=0, description="bytes of a file, at most")

    def build(self, context):
        return TideModality(context.path, self)


class TideHoursConfig(EncoderConfig):
    """One token an hour."""

    api_version = 1
    modality_types = ("tide",)
    type: Literal["tide_hours"]
    width: int = Field(default=8, gt=0, description="values per token")

    def build(self, context):
        import torch
        from torch import nn

        from polyjanus.core.modules import Encoder

        class Hours(Encoder):
            def __init__(self, width):
                super().__init__()
                self.width = width
                self.project = nn.Linear(1, width)

            def prepare(self, media):
                return {"heights": torch.from_numpy(media.heights.copy())}

            def num_tokens(self, prepared):
                return prepared["heights"].shape[0], None

            def forward_one(self, heights):
                return self.project(heights[:, None])

        return Hours(self.width)


class TideStepsConfig(CodecConfig):
    """Each height to the nearest of 64; nothing is learned."""

    api_version = 1
    modality_types = ("tide",)
    type: Literal["tide_steps"]

    def build(self, context):
        import torch

        from polyjanus.core.modules import Codec

        class Steps(Codec):
            cardinality, num_codebooks, max_codes, min_codes = 64, 1, 12, 12

            def prepare(self, media):
                return {"heights": torch.from_numpy(media.heights.copy())}

            def num_codes(self, prepared):
                return 12

            def encode(self, items):
                return [(((i["heights"] + 5) * 6.3).round().long().clamp(0, 63))[:, None] for i in items]

            def decode(self, codes):
                return [Tide((item[:, 0].float() / 6.3 - 5).cpu().numpy()) for item in codes]

        return Steps()


class TideAdaptorConfig(AdaptorConfig):
    """One linear layer."""

    api_version = 1
    type: Literal["tide_adaptor"]

    def build(self, context):
        from torch import nn

        from polyjanus.core.modules import Adaptor, Features

        class Linear(Adaptor):
            def __init__(self, width_in, width_out):
                super().__init__()
                self.layer = nn.Linear(width_in, width_out)

            def forward(self, features):
                return Features(self.layer(features.values), features.lengths, features.grids)

        return Linear(context.width_in, context.width_out)


class TideLayoutConfig(LayoutConfig):
    """Codes backwards, the last hour first."""

    api_version = 1
    type: Literal["tide_layout"]

    def build(self, context):
        from polyjanus.core.modules import Layout

        class Backwards(Layout):
            def __init__(self):
                self.cardinality, self.width = context.cardinality, context.num_codebooks
                self.max_steps = context.max_codes

            def num_steps(self, num_codes):
                return num_codes

            def pack(self, codes):
                return codes.flip(0)

            def unpack(self, frames):
                return frames.flip(0)

            def is_last(self, frame, step):
                return step == self.max_steps - 1

        return Backwards()


class TideHeadConfig(HeadConfig):
    """One linear layer."""

    api_version = 1
    type: Literal["tide_head"]

    def build(self, context):
        from torch import nn

        from polyjanus.core.modules import LogitsHead

        class Linear(LogitsHead):
            def __init__(self, width, columns, cardinality):
                super().__init__()
                self.shape = (columns, cardinality)
                self.layer = nn.Linear(width, columns * cardinality)

            def logits(self, hidden):
                return self.layer(hidden).unflatten(-1, self.shape)

        return Linear(context.d_model, context.num_codebooks, context.cardinality)


class TideSamplerConfig(SamplerConfig):
    """The likeliest code."""

    api_version = 1
    type: Literal["tide_sampler"]

    def build(self, context):
        from polyjanus.core.modules import Sampler

        class Likeliest(Sampler):
            is_greedy = True

            def __call__(self, logits, noise):
                return logits.argmax(-1)

        return Likeliest()


@hookimpl
def register(registries):
    registries.modalities.add(TideConfig)
    registries.encoders.add(TideHoursConfig)
    registries.codecs.add(TideStepsConfig)
    registries.adaptors.add(TideAdaptorConfig)
    registries.layouts.add(TideLayoutConfig)
    registries.heads.add(TideHeadConfig)
    registries.samplers.add(TideSamplerConfig)


STARTED = []


@hookimpl
def run_started(folder, resumed):
    STARTED.append(Path(folder))


@hookimpl
def step_finished(record):
    with (STARTED[-1] / "tide.txt").open("a") as file:
        file.write(f"{record['step']} ")


@hookimpl
def checkpoint_saved(folder, step):
    with (STARTED[-1] / "tide.txt").open("a") as file:
        file.write("saved ")
