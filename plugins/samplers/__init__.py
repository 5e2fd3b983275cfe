"""Samplers: from logits to codes, with noise that is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, SamplerConfig, Settings

if TYPE_CHECKING:
    from polyjanus.plugins.samplers.draws import GreedySampler, NoiseSampler


class DrawSettings(Settings):
    """How logits are sharpened and cut before one code is drawn."""

    temperature: float = Field(default=1.0, gt=0, description="logits are divided by it; below 1 is sharper")
    top_p: float = Field(default=1.0, gt=0, le=1, description="least probability mass kept, likeliest codes first")
    top_k: int = Field(default=0, ge=0, description="number of likeliest codes kept; 0 keeps all")


class GreedyConfig(SamplerConfig):
    """The likeliest code, always."""

    type: Literal["greedy"]
    scale: float = Field(default=1.0, ge=0, description="scale of classifier-free guidance; 1 is none")

    def build(self, context: BuildContext) -> GreedySampler:
        """Return the sampler."""
        from polyjanus.plugins.samplers.draws import GreedySampler

        return GreedySampler(self.scale)


class NucleusConfig(SamplerConfig, DrawSettings):
    """A draw from the likeliest codes (nucleus sampling, arXiv 1904.09751), without guidance."""

    type: Literal["nucleus"]

    def build(self, context: BuildContext) -> NoiseSampler:
        """Return the sampler."""
        from polyjanus.plugins.samplers.draws import NoiseSampler

        return NoiseSampler(self.temperature, self.top_p, self.top_k)


class GuidedConfig(SamplerConfig, DrawSettings):
    """A draw after classifier-free guidance (Janus, arXiv 2410.13848: scale 5, temperature 1)."""

    type: Literal["guided"]
    scale: float = Field(default=5.0, ge=0, description="scale of classifier-free guidance; 1 is none")

    def build(self, context: BuildContext) -> NoiseSampler:
        """Return the sampler."""
        from polyjanus.plugins.samplers.draws import NoiseSampler

        return NoiseSampler(self.temperature, self.top_p, self.top_k, guidance=self.scale)


@hookimpl
def register(registries: Registries) -> None:
    """Offer the samplers."""
    for settings in (GreedyConfig, NucleusConfig, GuidedConfig):
        registries.samplers.add(settings)
