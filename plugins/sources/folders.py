"""Folders of media: with captions beside them or in one file, or sorted into classes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyjanus.core.data.rows import Row, Source
from polyjanus.core.errors import DataError
from polyjanus.plugins.sources.records import Records

CAPTIONS = ("captions.jsonl", "metadata.jsonl", "metadata.csv")
"""Names of files that hold all captions of a folder, in the order in which they are looked for."""
CLASS_QUESTION = "What is this?"


def media_files(folder: Path, endings: Sequence[str]) -> Iterator[Path]:
    """Yield the files with one of the endings, in order, hidden ones left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in endings and not hidden and path.is_file():
            yield path


class CaptionFolder(Source):
    """One row per medium, or per entry of the file with all captions; the settings are a CaptionFolderConfig."""

    def __init__(self, folder: Path, settings: Any) -> None:
        if not folder.is_dir():
            raise DataError(f"there is no folder {str(folder)!r}")
        self.folder, self.settings = folder, settings
        self.pairing = settings.pairing()
        self.entries = self._entries()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.entries)

    def place(self, index: int) -> str:
        """Return where the caption is written, or the medium where it has one of its own."""
        return self.entries.place(index)

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one medium with its caption; of several captions one is drawn."""
        path, captions = self.entries.pair(index)
        chosen = captions[int(noise.integers(len(captions)))] if len(captions) > 1 else captions[0]
        return {"messages": self.pairing.messages(str(path), chosen, noise)}

    def _entries(self) -> _Beside | _Listed:
        names = [self.settings.captions] if self.settings.captions else CAPTIONS
        file = next((self.folder / name for name in names if (self.folder / name).is_file()), None)
        if self.settings.captions and file is None:
            raise DataError(f"there is no file {str(self.folder / self.settings.captions)!r}")
        if file is not None:
            columns = (self.settings.file_column, self.settings.text_column)
            return _Csv(file, *columns) if file.suffix.lower() == ".csv" else _Jsonl(file, *columns)
        found = _Beside(list(media_files(self.folder, self.settings.endings)))
        if not len(found):
            raise DataError(f"no file under {str(self.folder)!r} ends in {', '.join(self.settings.endings)}")
        return found


class _Beside:
    """Media with a .txt of the same name."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def place(self, index: int) -> str:
        return str(self.files[index])

    def pair(self, index: int) -> tuple[Path, list[str]]:
        path = self.files[index]
        beside = path.with_suffix(".txt")
        if not beside.is_file():
            raise DataError(f"has no caption: there is no {beside.name} beside it")
        return path, [beside.read_text(encoding="utf-8-sig")]


class _Listed:
    """Media and captions in one file; `record` is what a kind of file adds."""

    def __init__(self, file: Path, file_column: str, text_column: str) -> None:
        self.file, self.file_column, self.text_column = file, file_column, text_column

    def __len__(self) -> int:
        raise NotImplementedError

    def place(self, index: int) -> str:
        raise NotImplementedError

    def record(self, index: int) -> dict[str, Any]:
        raise NotImplementedError

    def pair(self, index: int) -> tuple[Path, list[str]]:
        record = self.record(index)
        for column in (self.file_column, self.text_column):
            if record.get(column) is None:
                raise DataError(f"has no {column!r}; its columns are {', '.join(map(str, record))}")
        name, words = record[self.file_column], record[self.text_column]
        captions = words if isinstance(words, list) else [words]
        if not isinstance(name, str) or not captions or not all(isinstance(caption, str) for caption in captions):
            raise DataError(
                f"{self.file_column!r} is a path and {self.text_column!r} text, not {name!r}, {words!r:.60}"
            )
        return self.file.parent / name, captions


class _Jsonl(_Listed):
    def __init__(self, file: Path, file_column: str, text_column: str) -> None:
        super().__init__(file, file_column, text_column)
        self.records = Records(file)

    def __len__(self) -> int:
        return len(self.records)

    def place(self, index: int) -> str:
        return self.records.place(index)

    def record(self, index: int) -> dict[str, Any]:
        return self.records.record(index)


class _Csv(_Listed):
    def __init__(self, file: Path, file_column: str, text_column: str) -> None:
        super().__init__(file, file_column, text_column)
        self.rows: list[tuple[int, dict[str, Any]]] = []
        try:
            with file.open(encoding="utf-8-sig", newline="") as opened:
                reader = csv.DictReader(opened)
                missing = [name for name in (file_column, text_column) if name not in (reader.fieldnames or [])]
                if missing:
                    raise DataError(f"{file} has no column {missing[0]!r}; it has {', '.join(reader.fieldnames or [])}")
                line = reader.line_num + 1
                for row in reader:
                    self.rows.append((line, {name: row[name] for name in (file_column, text_column)}))
                    line = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{file} is no CSV in UTF-8: {error}") from error

    def __len__(self) -> int:
        return len(self.rows)

    def place(self, index: int) -> str:
        return f"{self.file}:{self.rows[index][0]}"

    def record(self, index: int) -> dict[str, Any]:
        return self.rows[index][1]


class ClassFolder(Source):
    """One row per medium; the first folder below the root is its class. The settings are a ClassFolderConfig."""

    def __init__(self, folder: Path, settings: Any) -> None:
        if not folder.is_dir():
            raise DataError(f"there is no folder {str(folder)!r}")
        self.pairing = settings.pairing(CLASS_QUESTION)
        self.rows: list[tuple[Path, str]] = []
        classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        unknown = sorted(set(settings.names) - {path.name for path in classes})
        if unknown:
            raise DataError(f"'names' names a folder {unknown[0]!r} that {str(folder)!r} does not have")
        for path in classes:
            name = settings.names.get(path.name, path.name.replace("_", " "))
            self.rows += [(file, name) for file in media_files(path, settings.endings)]
        if not self.rows:
            raise DataError(f"no folder in {str(folder)!r} has a file that ends in {', '.join(settings.endings)}")

    def __len__(self) -> int:
        """Return the number of media."""
        return len(self.rows)

    def place(self, index: int) -> str:
        """Return the path of a medium."""
        return str(self.rows[index][0])

    def row(self, index: int, noise: np.random.Generator) -> Row:
        """Return one medium with the name of its class."""
        path, name = self.rows[index]
        return {"messages": self.pairing.messages(str(path), name, noise), "label": name}
