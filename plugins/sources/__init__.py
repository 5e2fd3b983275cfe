"""Sources of no modality: JSON Lines, captioned folders, class folders, conversations, Parquet and tar shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from polyjanus.core.hookspecs import hookimpl
from polyjanus.core.registry import Registries
from polyjanus.core.settings import BuildContext, SourceConfig, Strings

if TYPE_CHECKING:
    from polyjanus.core.data.jsonl import JsonLines
    from polyjanus.core.data.proposals import Proposal
    from polyjanus.plugins.sources.conversations import Conversations
    from polyjanus.plugins.sources.folders import CaptionFolder, ClassFolder
    from polyjanus.plugins.sources.pairing import Pairing
    from polyjanus.plugins.sources.parquet import ParquetRows
    from polyjanus.plugins.sources.shards import TarShards

SUFFIXES: dict[str, tuple[str, ...]] = {
    "image": (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
    "audio": (".aif", ".aiff", ".flac", ".mp3", ".ogg", ".opus", ".wav"),
    "point_cloud": (".ply", ".pcd", ".xyz", ".pts", ".obj", ".off", ".stl"),
    "eeg": (".edf", ".bdf", ".fif", ".set", ".vhdr"),
}
"""Files that are taken for media of a modality of that name, where `suffixes` says nothing."""
PATHWAYS = ("understand", "generate")
MESSAGES = "messages"


class JsonlConfig(SourceConfig):
    """A file with one JSON object per line: `{"messages": […]}` of typed parts, or `{"text": …}` learned whole."""

    type: Literal["jsonl"]
    path: str = Field(description="the file; ./ and ../ start at the YAML's folder")
    root: str | None = Field(default=None, description="folder that paths inside parts start from; the file's own")

    def build(self, context: BuildContext) -> JsonLines:
        """Return the rows."""
        from polyjanus.core.data.jsonl import JsonLines

        return JsonLines(context.locate_file(self.path), None if self.root is None else context.locate_file(self.root))


class PairSettings(SourceConfig):
    """Rows that join one medium with words: the medium is understood and described, or asked for and generated."""

    modality: str | None = Field(default=None, description="name of the modality in this pipeline; image when absent")
    task: str | None = Field(
        default=None, description="understand or generate; or MODALITY.understand, MODALITY.generate"
    )
    prompt: str | Strings | None = Field(
        default=None, description="what the user says, or a list to draw from; {text} stands for the words"
    )
    answer: str | Strings = Field(
        default="{text}", description="what the assistant says of a medium that is understood"
    )

    @field_validator("prompt", "answer")
    @classmethod
    def _not_empty(cls, value: str | Strings | None) -> str | Strings | None:
        if value is not None and not value:
            raise PydanticCustomError("empty", "is empty; leave it out for the default")
        return value

    @model_validator(mode="after")
    def _task_is_known(self) -> Self:
        if self.task is None:
            return self
        name, _, pathway = self.task.rpartition(".")
        if pathway not in PATHWAYS:
            fault = f"task: {self.task!r} is neither 'understand' nor 'generate', nor MODALITY.understand or .generate"
            raise PydanticCustomError("task", "{text}", {"text": fault})
        if name and self.modality not in (None, name):
            fault = f"task {self.task!r} and modality {self.modality!r} name two modalities"
            raise PydanticCustomError("task", "{text}", {"text": fault})
        if pathway == "generate" and not all("{" in prompt for prompt in _texts(self.prompt, "{text}")):
            raise PydanticCustomError("prompt", "{text}", {"text": "prompt: needs {text} where media are generated"})
        return self

    @property
    def medium(self) -> str:
        """Return the name of the modality."""
        return (self.task or "").rpartition(".")[0] or self.modality or "image"

    def pairing(self, question: str | None = None) -> Pairing:
        """Return what makes messages of a medium and words; `question` is the default where media are understood."""
        from polyjanus.plugins.sources.pairing import Pairing

        pathway = (self.task or PATHWAYS[0]).rpartition(".")[2]
        asked = question or f"Describe this {self.medium.replace('_', ' ')}."
        default = "{text}" if pathway == "generate" else asked
        return Pairing(self.medium, pathway, _texts(self.prompt, default), _texts(self.answer, "{text}"))


class FolderSettings(PairSettings):
    """Pairs of which the media are files in a folder."""

    path: str = Field(description="the folder; ./ and ../ start at the YAML's folder")
    task: str = Field(description="understand or generate; or MODALITY.understand, MODALITY.generate")
    suffixes: Strings | None = Field(
        default=None, description="of the files that are media; known for image, audio, point_cloud and eeg"
    )

    @model_validator(mode="after")
    def _suffixes_are_known(self) -> Self:
        if self.suffixes is None and self.medium not in SUFFIXES:
            fault = f"suffixes: say which files are media of {self.medium!r}, such as ['.npy']"
            raise PydanticCustomError("suffixes", "{text}", {"text": fault})
        return self

    @property
    def endings(self) -> tuple[str, ...]:
        """Return the suffixes of media in small letters."""
        return tuple(ending.lower() for ending in self.suffixes or SUFFIXES[self.medium])


class CaptionFolderConfig(FolderSettings):
    """Media with captions: a .txt beside each, or one captions.jsonl, metadata.jsonl or metadata.csv for all."""

    type: Literal["caption_folder"]
    captions: str | None = Field(default=None, description="the file with all captions; found by name when absent")
    file_column: str = Field(default="file_name", description="column or key of the medium's path in that file")
    text_column: str = Field(default="text", description="column or key of the caption; in JSON it may be a list")

    def build(self, context: BuildContext) -> CaptionFolder:
        """Return the rows."""
        from polyjanus.plugins.sources.folders import CaptionFolder

        return CaptionFolder(context.locate_file(self.path), self)


class ClassFolderConfig(FolderSettings):
    """A folder of folders, each with media of one class and named after it (ImageFolder)."""

    type: Literal["class_folder"]
    names: dict[str, str] = Field(default_factory=dict, description="words for folders; else their name, _ as a space")

    def build(self, context: BuildContext) -> ClassFolder:
        """Return the rows."""
        from polyjanus.plugins.sources.folders import ClassFolder

        return ClassFolder(context.locate_file(self.path), self)


class ConversationSettings(SourceConfig):
    """Conversations in one JSON file, with tags in their text where media stand."""

    path: str = Field(description="a JSON list or JSON Lines; ./ and ../ start at the YAML's folder")
    image_root: str | None = Field(default=None, description="folder that paths of media start from; the file's own")
    tags: dict[str, str] = Field(
        default={"image": "image"},
        description="modality by tag: `image` is <image> in the text, and the field `image` or `images` of the record",
    )

    def build(self, context: BuildContext) -> Conversations:
        """Return the rows."""
        from polyjanus.plugins.sources.conversations import Conversations

        file = context.locate_file(self.path)
        return Conversations(file, context.locate_file(self.image_root) if self.image_root else file.parent, self.tags)


class LlavaConfig(ConversationSettings):
    """LLaVA's form: `{"id", "image", "conversations": [{"from": "human", "value": "<image>…"}, …]}`."""

    type: Literal["llava"]


class ShareGptConfig(ConversationSettings):
    """ShareGPT's form: `conversations` of from and value or `messages` of role and content, `images`, `system`."""

    type: Literal["sharegpt"]


class ColumnSettings(PairSettings):
    """Rows of columns, one of which is a medium and one its words; or one is whole messages."""

    path: str | Strings = Field(description="files; `*` and {000..010} stand for several")
    root: str | None = Field(default=None, description="folder that paths in the rows start from; the files' own")
    columns: dict[str, str] | None = Field(
        default=None, description="what each column is: a modality, text, prompt or messages"
    )

    @model_validator(mode="after")
    def _columns_make_rows(self) -> Self:
        roles = list((self.columns or {}).values())
        if self.columns is None or MESSAGES in roles:
            return self
        if "text" not in roles or self.medium not in roles:
            fault = f"columns: name one that is {self.medium!r} and one that is 'text', or one that is 'messages'"
            raise PydanticCustomError("columns", "{text}", {"text": fault})
        if self.task is None:
            raise PydanticCustomError("task", "{text}", {"text": "task: say whether media are understood or generated"})
        return self


class ParquetConfig(ColumnSettings):
    """Parquet files: a column `messages`, or a medium (bytes, a path, or a struct of both) and its words."""

    requires = ("pyarrow",)
    extra = "parquet"

    type: Literal["parquet"]
    cache_mb: int = Field(default=256, gt=0, description="megabytes of decoded row groups that are kept")

    def build(self, context: BuildContext) -> ParquetRows:
        """Return the rows."""
        from polyjanus.plugins.sources.parquet import ParquetRows

        return ParquetRows(self, context)


class WebDatasetConfig(ColumnSettings):
    """Tar shards of WebDataset: files of one name belong together, and their suffixes are the columns."""

    type: Literal["webdataset"]
    cache: str | None = Field(default=None, description="folder for indexes of the shards; ~/.cache/polyjanus/shards")

    def build(self, context: BuildContext) -> TarShards:
        """Return the rows."""
        from polyjanus.plugins.sources.shards import TarShards

        return TarShards(self, context)


def _texts(value: Any, default: str) -> tuple[str, ...]:
    """Return one text or several as several."""
    return (value,) if isinstance(value, str) else tuple(value or (default,))


@hookimpl
def register(registries: Registries) -> None:
    """Offer the sources."""
    for settings in (JsonlConfig, CaptionFolderConfig, ClassFolderConfig, LlavaConfig, ShareGptConfig):
        registries.sources.add(settings)
    registries.sources.add(ParquetConfig)
    registries.sources.add(WebDatasetConfig)


@hookimpl
def propose(folder: Path) -> list[Proposal]:
    """Say how a folder would be read by these sources."""
    from polyjanus.plugins.sources.proposing import propose_for

    return propose_for(folder)
