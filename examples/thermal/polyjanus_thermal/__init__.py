"""Thermal: what a YAML may say about it. Importing this loads no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from polyjanus import hookimpl
from polyjanus.core.settings import CodecConfig, EncoderConfig, Ints
from polyjanus.encoders.array import ArraySettings


class ThermalConfig(ArraySettings):
    """Thermal: one NumPy array per file; the YAML says its shape, its range and its unit."""

    example_settings = {"shape": (1, 8, 8)}

    type: Literal["thermal"]

    def build(self, context: Any) -> Any:
        """Return what loads, saves and shows it."""
        from polyjanus_thermal.media import ThermalModality

        return ThermalModality(context.path, self)


class ThermalPatchesConfig(EncoderConfig):
    """A small network: one token for every patch of cells."""

    modality_types = ("thermal",)

    type: Literal["thermal_patches"]
    patch: int = Field(default=2, gt=0, description="cells a side of a token; it divides rows and columns")
    width: int = Field(default=64, gt=0, description="values per token")

    def build(self, context: Any) -> Any:
        """Return the encoder, its weights fresh."""
        from polyjanus_thermal.encoder import ThermalEncoder

        return ThermalEncoder(context.modality.grid(), patch=self.patch, width=self.width)


class ThermalCodesConfig(CodecConfig):
    """Two small networks around finite scalar quantisation: one code for every patch of cells."""

    modality_types = ("thermal",)

    type: Literal["thermal_codes"]
    patch: int = Field(default=2, gt=0, description="cells a side of a code; it divides rows and columns")
    levels: Ints = Field(default=(8, 8, 4), min_length=1, description="values per dimension; their product: codes")

    def build(self, context: Any) -> Any:
        """Return the codec, its weights fresh."""
        from polyjanus_thermal.codec import ThermalCodec

        return ThermalCodec(context.modality.grid(), self.levels, patch=self.patch)


@hookimpl
def register(registries: Any) -> None:
    """Offer what this package brings."""
    registries.modalities.add(ThermalConfig)
    registries.encoders.add(ThermalPatchesConfig)
    registries.codecs.add(ThermalCodesConfig)
