"""Stored embeddings (N, d), from NumPy and safetensors files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from polyjanus.core.errors import MediaError
from polyjanus.core.files import check_size, name_of, over_limit, read_file
from polyjanus.core.modality import Modality
from polyjanus.encoders.shared.arrays import array_of, finite
from polyjanus.encoders.shared.signals import to_png

Array = np.ndarray[Any, Any]
PREVIEW_SIDE = 512


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings (N, d), float32."""

    values: Array


class FeaturesModality(Modality[Embeddings, Any]):
    """Embeddings of the width that the YAML declares. The settings are a FeaturesModalityConfig."""

    keys: ClassVar[tuple[str, ...]] = ("features", "path")
    suffixes: ClassVar[tuple[str, ...]] = (".safetensors", ".npy", ".npz")
    medium = Embeddings

    def load(self, source: Any, start: float | None = None, duration: float | None = None) -> Embeddings:
        """Return the embeddings in a path, in bytes or in an array: (N, d), or (d,) for one. Files hold one array."""
        where = name_of(source, self.name)
        if start is not None or duration is not None:
            raise MediaError("embeddings have no 'start' and no 'duration'", where=where)
        values = source.values if isinstance(source, Embeddings) else self._read(source, where)
        values = finite(values[None] if values.ndim == 1 else values, where)
        if values.ndim != 2 or values.shape[1] != self.settings.width:
            raise MediaError(
                f"an array of shape {values.shape}; expected (N, {self.settings.width})",
                where=where,
                hint="set 'width' to what was stored, or store one embedding per row",
            )
        if len(values) > self.settings.max_tokens:
            found = f"{len(values)} embeddings are more than {self.settings.max_tokens}"
            raise MediaError(found, where=where, hint=over_limit("max_tokens"))
        return Embeddings(values)

    def save(self, media: Embeddings, path: Path) -> None:
        """Write .safetensors with one tensor named `features`, .npy, or .npz with one array named `features`."""
        suffix = path.suffix.lower()
        if suffix == ".safetensors":
            from safetensors.numpy import save_file

            save_file({"features": np.ascontiguousarray(media.values)}, path)
        elif suffix == ".npy":
            np.save(path, media.values)
        elif suffix == ".npz":
            np.savez(path, features=media.values)
        else:
            hint = f"use one of {', '.join(self.suffixes)}"
            raise MediaError(f"cannot write embeddings of suffix {path.suffix!r}", where=str(path), hint=hint)

    def preview(self, media: Embeddings) -> bytes:
        """Return a PNG: one row per embedding, one column per value, black the least and white the greatest."""
        low, high = float(media.values.min()), float(media.values.max())
        shades = ((media.values - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
        zoom = max(1, PREVIEW_SIDE // max(shades.shape))
        return to_png(Image.fromarray(shades.repeat(zoom, 0).repeat(zoom, 1)))

    def example(self) -> Embeddings:
        """Return five embeddings of noise that is always the same."""
        count = min(5, self.settings.max_tokens)
        return Embeddings(np.random.default_rng(0).normal(size=(count, self.settings.width)).astype(np.float32))

    def examples(self) -> tuple[Embeddings, ...]:
        """Return the example, and its first two embeddings."""
        return self.example(), Embeddings(self.example().values[:2])

    def _read(self, source: Any, where: str) -> Array:
        limit = self.settings.max_bytes
        if isinstance(source, np.ndarray):
            return source
        if isinstance(source, str | Path):
            source = read_file(source, max_bytes=limit, noun="embeddings")
        if not isinstance(source, bytes | bytearray | memoryview):
            raise MediaError(
                f"a {type(source).__name__} holds no embeddings", where=where, hint="give a path, bytes or an array"
            )
        content = bytes(source)
        check_size(len(content), max_bytes=limit, where=where, noun="embeddings")
        if content.startswith((b"\x93NUMPY", b"PK")):
            return array_of(content, where, noun="embeddings", max_bytes=limit)
        return _read_safetensors(content, where)


def _read_safetensors(content: bytes, where: str) -> Array:
    """Return the only tensor of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        hint = "known are .safetensors in float32 or float16, .npy and .npz"
        raise MediaError(f"this is no safetensors file that NumPy can read: {error}", where=where, hint=hint) from error
    if len(tensors) != 1:
        found = ", ".join(sorted(tensors)[:5]) or "none"
        raise MediaError(f"the file holds {len(tensors)} tensors ({found}), not one", where=where)
    return next(iter(tensors.values()))
