"""Point clouds: what a YAML may say about them. Importing this loads neither torch nor Open3D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import (
    BuildContext,
    CodecConfig,
    EncoderConfig,
    Ints,
    ModalityConfig,
    PretrainedSettings,
    Settings,
)
from polyjanus.encoders.point_cloud.trials import ShapesConfig, ShapesMadeConfig, ShapesNamedConfig

if TYPE_CHECKING:
    from polyjanus.encoders.point_cloud.groups import Grouping
    from polyjanus.encoders.point_cloud.media import PointCloudModality
    from polyjanus.encoders.point_cloud.places import Cube
    from polyjanus.encoders.point_cloud.point_bert import PointBertEncoder
    from polyjanus.encoders.point_cloud.point_fsq import PointFsqCodec
    from polyjanus.encoders.point_cloud.point_patch import PointPatchEncoder
    from polyjanus.encoders.point_cloud.voxel import VoxelCodec

POINT_CLOUDS = ("point_cloud",)
Start = Literal["canonical", "first"]


class CubeSettings(Settings):
    """The cube of space that a codec describes."""

    extent: float = Field(default=2.0, gt=0, description="metres; side of the cube, whose middle is the origin")
    normalise: bool = Field(
        default=True,
        description="whether a cloud is moved and scaled to fill the cube, its own place and size being lost;"
        " else points outside are refused",
    )

    def cube(self) -> Cube:
        """Return what brings points into the cube and back."""
        from polyjanus.encoders.point_cloud.places import Cube

        return Cube(self.extent, normalise=self.normalise)


class PillarSettings(CubeSettings):
    """How a cloud becomes a grid, seen from above, for what works on grids: `patch2d`, `fsq2d` and their like."""

    height: float = Field(default=1.0, gt=0, le=1, description="of the cube's side: how high the layers reach")
    layers: int = Field(default=8, gt=0, description="cells from bottom to top; they are the grid's channels")
    points: int = Field(default=512, gt=0, description="points of a cloud that is made of a grid")


class PointCloudConfig(ModalityConfig):
    """Sets of points in metres, with colours and normals where they are known; meshes become points."""

    behaves_like = ("grid",)

    type: Literal["point_cloud"]
    max_points: int = Field(default=2_000_000, gt=0, description="points of a cloud, at most")
    max_bytes: int = Field(default=100_000_000, gt=0, description="bytes of a file, at most")
    sample_points: int = Field(default=8192, gt=0, description="points drawn from the surface of a mesh")
    seed: int = Field(default=0, ge=0, description="of drawing them")
    pillars: PillarSettings = Field(
        default=PillarSettings(), description="the grid of cells that `patch2d`, `fsq2d` and their like see"
    )

    def build(self, context: BuildContext) -> PointCloudModality:
        """Return what loads and saves point clouds."""
        from polyjanus.encoders.point_cloud.media import PointCloudModality

        return PointCloudModality(context.path, self)


class GroupSettings(Settings):
    """How a cloud becomes groups of neighbouring points."""

    points: int = Field(default=8192, gt=0, description="points that are looked at; of more, so many are drawn")
    groups: int = Field(default=512, gt=0, description="groups; each gives one feature")
    group_size: int = Field(default=32, gt=0, description="points of a group, the nearest of its centre")

    @model_validator(mode="after")
    def _has_enough_points(self) -> Self:
        if max(self.groups, self.group_size) > self.points:
            text = f"{self.points} points are too few for {self.groups} groups of {self.group_size}"
            raise PydanticCustomError("points", "{text}", {"text": text})
        return self


class PointBertArchitecture(GroupSettings):
    """The sizes of a Point-BERT; the defaults are those of PointLLM v1.2."""

    width: int = Field(default=384, gt=0)
    depth: int = Field(default=12, gt=0)
    heads: int = Field(default=6, gt=0)
    encoder_width: int = Field(default=256, gt=0, description="of a group before the transformer")
    channels: Literal[3, 6] = Field(default=6, description="3 coordinates, 6 with colours (black where unknown)")
    has_class_token: bool = Field(default=True, description="whether a feature of the whole cloud comes first")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            text = f"width {self.width} is no multiple of {self.heads} heads"
            raise PydanticCustomError("heads", "{text}", {"text": text})
        return self


class PointBertConfig(EncoderConfig, PretrainedSettings):
    """Point-BERT as in PointLLM v1.1 and v1.2, and Point-MAE (arXiv 2308.16911, 2203.06604): one feature per group."""

    modality_types = POINT_CLOUDS

    type: Literal["point_bert"]
    pretrained: str | None = Field(
        default=None, description="a published .pt or .pth file, or a folder or hub id of PointLLM's language model"
    )
    architecture: PointBertArchitecture | None = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=None, description="sizes; {} for those of PointLLM v1.2"
    )
    start: Start = Field(
        default="canonical",
        description="where sampling begins: 'canonical' does not depend on the order of the points, 'first' takes"
        " the first point and keeps the order, as Point-MAE's farthest point sampling does",
    )

    def resolve(self, context: BuildContext) -> Self:
        """Return these settings with the architecture of the checkpoint that they name."""
        if not self.pretrained:
            return self
        from polyjanus.encoders.point_cloud.weights import read_architecture

        known = {"pretrained": None, "architecture": read_architecture(self.pretrained, context)}
        return self.model_copy(update={**known, "initialised_from": self.pretrained})

    def build(self, context: BuildContext) -> PointBertEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.point_cloud.point_bert import PointBertEncoder

        sizes = self.resolve(context).architecture or PointBertArchitecture()
        return PointBertEncoder(
            grouping(sizes, channels=sizes.channels, start=self.start),
            width=sizes.width,
            depth=sizes.depth,
            heads=sizes.heads,
            encoder_width=sizes.encoder_width,
            has_class_token=sizes.has_class_token,
        )

    def load(self, component: Any, context: BuildContext) -> None:
        """Fill the encoder with the weights of `pretrained`."""
        if self.pretrained:
            from polyjanus.encoders.point_cloud.weights import load_encoder

            load_encoder(component, self.pretrained, context)


class PointPatchConfig(EncoderConfig, GroupSettings):
    """Groups of neighbouring points, one feature each, by a small transformer that is trained from scratch."""

    modality_types = POINT_CLOUDS

    type: Literal["point_patch"]
    points: int = Field(default=1024, gt=0, description="points that are looked at; of more, so many are drawn")
    groups: int = Field(default=32, gt=0, description="groups; each gives one feature")
    group_size: int = Field(default=32, gt=0, description="points of a group, the nearest of its centre")
    width: int = Field(default=128, gt=0, description="width of the features")
    depth: int = Field(default=3, ge=0, description="transformer layers")
    heads: int = Field(default=4, gt=0, description="attention heads; they divide the width")
    colours: bool = Field(default=False, description="whether colours are looked at (black where unknown)")
    normalise: bool = Field(
        default=True, description="whether clouds are moved to their centre and scaled to radius 1; else metres count"
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            text = f"width {self.width} is no multiple of {self.heads} heads"
            raise PydanticCustomError("heads", "{text}", {"text": text})
        return self

    def build(self, context: BuildContext) -> PointPatchEncoder:
        """Return the encoder, its weights fresh."""
        from polyjanus.encoders.point_cloud.point_patch import PointPatchEncoder

        groups = grouping(self, channels=6 if self.colours else 3, normalise=self.normalise)
        return PointPatchEncoder(groups, width=self.width, depth=self.depth, heads=self.heads)


class VoxelConfig(CodecConfig, CubeSettings):
    """Occupied cells of a cube, in Morton order, one code each: nothing to train; goes with the layout `ended`."""

    modality_types = POINT_CLOUDS

    type: Literal["voxel"]
    bits: int = Field(default=4, ge=1, le=6, description="the cube has 2^bits cells a side: 8^bits codes")
    max_codes: int = Field(default=256, gt=0, description="cells of a cloud; of more, so many spread out are kept")

    def build(self, context: BuildContext) -> VoxelCodec:
        """Return the codec."""
        from polyjanus.encoders.point_cloud.voxel import VoxelCodec

        return VoxelCodec(self.cube(), self.bits, self.max_codes)


class PointFsqConfig(CodecConfig, CubeSettings):
    """A set autoencoder with finite scalar quantisation (arXiv 2309.15505): a fixed number of codes per cloud."""

    modality_types = POINT_CLOUDS

    type: Literal["point_fsq"]
    points: int = Field(default=256, gt=0, description="points that are looked at, and points that are written")
    codes: int = Field(default=16, gt=0, description="codes of every cloud")
    levels: Ints = Field(default=(8, 5, 5, 5), min_length=1, description="values per dimension; their product: codes")
    width: int = Field(default=64, gt=0, description="values per point")

    @model_validator(mode="after")
    def _has_levels(self) -> Self:
        if min(self.levels) < 2:
            raise PydanticCustomError("levels", "every level needs at least 2 values")
        return self

    def build(self, context: BuildContext) -> PointFsqCodec:
        """Return the codec, its weights fresh."""
        from polyjanus.encoders.point_cloud.point_fsq import PointFsqCodec

        return PointFsqCodec(self.cube(), self.levels, points=self.points, codes=self.codes, width=self.width)


def grouping(settings: GroupSettings, *, channels: int, start: str = "canonical", normalise: bool = True) -> Grouping:
    """Return what makes groups of the points of a cloud."""
    from polyjanus.encoders.point_cloud.groups import Grouping

    return Grouping(
        settings.points,
        settings.groups,
        settings.group_size,
        channels=channels,
        start=start,
        normalise=normalise,
    )


@hookimpl
def register(registries: Registries) -> None:
    """Offer point clouds, their encoders and codecs, and clouds to try them on."""
    registries.modalities.add(PointCloudConfig)
    for encoder in (PointPatchConfig, PointBertConfig):
        registries.encoders.add(encoder)
    for codec in (VoxelConfig, PointFsqConfig):
        registries.codecs.add(codec)
    registries.sources.add(ShapesConfig)
    for metric in (ShapesNamedConfig, ShapesMadeConfig):
        registries.metrics.add(metric)
