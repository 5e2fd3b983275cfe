"""Time series of any sensor: what a YAML may say about them. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, ModalityConfig

if TYPE_CHECKING:
    from polyjanus.encoders.timeseries.media import TimeSeriesModality

Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class TimeSeriesConfig(ModalityConfig):
    """Signals of any sensor: the channels and the rate are declared here, and every file must have them."""

    behaves_like = ("signal",)
    example_settings = {"channels": ("x", "y"), "sample_rate": 20.0}

    type: Literal["timeseries"]
    channels: Names = Field(description="names of the channels, in order; columns of a CSV or Parquet file")
    sample_rate: float = Field(gt=0, description="samples per second, Hz")
    units: str = Field(default="", description="what the values are in, such as m/s²; for people")
    scale: float = Field(default=1.0, gt=0, description="the size that values typically have, in these units")
    max_seconds: float = Field(default=3600.0, gt=0, description="of one signal, at most")
    max_bytes: int = Field(default=100_000_000, gt=0, description="bytes of a file, at most")

    @field_validator("channels")
    @classmethod
    def _differ(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(channels)) != len(channels) or not all(name.strip() for name in channels):
            raise PydanticCustomError("channels", "every channel needs a name of its own")
        return channels

    def build(self, context: BuildContext) -> TimeSeriesModality:
        """Return what loads and saves time series."""
        from polyjanus.encoders.timeseries.media import TimeSeriesModality

        return TimeSeriesModality(context.path, self)


@hookimpl
def register(registries: Registries) -> None:
    """Offer time series."""
    registries.modalities.add(TimeSeriesConfig)
