"""Adaptors: from the width of features or code embeddings to that of the backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from polyjanus.core.errors import WiringError
from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import AdaptorConfig, BuildContext

if TYPE_CHECKING:
    from polyjanus.plugins.adaptors.modules import IdentityAdaptor, LinearAdaptor, MlpAdaptor, Resampler


class IdentityConfig(AdaptorConfig):
    """Pass features through unchanged; they must have the width of the backbone."""

    type: Literal["identity"]

    def build(self, context: BuildContext) -> IdentityAdaptor:
        """Return the adaptor; unequal widths are a WiringError."""
        from polyjanus.plugins.adaptors.modules import IdentityAdaptor

        if context.width_in != context.width_out:
            raise WiringError(
                f"{context.path}: 'identity' passes on width {context.width_in}, the backbone has {context.width_out}",
                paths=[context.path, "backbone"],
                hint="use an adaptor that projects, such as 'linear' or 'mlp'",
            )
        return IdentityAdaptor()


class LinearConfig(AdaptorConfig):
    """One linear projection, as LLaVA (arXiv 2304.08485) has it."""

    type: Literal["linear"]

    def build(self, context: BuildContext) -> LinearAdaptor:
        """Return the adaptor."""
        from polyjanus.plugins.adaptors.modules import LinearAdaptor

        return LinearAdaptor(context.width_in, context.width_out)


class MlpConfig(AdaptorConfig):
    """Linear layers with GELU between them: Janus' aligner (arXiv 2410.13848, section 3.1)."""

    type: Literal["mlp"]
    depth: int = Field(default=2, gt=0, description="linear layers; the first one changes the width")

    def build(self, context: BuildContext) -> MlpAdaptor:
        """Return the adaptor."""
        from polyjanus.plugins.adaptors.modules import MlpAdaptor

        return MlpAdaptor(context.width_in, context.width_out, self.depth)


class ResamplerConfig(AdaptorConfig):
    """Learned queries that read any number of features into a fixed number (Flamingo, arXiv 2204.14198)."""

    type: Literal["resampler"]
    tokens: int = Field(default=64, gt=0, description="features that come out, however many go in")
    depth: int = Field(default=2, gt=0, description="rounds of attention and MLP")
    heads: int = Field(default=8, gt=0, description="attention heads; must divide the width")
    width: int | None = Field(default=None, gt=0, description="inner width; that of the backbone when absent")

    def build(self, context: BuildContext) -> Resampler:
        """Return the adaptor; heads that do not divide the width are a WiringError."""
        from polyjanus.plugins.adaptors.modules import Resampler

        width = self.width or context.width_out
        if width % self.heads:
            raise WiringError(
                f"{context.path}: {self.heads} heads do not divide the resampler's width {width}",
                paths=[context.path],
                hint=f"set 'heads' to a divisor of {width}, or 'width' to a multiple of {self.heads}",
            )
        return Resampler(
            (context.width_in, width, context.width_out), tokens=self.tokens, depth=self.depth, heads=self.heads
        )


@hookimpl
def register(registries: Registries) -> None:
    """Offer the adaptors."""
    for settings in (IdentityConfig, LinearConfig, MlpConfig, ResamplerConfig):
        registries.adaptors.add(settings)
