"""Settings: a block of YAML that is checked when read and that builds its module when needed.

Nothing here imports torch: listing and validating a pipeline stay light.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar, cast, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    SerializeAsAny,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from polyjanus.core.context import BuildContext as BuildContext
from polyjanus.core.context import is_local as is_local
from polyjanus.core.context import locate as locate
from polyjanus.core.picking import OPAQUE, opaque, unknown_type

if TYPE_CHECKING:
    from polyjanus.core.registry import Registries

API_VERSION = 1
"""The version of the contracts in this package; a plugin declares the one it was written for."""

Ints = Annotated[tuple[int, ...], Field(strict=False)]
"""A list of whole numbers; YAML gives a list, the settings hold a tuple."""
Floats = Annotated[tuple[float, ...], Field(strict=False)]
"""A list of numbers."""
Strings = Annotated[tuple[str, ...], Field(strict=False)]
"""A list of strings."""


class Settings(BaseModel):
    """A frozen block of settings; unknown keys are faults, scalars are not converted (but int to float)."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True, protected_namespaces=()
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let a list of YAML fill a tuple or a set; strictness is for scalars."""
        return _accept_lists(handler(source))


def _accept_lists(schema: Any) -> Any:
    """Return a pydantic schema in which tuples and sets are read from lists."""
    if isinstance(schema, list):
        return [_accept_lists(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    opened = {key: _accept_lists(value) for key, value in cast("dict[str, Any]", schema).items()}
    return {**opened, "strict": False} if opened.get("type") in ("tuple", "set", "frozenset") else opened


class ComponentConfig(Settings):
    """Settings with a `type`: the name under which a registry knows them, and a way to build what they describe."""

    kind: ClassVar[str] = ""
    """The registry that these settings belong in."""
    api_version: ClassVar[int] = API_VERSION
    """The version of the contracts that the plugin was written for."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Modules that must be importable to build this, beyond the core packages."""
    extra: ClassVar[str] = ""
    """The extra of the distribution that installs them."""
    modality_types: ClassVar[tuple[str, ...]] = ()
    """Modality types, or families of them, that this component works with; empty when any will do."""
    example_settings: ClassVar[Mapping[str, Any]] = {}
    """Small settings that `plugins check` builds it with, where its defaults are missing or large."""
    expected_failures: ClassVar[Mapping[str, str]] = {}
    """Checks that it is known to fail, each with the reason."""

    type: str

    def build(self, context: BuildContext) -> Any:
        """Return the component that these settings describe."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to build itself")

    def resolve(self, context: BuildContext) -> Self:
        """Return settings of the same component that need nothing outside: `pretrained` becomes `architecture`."""
        return self

    def load(self, component: Any, context: BuildContext) -> None:
        """Fill a component just built with the pretrained weights that these settings name, if they name any."""

    @classmethod
    def type_name(cls) -> str:
        """Return the name in the `type` literal."""
        names = get_args(cls.model_fields["type"].annotation)
        if len(names) != 1 or not isinstance(names[0], str):
            raise TypeError(f"{cls.__name__}.type must be a Literal of one name, such as Literal['my_encoder']")
        return names[0]


class EncoderConfig(ComponentConfig):
    """Settings of an understanding encoder: media to features."""

    kind = "encoder"


class CodecConfig(ComponentConfig):
    """Settings of a codec: media to discrete codes and back."""

    kind = "codec"


class LayoutConfig(ComponentConfig):
    """Settings of a layout: how codes become the steps of a sequence."""

    kind = "layout"


class AdaptorConfig(ComponentConfig):
    """Settings of an adaptor: features or code embeddings to the width of the backbone."""

    kind = "adaptor"


class BackboneConfig(ComponentConfig):
    """Settings of the transformer that all modalities share."""

    kind = "backbone"


class TokenizerConfig(ComponentConfig):
    """Settings of a text tokenizer."""

    kind = "tokenizer"


class TemplateConfig(ComponentConfig):
    """Settings of a chat template: messages to text, special tokens and parts."""

    kind = "template"


class HeadConfig(ComponentConfig):
    """Settings of a head: hidden states to the next frame of one modality."""

    kind = "head"


class SamplerConfig(ComponentConfig):
    """Settings of a sampler: logits to codes."""

    kind = "sampler"


class SourceConfig(ComponentConfig):
    """Settings of a data set: where its rows come from."""

    kind = "source"

    validation: float = Field(default=0.0, ge=0, lt=1, description="share of the rows held out for validation")


class MetricConfig(ComponentConfig):
    """Settings of an evaluation: what is asked, and who judges the answers."""

    kind = "metric"


class FormatConfig(ComponentConfig):
    """A foreign checkpoint format: which folders are in it, and what reads and writes them."""

    kind = "format"

    def detects(self, folder: Path) -> bool:
        """Tell whether a folder is in this format, from its small files alone."""
        raise NotImplementedError(f"{type(self).__name__} does not say which folders are its own")


S = TypeVar("S", bound=ComponentConfig)


def pick(base: type[S]) -> Callable[[Any, ValidatorFunctionWrapHandler, ValidationInfo], S]:
    """Return a validator that reads a block by the settings class which its `type` names in the registry."""

    def read(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> S:
        if isinstance(value, base):
            return value
        if isinstance(value, str):  # `sampler: greedy` is short for `sampler: {type: greedy}`
            value = {"type": value}
        if not isinstance(value, Mapping):
            raise PydanticCustomError("block", "must be a block of settings with a 'type'")
        block = cast("Mapping[str, Any]", value)
        if "type" not in block:
            raise PydanticCustomError("missing_type", "has no 'type'")
        registries = registries_of(info)
        name = block["type"]
        if not isinstance(name, str) or name not in registries.of(base.kind):
            if isinstance(name, str) and base.kind in OPAQUE and cast("Any", info.context).get("is_saved"):
                return cast(S, opaque(base, block, unknown_type(base.kind, name, registries).message()))
            raise unknown_type(base.kind, str(name), registries)
        settings = registries.of(base.kind).get(name)
        return cast(S, settings.model_validate(block, context=info.context))

    return read


def registries_of(info: ValidationInfo) -> Registries:
    """Return the registries that validation was started with."""
    context = cast("Mapping[str, Any] | None", info.context)
    if not context or "registries" not in context:
        raise RuntimeError("settings with a 'type' are validated with context={'registries': ...}")
    return cast("Registries", context["registries"])


EncoderBlock = Annotated[SerializeAsAny[EncoderConfig], WrapValidator(pick(EncoderConfig))]
CodecBlock = Annotated[SerializeAsAny[CodecConfig], WrapValidator(pick(CodecConfig))]
LayoutBlock = Annotated[SerializeAsAny[LayoutConfig], WrapValidator(pick(LayoutConfig))]
AdaptorBlock = Annotated[SerializeAsAny[AdaptorConfig], WrapValidator(pick(AdaptorConfig))]
BackboneBlock = Annotated[SerializeAsAny[BackboneConfig], WrapValidator(pick(BackboneConfig))]
TokenizerBlock = Annotated[SerializeAsAny[TokenizerConfig], WrapValidator(pick(TokenizerConfig))]
TemplateBlock = Annotated[SerializeAsAny[TemplateConfig], WrapValidator(pick(TemplateConfig))]
HeadBlock = Annotated[SerializeAsAny[HeadConfig], WrapValidator(pick(HeadConfig))]
SamplerBlock = Annotated[SerializeAsAny[SamplerConfig], WrapValidator(pick(SamplerConfig))]
SourceBlock = Annotated[SerializeAsAny[SourceConfig], WrapValidator(pick(SourceConfig))]
MetricBlock = Annotated[SerializeAsAny[MetricConfig], WrapValidator(pick(MetricConfig))]


class EmbeddingConfig(Settings):
    """One embedding table per code book, the modality's own (Janus: 16384 rows of width 8)."""

    width: int = Field(default=8, gt=0, description="values per code before the adaptor")


class UnderstandConfig(Settings):
    """The pathway from a medium to the backbone: encoder, then adaptor."""

    encoder: EncoderBlock
    adaptor: AdaptorBlock = Field(default={"type": "mlp"}, validate_default=True)  # type: ignore[assignment]


class GenerateConfig(Settings):
    """The pathway from codes to the backbone and from hidden states to codes."""

    codec: CodecBlock
    layout: LayoutBlock = Field(default={"type": "grid"}, validate_default=True)  # type: ignore[assignment]
    embedding: EmbeddingConfig = Field(default_factory=lambda: EmbeddingConfig())
    adaptor: AdaptorBlock = Field(default={"type": "mlp"}, validate_default=True)  # type: ignore[assignment]
    head: HeadBlock = Field(default={"type": "mlp"}, validate_default=True)  # type: ignore[assignment]
    sampler: SamplerBlock = Field(default={"type": "guided"}, validate_default=True)  # type: ignore[assignment]
    loss_weight: float = Field(default=1.0, ge=0, description="factor of this head's loss")


class ModalityConfig(ComponentConfig):
    """Settings of one kind of signal: its limits and its pathways; `type` defaults to its name in the YAML."""

    kind = "modality"
    behaves_like: ClassVar[tuple[str, ...]] = ()
    """Families that the type belongs to, such as `signal` or `grid`: what works on all of a family works on it."""

    understand: UnderstandConfig | None = None
    generate: GenerateConfig | None = None


ModalityBlock = Annotated[SerializeAsAny[ModalityConfig], WrapValidator(pick(ModalityConfig))]


class PretrainedSettings(Settings):
    """Settings of a component that comes from a checkpoint or is described by its architecture."""

    pretrained: str | None = Field(
        default=None,
        description="./path, /path or ~/path relative to the YAML; else a hub id, optional @revision, :component",
    )
    architecture: dict[str, Any] | None = Field(default=None, description="a transformers config, model_type included")
    initialised_from: str | None = Field(
        default=None, description="where the weights first came from; written by saving"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.pretrained is None) == (self.architecture is None):
            raise PydanticCustomError("pretrained", "needs either 'pretrained' or 'architecture'")
        return self
