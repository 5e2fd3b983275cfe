"""NumPy files read without trust: no objects, and no more bytes than the file holds or its modality allows."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from polyjanus.core.errors import MediaError
from polyjanus.core.files import check_size, guess_content, over_limit, read_file

Array = np.ndarray[Any, Any]


def read_npy(content: bytes, where: str, *, max_bytes: int) -> Array:
    """Return the array in the bytes of a .npy file; objects, a wrong size or a damaged header are a MediaError."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(stream)
    except Exception as error:  # the header is parsed as Python, which fails in many ways
        raise MediaError(f"the NumPy file is damaged: {str(error)[:120]}", where=where) from error
    if dtype.hasobject or dtype.kind not in "fiub":
        raise MediaError(f"the NumPy file holds {dtype}, not numbers", where=where)
    needed, there = dtype.itemsize, len(content) - stream.tell()
    for side in shape:  # whole numbers of Python, which do not overflow
        needed *= side
    if needed > max_bytes:
        raise MediaError(f"{needed} bytes are more than {max_bytes}", where=where, hint=over_limit("max_bytes"))
    if needed != there or min(shape, default=0) < 0:
        raise MediaError(
            f"the header says {shape} {dtype}, {needed} bytes; there are {there}", where=where, hint="make it anew"
        )
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def read_npz(content: bytes, where: str, *, max_bytes: int) -> dict[str, Array]:
    """Return the arrays in the bytes of a .npz file, by name."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
            if total > max_bytes:
                raise MediaError(f"{total} bytes are more than {max_bytes}", where=where, hint=over_limit("max_bytes"))
            entries = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    except MediaError:
        raise
    except Exception as error:  # a damaged archive raises whatever its fields make of it
        raise MediaError(f"the .npz file is damaged: {error or type(error).__name__}", where=where) from error
    return {name: read_npy(entry, f"{where}[{name}]", max_bytes=max_bytes) for name, entry in entries.items()}


def array_of(source: Any, where: str, *, noun: str, max_bytes: int) -> Array:
    """Return the finite numbers, float32, in a path, in the bytes of a .npy or .npz file, or in an array."""
    if isinstance(source, str | Path):
        content = read_file(source, max_bytes=max_bytes, noun=noun)
    elif isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
        check_size(len(content), max_bytes=max_bytes, where=where, noun=noun)
    elif isinstance(source, np.ndarray):
        return finite(source, where)
    else:
        raise MediaError(f"a {type(source).__name__} is no {noun}", where=where, hint="give a path, bytes or an array")
    if content.startswith(b"\x93NUMPY"):
        return finite(read_npy(content, where, max_bytes=max_bytes), where)
    if not content.startswith(b"PK"):
        raise MediaError("this is no NumPy file", where=where, hint=guess_content(content, "known are .npy and .npz"))
    arrays = read_npz(content, where, max_bytes=max_bytes)
    if len(arrays) != 1:
        raise MediaError(f"the .npz file holds {len(arrays)} arrays, not one", where=where)
    return finite(next(iter(arrays.values())), where)


def finite(array: Array, where: str) -> Array:
    """Return an array as float32; what is empty, no number or not finite is a MediaError."""
    if not array.size or array.dtype.kind not in "fiub":
        raise MediaError(f"an array of shape {array.shape} and {array.dtype} holds no numbers", where=where)
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(array, dtype=np.float32)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise MediaError(
            f"{int(wrong.sum())} values are not finite, the first at {place}", where=where, hint="fill them first"
        )
    return numbers
