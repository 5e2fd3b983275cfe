"""What two processes of ours say to each other: JSON with the bytes of arrays behind it; nothing in it is code."""

from __future__ import annotations

import json
import struct
from math import prod
from typing import Any, BinaryIO, cast

import numpy as np

LENGTH = struct.Struct("<Q")
MARK = "$"
"""Key of a JSON object that stands for something JSON has not."""


def send(stream: BinaryIO, value: Any) -> None:
    """Write one message: dicts with text keys, lists, tuples, texts, numbers, None, bytes and arrays of numbers."""
    buffers: list[Any] = []
    head = json.dumps(_plain(value, buffers)).encode()
    stream.write(LENGTH.pack(len(head)))
    stream.write(head)
    for buffer in buffers:
        stream.write(buffer)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Return the next message; the end of the stream is an EOFError."""
    (length,) = LENGTH.unpack(_exactly(stream, LENGTH.size))
    return _restored(json.loads(_exactly(stream, length)), stream)


def _plain(value: Any, buffers: list[Any]) -> Any:
    """Return a value as JSON can hold it; `buffers` are what is to follow, in order."""
    if isinstance(value, dict):
        return {key: _plain(entry, buffers) for key, entry in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        entries = [_plain(entry, buffers) for entry in cast("list[Any]", value)]
        return entries if isinstance(value, list) else {MARK: "tuple", "entries": entries}
    if isinstance(value, bytes | bytearray | memoryview):
        buffers.append(value)
        return {MARK: "bytes", "length": len(cast(bytes, value))}
    if isinstance(value, np.ndarray):
        array = cast("np.ndarray[Any, Any]", value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"an array of {array.dtype} cannot be sent")
        buffers.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return {MARK: "array", "dtype": array.dtype.str, "shape": list(array.shape)}
    return cast(Any, value).item() if isinstance(value, np.generic) else value


def _restored(value: Any, stream: BinaryIO) -> Any:
    """Return a value as it was, reading in order what follows."""
    if isinstance(value, list):
        return [_restored(entry, stream) for entry in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    block = cast("dict[str, Any]", value)
    match block.get(MARK):
        case "tuple":
            return tuple(_restored(entry, stream) for entry in block["entries"])
        case "bytes":
            return bytes(_exactly(stream, block["length"]))
        case "array":
            dtype = np.dtype(block["dtype"])
            content = _exactly(stream, prod(block["shape"]) * dtype.itemsize)
            return np.frombuffer(content, dtype).reshape(block["shape"])
        case _:
            return {key: _restored(entry, stream) for key, entry in block.items()}


def _exactly(stream: BinaryIO, length: int) -> bytearray:
    """Return that many bytes, in memory that may be written to."""
    content = bytearray(length)
    view, done = memoryview(content), 0
    while done < length:
        count = cast(Any, stream).readinto(view[done:])
        if not count:
            raise EOFError("the other side has gone")
        done += count
    return content
