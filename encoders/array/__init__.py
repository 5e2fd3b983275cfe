"""Arrays of any sensor on a regular grid: what a YAML may say about them. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, ModalityConfig

if TYPE_CHECKING:
    from polyjanus.encoders.array.media import ArrayModality

Side = Annotated[int, Field(gt=0)]
Shape = Annotated[tuple[Side, Side, Side], Field(strict=False)]


class ArraySettings(ModalityConfig):
    """What is said of arrays of one shape; a plugin's own kind of them adds its `type` and its defaults."""

    behaves_like = ("grid",)

    shape: Shape = Field(description="channels, rows, columns; a spectrum of 512 bins is [1, 1, 512]")
    low: float = Field(default=-1.0, description="the value that networks see as -1, in the array's units")
    high: float = Field(default=1.0, description="the value that networks see as 1")
    units: str = Field(default="", description="what the values are in, such as dB; for people")
    max_bytes: int = Field(default=100_000_000, gt=0, description="bytes of a file, at most")

    @model_validator(mode="after")
    def _spans(self) -> Self:
        if self.low >= self.high:
            raise PydanticCustomError("low", "'low' must be below 'high'")
        return self

    def build(self, context: BuildContext) -> ArrayModality:
        """Return what loads and saves arrays."""
        from polyjanus.encoders.array.media import ArrayModality

        return ArrayModality(context.path, self)


class ArrayConfig(ArraySettings):
    """Arrays of one shape: spectra, spectrograms, radar frames, maps. Spectra are one row."""

    example_settings = {"shape": (2, 16, 16)}

    type: Literal["array"]


@hookimpl
def register(registries: Registries) -> None:
    """Offer arrays."""
    registries.modalities.add(ArrayConfig)
