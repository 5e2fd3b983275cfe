"""Pictures as PIL images in RGB: loading with limits, saving, showing."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image, ImageOps

from polyjanus.core.errors import MediaError
from polyjanus.core.files import check_size, guess_content, name_of, over_limit, read_file
from polyjanus.encoders.shared.grids import GridModality

if TYPE_CHECKING:
    from polyjanus.encoders.shared.cells import GridPreparation

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
READ_ONLY = (".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
QUALITY = 95
PREVIEW_SIDE = 1024
"""Pixels of the long side of a preview, at most."""
HARMLESS = ("Palette images with Transparency", "Corrupt EXIF", "Metadata")
"""Beginnings of PIL's warnings that say nothing about pixels; all others mean lost data."""
WHITE = (255, 255, 255)
KNOWN = "known are PNG, JPEG, WebP, GIF, BMP and TIFF, among others"


class ImageModality(GridModality[Image.Image, Any]):
    """Still pictures; the medium is a PIL image in RGB, upright, its alpha laid on white.

    The settings are an ImageConfig.
    """

    keys: ClassVar[tuple[str, ...]] = ("image", "path")
    suffixes: ClassVar[tuple[str, ...]] = (*FORMATS, *READ_ONLY)

    def load(self, source: Any, start: float | None = None, duration: float | None = None) -> Image.Image:
        """Return the picture in a path, in bytes, in a PIL image or in an array.

        An array is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), of uint8, uint16 or floats from 0 to 1. Of an
        animation the first frame is taken.
        """
        if start is not None or duration is not None:
            raise MediaError("a picture has no 'start' and no 'duration'", where=name_of(source, self.name))
        where = name_of(source, self.name)
        if isinstance(source, Image.Image):
            self._check_pixels(source.size, where)
            return _decoded(source, where)
        if isinstance(source, np.ndarray):
            return self._from_array(source, where)
        if isinstance(source, str | Path):
            return self._from_bytes(read_file(source, max_bytes=self.settings.max_bytes, noun="picture"), where)
        if isinstance(source, bytes | bytearray | memoryview):
            return self._from_bytes(bytes(source), where)
        raise MediaError(
            f"a {type(source).__name__} is no picture",
            where=where,
            hint="give a path, bytes, a PIL image or a NumPy array (H, W, 3)",
        )

    def save(self, media: Image.Image, path: Path) -> None:
        """Write a PNG, JPEG (quality 95) or WebP (lossless) file, as the suffix says."""
        form = FORMATS.get(path.suffix.lower())
        if form is None:
            raise MediaError(
                f"cannot write pictures of suffix {path.suffix!r}",
                where=str(path),
                hint=f"use one of {', '.join(FORMATS)}",
            )
        options = {"JPEG": {"quality": QUALITY}, "WEBP": {"lossless": True}}.get(form, {})
        media.save(path, form, **options)

    def preview(self, media: Image.Image) -> bytes:
        """Return the picture as PNG, its long side at most 1024 pixels."""
        shown = media.copy()
        shown.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        stream = io.BytesIO()
        shown.save(stream, "PNG")
        return stream.getvalue()

    def example(self) -> Image.Image:
        """Return a picture of 60 x 44 pixels: shades that run across it, with noise that is always the same."""
        noise = np.random.default_rng(0).integers(0, 64, (44, 60, 3))
        rows, columns = np.mgrid[0:44, 0:60]
        shades = np.stack([4 * rows, 3 * columns, 2 * (rows + columns)], axis=-1) * 3 // 4
        return Image.fromarray((shades + noise).clip(0, 255).astype(np.uint8))

    def pack(self, media: Image.Image) -> dict[str, Any]:
        """Return the pixels (H, W, 3), uint8."""
        return {"pixels": np.asarray(media)}

    def unpack(self, packed: Mapping[str, Any]) -> Image.Image:
        """Return the picture of pixels (H, W, 3)."""
        return Image.fromarray(packed["pixels"])

    def grid(self, *, size: int | None = None, channels: int | None = None, resize: str = "crop") -> GridPreparation:
        """Return the way to pixels; 32 a side and RGB where nothing is said."""
        from polyjanus.encoders.image.pixels import Preparation

        return Preparation(size or 32, resize=resize, channels=channels or 3)

    def accepts(self, source: Any) -> bool:
        """Tell whether an object is a PIL image, or an array of bytes (H, W, 3) or (H, W, 4)."""
        if isinstance(source, np.ndarray):
            return source.dtype == np.uint8 and source.ndim == 3 and source.shape[2] in (3, 4)
        return isinstance(source, Image.Image)

    def _from_bytes(self, content: bytes, where: str) -> Image.Image:
        check_size(len(content), max_bytes=self.settings.max_bytes, where=where, noun="picture")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                with Image.open(io.BytesIO(content)) as image:
                    self._check_pixels(image.size, where)
                    decoded = _decoded(image, where)
            except MediaError:
                raise
            except Image.UnidentifiedImageError as error:
                raise MediaError(
                    "this is no picture that PIL knows", where=where, hint=guess_content(content, KNOWN)
                ) from error
            except Image.DecompressionBombError as error:
                raise MediaError(str(error), where=where, hint=over_limit("max_pixels")) from error
            except Exception as error:  # PIL raises whatever a broken file makes of it
                raise MediaError(
                    f"the picture is damaged: {error or type(error).__name__}",
                    where=where,
                    hint="make or fetch it anew",
                ) from error
        lost = [str(warning.message) for warning in caught if _means_loss(warning)]
        if lost:
            raise MediaError(f"the picture is damaged: {lost[0]}", where=where, hint="make or fetch it anew")
        return decoded

    def _from_array(self, array: np.ndarray, where: str) -> Image.Image:
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or not array.size:
            hint = "move the channels to the end: array.transpose(1, 2, 0)" if array.shape[:1] in ((1,), (3,)) else None
            raise MediaError(f"an array of shape {array.shape} is no picture (H, W, 3)", where=where, hint=hint)
        self._check_pixels((array.shape[1], array.shape[0]), where)
        return _decoded(Image.fromarray(_to_bytes(array, where)), where)

    def _check_pixels(self, size: tuple[int, int], where: str) -> None:
        width, height = size
        if width * height > self.settings.max_pixels:
            raise MediaError(
                f"{width} x {height} pixels are more than {self.settings.max_pixels}",
                where=where,
                hint=over_limit("max_pixels"),
            )
        if not width * height:
            raise MediaError(f"{width} x {height} pixels are no picture", where=where)


def _decoded(image: Image.Image, where: str) -> Image.Image:
    """Return a picture upright and in RGB."""
    image.load()
    upright = ImageOps.exif_transpose(image) if image.getexif().get(274, 1) != 1 else image
    if upright.mode.startswith("I") or upright.mode == "F":
        upright = Image.fromarray(_to_bytes(np.asarray(upright), where))
    if upright.has_transparency_data:
        with_alpha = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", with_alpha.size, (*WHITE, 255)), with_alpha)
    converted = upright.convert("RGB")
    return converted.copy() if converted is image else converted


def _to_bytes(array: np.ndarray, where: str) -> np.ndarray:
    """Return an array as uint8: 16 bits are scaled by 1/257, floats from 0 to 1 by 255."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    least, most = float(array.min()), float(array.max())
    if array.dtype.kind in "iu" and least >= 0 and most <= 65535 and array.dtype.itemsize > 1:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind == "f" and least >= 0 and most <= 1:
        return (array * 255).round().astype(np.uint8)
    raise MediaError(
        f"{array.dtype} values from {least:g} to {most:g} are no picture",
        where=where,
        hint="uint8 runs to 255, uint16 to 65535, floats from 0 to 1",
    )


def _means_loss(warning: warnings.WarningMessage) -> bool:
    is_about_code = issubclass(warning.category, DeprecationWarning | PendingDeprecationWarning | ResourceWarning)
    return not is_about_code and not str(warning.message).startswith(HARMLESS)
