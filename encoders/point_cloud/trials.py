"""Settings of what there is to try point clouds on: made-up solids and their evaluations. It loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from polyjanus.core.settings import BuildContext, MetricConfig, SourceConfig

if TYPE_CHECKING:
    from polyjanus.encoders.point_cloud.judges import MadeShapes, NamedShapes
    from polyjanus.encoders.point_cloud.shapes import ShapeRows


class ShapesConfig(SourceConfig):
    """Made-up clouds of eight solids, with a question or a request in words: no files are needed."""

    type: Literal["shapes"]
    task: Literal["name", "make"] = Field(description="'name' asks which shape it is, 'make' asks for a cloud")
    rows: int = Field(default=2000, gt=0, description="solids, each of sizes of its own")
    points: int = Field(default=512, gt=0, description="points of a cloud")

    def build(self, context: BuildContext) -> ShapeRows:
        """Return the rows."""
        from polyjanus.encoders.point_cloud.shapes import ShapeRows

        return ShapeRows(self.task, self.rows, self.points)


class ShapesNamedConfig(MetricConfig):
    """How many made-up solids are named rightly, by exact match."""

    type: Literal["shapes_named"]

    def build(self, context: BuildContext) -> NamedShapes:
        """Return the metric."""
        from polyjanus.encoders.point_cloud.judges import NamedShapes

        return NamedShapes()


class ShapesMadeConfig(MetricConfig):
    """How many solids made on request a classifier recognises that was fitted on solids as they are."""

    type: Literal["shapes_made"]

    def build(self, context: BuildContext) -> MadeShapes:
        """Return the metric."""
        from polyjanus.encoders.point_cloud.judges import MadeShapes

        return MadeShapes()
