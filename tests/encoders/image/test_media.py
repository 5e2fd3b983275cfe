"""Pictures: what is loaded, what is refused, and what the refusal says."""

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from polyjanus.core.errors import MediaError
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.image import ImageConfig
from polyjanus.encoders.image.media import ImageModality


def modality(**limits: int) -> ImageModality:
    return ImageConfig(type="image", **limits).build(BuildContext(path="image"))


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def noise(height: int = 24, width: int = 32, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds almost nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def refused(source: Any, **limits: int) -> MediaError:
    with pytest.raises(MediaError) as caught:
        modality(**limits).load(source)
    return caught.value


def test_a_path_bytes_a_pil_image_and_an_array_give_the_same_picture(tmp_path: Path) -> None:
    pixels = noise()
    path = tmp_path / "a picture ü.png"
    path.write_bytes(encoded(Image.fromarray(pixels)))
    for source in (path, str(path), path.read_bytes(), Image.fromarray(pixels), pixels, pixels / 255):
        image = modality().load(source)
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), pixels)


def test_the_picture_of_a_caller_is_not_shared() -> None:
    source = Image.fromarray(noise())
    modality().load(source).putpixel((0, 0), (1, 2, 3))
    assert np.array_equal(np.asarray(source), noise())


def test_exif_rotation_is_applied() -> None:
    source = Image.fromarray(noise())
    exif = Image.Exif()
    exif[274] = 6
    image = modality().load(encoded(source, exif=exif))
    assert image.size == (24, 32)
    assert np.array_equal(np.asarray(image), np.rot90(noise(), -1))


def test_alpha_is_laid_on_white() -> None:
    pixels = noise(channels=4)
    pixels[..., 3] = 0
    pixels[0, 0] = (10, 20, 30, 255)
    image = modality().load(encoded(Image.fromarray(pixels)))
    assert image.getpixel((0, 0)) == (10, 20, 30)
    assert image.getpixel((1, 0)) == (255, 255, 255)


def test_a_palette_with_transparency_is_laid_on_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((0, 0), 1)
    loaded = modality().load(encoded(image, transparency=0))
    assert loaded.getpixel((0, 0)) == (0, 0, 200)
    assert loaded.getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_sixteen_bits_are_scaled_to_eight(dtype: str) -> None:
    values = (np.arange(256, dtype=np.uint32).reshape(16, 16) * 257).astype(dtype)
    image = modality().load(values)
    assert np.array_equal(np.asarray(image)[..., 0], np.arange(256).reshape(16, 16))


def test_a_sixteen_bit_png_keeps_its_range() -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * np.uint16(257)
    image = modality().load(encoded(Image.fromarray(values)))
    assert np.array_equal(np.asarray(image)[..., 1], np.arange(256).reshape(16, 16))


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    image = modality().load(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert image.getpixel((4, 4)) == (255, 0, 0)


def test_cmyk_is_converted() -> None:
    image = modality().load(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = image.getpixel((4, 4))
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("size", [(1, 1), (1, 20000), (20000, 1)])
def test_extreme_shapes_are_pictures(size: tuple[int, int]) -> None:
    assert modality().load(encoded(Image.new("RGB", size))).size == size


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_a_file_cut_off_anywhere_is_refused(form: str) -> None:
    whole = encoded(Image.fromarray(noise(64, 64)), form)
    for part in (0.1, 0.5, 0.9):
        refused(whole[: int(len(whole) * part)])


def test_flipped_bytes_never_raise_anything_but_a_media_error() -> None:
    rng = np.random.default_rng(1)
    for form in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"):
        whole = encoded(Image.fromarray(noise()), form)
        for _ in range(40):
            broken = bytearray(whole)
            for place in rng.integers(0, len(whole), 8):
                broken[place] = rng.integers(0, 256)
            try:
                modality().load(broken)
            except MediaError:
                continue


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    assert str(refused(path)).startswith(f"{path}: the picture is empty: 0 bytes")


def test_a_web_page_named_jpg_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("<!DOCTYPE html><html>404</html>", encoding="utf-8")
    error = refused(path)
    assert error.where == str(path)
    assert "web page" in str(error.hint)


def test_a_lfs_pointer_is_recognised() -> None:
    assert "git lfs pull" in str(refused(b"version https://git-lfs.github.com/spec/v1\n").hint)


@pytest.mark.parametrize("side", [8000, 40000, 100000])
def test_a_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    error = refused(png_header(side, side))
    assert "pixels" in error.message
    assert "max_pixels" in str(error.hint)


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(noise())))
    error = refused(path, max_bytes=100)
    assert "more than 100" in error.message
    assert "max_bytes" in str(error.hint)


def test_limits_hold_for_objects_too() -> None:
    for source in (Image.fromarray(noise()), noise()):
        assert "32 x 24 pixels are more than 700" in refused(source, max_pixels=700).message


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "no.png").message
    assert "is a folder" in refused(tmp_path).message
    refused("a\0b.png")


def test_addresses_are_not_downloaded() -> None:
    assert "not downloaded" in refused("https://example.org/a.png").message


def test_channels_in_front_are_refused_with_the_remedy() -> None:
    assert "transpose" in str(refused(np.zeros((3, 8, 8), np.uint8)).hint)


@pytest.mark.parametrize(
    "array",
    [np.full((4, 4, 3), 1.5), np.full((4, 4, 3), np.nan), np.full((4, 4), -1), np.zeros((0, 4, 3)), np.zeros(4)],
)
def test_values_that_are_no_picture_are_refused(array: np.ndarray) -> None:
    refused(array)


def test_other_objects_are_refused() -> None:
    assert "int is no picture" in refused(3).message


def test_a_picture_has_no_start_and_no_duration() -> None:
    with pytest.raises(MediaError, match="start"):
        modality().load(Image.fromarray(noise()), start=0.0)
    with pytest.raises(MediaError, match="duration"):
        modality().load(Image.fromarray(noise()), duration=1.0)


@pytest.mark.parametrize("text", ["Truncated File Read", "Corrupt EXIF data. Expecting to read 4 bytes"])
def test_warnings_of_lost_pixels_are_errors_and_others_are_not(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    original = Image.open

    def open_warning(stream: Any) -> Image.Image:
        warnings.warn(text, stacklevel=1)
        return original(stream)

    content = encoded(Image.fromarray(noise()))
    monkeypatch.setattr(Image, "open", open_warning)
    if text.startswith("Truncated"):
        assert "Truncated" in refused(content).message
    else:
        modality().load(content)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".PNG"])
def test_what_is_saved_without_loss_comes_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    modality().save(Image.fromarray(noise()), path)
    assert np.array_equal(np.asarray(modality().load(path)), noise())


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"\.xyz"):
        modality().save(Image.fromarray(noise()), tmp_path / "a.xyz")


def test_a_preview_is_a_png_of_limited_size() -> None:
    shown = Image.open(io.BytesIO(modality().preview(Image.new("RGB", (3000, 10)))))
    assert shown.format == "PNG"
    assert shown.size[0] == 1024


def test_only_what_is_plainly_a_picture_is_taken_without_a_type() -> None:
    assert modality().accepts(Image.new("RGB", (1, 1)))
    assert modality().accepts(noise())
    assert not modality().accepts(noise()[..., 0])
    assert not modality().accepts(noise() / 255)
    assert not modality().accepts("a.png")


def test_importing_the_settings_loads_neither_torch_nor_pil() -> None:
    code = (
        "import sys, polyjanus.encoders.image, polyjanus.plugins.adaptors, polyjanus.plugins.heads,"
        " polyjanus.plugins.layouts, polyjanus.plugins.samplers;"
        "print(sorted({'torch', 'PIL', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
