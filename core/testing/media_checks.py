"""Checks of modalities: media that load, save and show, and files that are not what they claim."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from polyjanus.core.decoding.wire import receive, send
from polyjanus.core.errors import MediaError
from polyjanus.core.modality import Modality
from polyjanus.core.settings import BuildContext
from polyjanus.core.testing.bench import Subject
from polyjanus.core.testing.contract import NotApplicable, check, expect, place

Array = np.ndarray[Any, Any]
RESERVED = {"type", "text", "start", "duration", "pathway"}
DAMAGES, HEAD = 40, 64
"""How many bytes are made wrong, one at a time; every other one lies among the first few, where headers are."""
FAR = 1e9
"""Seconds into a medium at which none has anything."""


@check("modality")
def keys_and_suffixes_are_declared(subject: Subject) -> None:
    """Content parts name the source by a key of the modality, and suffixes begin with a dot."""
    modality = subject.modality
    where = place(modality)
    bad = [key for key in modality.keys if not key.isidentifier() or key in RESERVED]
    expect(bool(modality.keys) and not bad, "keys that are names, and none of core's", modality.keys, where)
    wrong = [suffix for suffix in modality.suffixes if not suffix.startswith(".") or suffix != suffix.lower()]
    expect(bool(modality.suffixes), "suffixes, the first of which `save` writes", modality.suffixes, where)
    expect(not wrong, "suffixes such as '.npy', in lower case", wrong, where)


@check("modality")
def example_is_always_the_same(subject: Subject) -> None:
    """`example` gives an equal medium each time, and `load` takes it; `examples` begin with it."""
    modality = subject.modality
    where = place(modality, "example")
    first, again = modality.example(), modality.example()
    expect(modality.preview(first) == modality.preview(again), "equal examples", "examples that differ", where)
    is_first = modality.preview(modality.examples()[0]) == modality.preview(first)
    expect(is_first, "`examples` that begin with `example`", "another", place(modality, "examples"))
    loaded = modality.preview(modality.load(first))
    where = place(modality, "load")
    expect(loaded == modality.preview(again), "`load` to return a medium it is given", "another medium", where)


@check("modality")
def preview_is_a_picture(subject: Subject) -> None:
    """`preview` gives a PNG that can be opened."""
    modality = subject.modality
    shown: Any = modality.preview(modality.example())
    where = place(modality, "preview")
    is_png = isinstance(shown, bytes) and shown.startswith(b"\x89PNG")
    expect(is_png, "the bytes of a PNG", f"{type(shown).__name__} {shown[:8]!r}", where)
    with Image.open(io.BytesIO(shown)) as picture:
        picture.load()


@check("modality")
def saved_media_load_again(subject: Subject) -> None:
    """What `save` writes in the first suffix, `load` reads as a medium of the same form and about the same values."""
    modality = subject.modality
    for medium in modality.examples():
        with _saved(modality, medium) as file:
            for source in (file, str(file), file.read_bytes()):
                _expect_alike(modality, medium, modality.load(source), place(modality, "load"))


@check("modality")
def media_cross_to_another_process(subject: Subject) -> None:
    """`pack` gives what can be sent, and `unpack` the same medium again: files are decoded in their own process."""
    modality = subject.modality
    stream = io.BytesIO()
    send(stream, dict(modality.pack(modality.example())))
    stream.seek(0)
    _expect_alike(modality, modality.example(), modality.unpack(receive(stream)), place(modality, "unpack"), exact=True)


@check("modality")
def noise_has_the_form_of_media(subject: Subject) -> None:
    """`noise`, a control of evaluations, is a medium of the same shapes and other values."""
    modality = subject.modality
    drawn = modality.noise(modality.example(), np.random.default_rng(0))
    where = place(modality, "noise")
    _expect_alike(modality, modality.example(), drawn, where, values=False)
    modality.preview(drawn)


@check("modality")
def garbage_is_a_media_error(subject: Subject) -> None:
    """Bytes that are no medium are refused by MediaError, whatever the suffix says, and by no other exception."""
    modality = subject.modality
    noise = np.random.default_rng(0).integers(0, 256, 300, dtype=np.uint8).tobytes()
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (*modality.suffixes, ".surely_unknown"):
            for name, content in (("noise", noise), ("page", b"<html><body>404</body></html>"), ("empty", b"")):
                file = Path(folder) / f"{name}{suffix}"
                file.write_bytes(content)
                _expect_refused(modality, file, f"a {suffix} file of {name}")
    _expect_refused(modality, noise, "300 random bytes")


@check("modality")
def truncated_files_are_refused_or_read(subject: Subject) -> None:
    """A file that was cut off gives a medium or a MediaError, never another exception."""
    modality = subject.modality
    with _saved(modality) as file:
        content = file.read_bytes()
        for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99):
            cut = file.with_name(f"cut{file.suffix}")
            cut.write_bytes(content[: int(len(content) * share)])
            _expect_no_other(modality, lambda cut=cut: modality.load(cut), f"a file cut off at {share:.0%}")


@check("modality")
def damaged_files_are_refused_or_read(subject: Subject) -> None:
    """A file with one wrong byte, wherever it is, gives a medium or a MediaError, never another exception."""
    modality, noise = subject.modality, np.random.default_rng(0)
    with _saved(modality) as file:
        content = file.read_bytes()
        expect(bool(content), f"`save` to write something to {file.name}", "nothing", place(modality, "save"))
        damaged = file.with_name(f"damaged{file.suffix}")
        for number in range(DAMAGES):
            end = HEAD if number % 2 else len(content)  # headers are small, and say how the rest is read
            at, byte = int(noise.integers(min(end, len(content)))), int(noise.integers(256))
            damaged.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
            _expect_no_other(modality, lambda: modality.load(damaged), f"a file whose byte {at} is {byte}")


@check("modality")
def wrong_sources_are_media_errors(subject: Subject) -> None:
    """A missing file, a folder, an address and an object of no kind are refused by MediaError."""
    modality = subject.modality
    suffix = modality.suffixes[0] if modality.suffixes else ""
    with tempfile.TemporaryDirectory() as folder:
        _expect_refused(modality, Path(folder) / f"missing{suffix}", "a file that does not exist")
    _expect_refused(modality, f"https://example.org/a{suffix}", "an address, which is never fetched")
    _expect_refused(modality, object(), "an object of no kind")
    _expect_refused(modality, None, "nothing")


@check("modality")
def wrong_cuts_are_media_errors(subject: Subject) -> None:
    """A `start` beyond the end, or seconds below zero, is refused by MediaError."""
    modality = subject.modality
    with _saved(modality) as file:
        for start, duration in ((FAR, None), (-1.0, None), (None, -1.0)):
            words = f"start={start}, duration={duration}"
            _expect_refused(modality, file, words, lambda s=start, d=duration: modality.load(file, s, d))


@check("modality")
def unknown_suffixes_are_not_written(subject: Subject) -> None:
    """`save` refuses a suffix that it does not know by MediaError."""
    modality = subject.modality
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.surely_unknown"
        words, media = "a MediaError for the suffix '.surely_unknown'", modality.example()
        _expect_media_error(modality, lambda: modality.save(media, file), words, "save")


@check("modality")
def large_files_are_refused(subject: Subject) -> None:
    """A file of more than `max_bytes` is refused before a library reads it."""
    settings, cls = subject.settings, subject.entry.settings
    has_limit = "max_bytes" in cls.model_fields
    expect(has_limit, "a setting `max_bytes` that `load` keeps to", sorted(cls.model_fields), place(cls))
    block = {**settings.model_dump(mode="json", serialize_as_any=True), "max_bytes": 1}
    small: Any = cls.model_validate(block, context=subject.bench.context).build(BuildContext(path=subject.name))
    with _saved(subject.modality) as file:
        for source in (file, file.read_bytes()):
            _expect_media_error(small, lambda source=source: small.load(source), "a MediaError above max_bytes", "load")


@contextmanager
def _saved(modality: Modality[Any, Any], medium: Any = None) -> Generator[Path]:
    """Yield the file of a medium, or else of the example, in the first suffix."""
    if not modality.suffixes:
        raise NotApplicable("it declares no suffixes")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"example{modality.suffixes[0]}"
        modality.save(modality.example() if medium is None else medium, file)
        expect(file.is_file(), f"`save` to write {file.name}", "no file", place(modality, "save"))
        yield file


def _expect_refused(
    modality: Modality[Any, Any], source: Any, words: str, call: Callable[[], Any] | None = None
) -> None:
    load = call or (lambda: modality.load(source))
    _expect_media_error(modality, load, f"a MediaError for {words}", "load")


def _expect_media_error(modality: Modality[Any, Any], call: Callable[[], Any], expected: str, method: str) -> None:
    try:
        given = call()
    except MediaError:
        return
    except Exception as error:
        expect(False, expected, f"{type(error).__name__}: {error}", place(modality, method))
    else:
        expect(False, expected, f"that it gave {type(given).__name__}", place(modality, method))


def _expect_no_other(modality: Modality[Any, Any], call: Callable[[], Any], words: str) -> None:
    try:
        call()
    except MediaError:
        return
    except Exception as error:
        expected = f"a medium or a MediaError for {words}"
        expect(False, expected, f"{type(error).__name__}: {error}", place(modality, "load"))


def _expect_alike(
    modality: Modality[Any, Any], mine: Any, theirs: Any, where: str, *, exact: bool = False, values: bool = True
) -> None:
    """Hold two media to each other: the same things in them, shapes and kinds of numbers, and about the same values."""
    expected, found = dict(modality.pack(mine)), dict(modality.pack(theirs))
    expect(type(theirs) is type(mine), f"a {type(mine).__name__}", type(theirs).__name__, where)
    for name, value in expected.items():
        other = found.get(name)
        if not isinstance(value, np.ndarray):
            if exact:
                expect(value == other, f"{name} = {value!r}", repr(other), where)
            continue
        array, again = cast("Array", value), cast("Array", np.asarray(other))
        form = f"{name} of shape {array.shape}, {array.dtype}"
        is_same = again.shape == array.shape and again.dtype == array.dtype
        expect(is_same, form, f"shape {again.shape}, {again.dtype}", where)
        if not values or array.dtype.kind not in "fiu" or not array.size:
            continue
        wide, difference = float(np.ptp(array.astype(float))), np.abs(again.astype(float) - array.astype(float)).max()
        largest = 0.0 if exact else 0.01 * wide + 1e-6
        expect(difference <= largest, f"{name} within {largest:.3g}", f"a difference of {difference:.3g}", where)
