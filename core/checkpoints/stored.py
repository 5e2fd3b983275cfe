"""The tensors in a folder of safetensors or `.bin` files, read one by one and only when asked for."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from polyjanus.core.errors import CheckpointError

KINDS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""One file, or the index of several; safetensors come first."""


def has_weights(folder: Path) -> bool:
    """Tell whether a folder has weights under one of the usual names."""
    return any((folder / name).is_file() for names in KINDS for name in names)


class StoredWeights(Mapping[str, Tensor]):
    """Tensors by the names that a folder gives them; a `.bin` is opened with nothing but tensors allowed in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Any] = {}
        self._stack = ExitStack()
        self._files = self._find()

    def __getitem__(self, name: str) -> Tensor:
        """Return one tensor, on the CPU, mapped from the file where the file allows it."""
        file = self._file(self._files[name])
        try:
            return _dictionary(file)[name] if isinstance(file, dict) else file.get_tensor(name)
        except (KeyError, SafetensorError) as error:
            raise CheckpointError(f"{self._files[name]} lacks {name}", where=str(self._folder)) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one tensor without reading it."""
        file = self._file(self._files[name])
        return tuple(_dictionary(file)[name].shape if isinstance(file, dict) else file.get_slice(name).get_shape())

    def _find(self) -> dict[str, str]:
        """Return the file of each tensor."""
        for single, index in KINDS:
            if (self._folder / index).is_file():
                return self._read_index(index)
            if (self._folder / single).is_file():
                return dict.fromkeys(self._file(single).keys(), single)
        raise CheckpointError("there are no weights", where=str(self._folder), hint=f"looked for {KINDS[0][0]}")

    def _read_index(self, index: str) -> dict[str, str]:
        try:
            files = cast("dict[str, str]", json.loads((self._folder / index).read_text(encoding="utf-8"))["weight_map"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{index} is damaged: {error}", where=str(self._folder)) from error
        for file in sorted(set(files.values())):
            if Path(file).name != file:
                raise CheckpointError(f"{index} names {file!r}, which is outside the folder", where=str(self._folder))
            if not (self._folder / file).is_file():
                raise CheckpointError(f"{file} is missing", where=str(self._folder), hint="the download is incomplete")
        return files

    def _file(self, name: str) -> Any:
        """Return an open file: a safetensors handle, or a dictionary of mapped tensors."""
        if name not in self._open:
            path = self._folder / name
            try:
                self._open[name] = self._open_safetensors(path) if path.suffix == ".safetensors" else _load_bin(path)
            except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
                reason = str(error).strip().split("\n")[0]
                raise CheckpointError(f"{name} cannot be read: {reason}", where=str(self._folder)) from error
        return self._open[name]

    def _open_safetensors(self, path: Path) -> Any:
        return self._stack.enter_context(cast(Any, safe_open(path, framework="pt")))


def _dictionary(file: Any) -> dict[str, Tensor]:
    return cast("dict[str, Tensor]", file)


def _load_bin(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a pickled file, of which nothing but tensors is accepted."""
    content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(content, dict):
        raise pickle.UnpicklingError(f"it holds a {type(content).__name__}, not tensors by name")
    entries = cast("dict[str, Any]", content)
    return {name: value for name, value in entries.items() if isinstance(value, Tensor)}
