"""PLY files (text, little and big endian), read strictly: a header is compared with what follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from polyjanus.core.errors import MediaError
from polyjanus.encoders.point_cloud.cloud import Array, Columns, PointCloud
from polyjanus.encoders.point_cloud.tables import lines_of, read_rows

TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
XYZ = (("x", "y", "z"),)
COLOURS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
NORMALS = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"))
"""Names that files use; the first are what is written."""
HEADER_BYTES = 65536
"""A header that does not end within so many is none."""
MOST = {"u1": 255.0, "u2": 65535.0}
"""What full colour is in each whole number type."""


@dataclass
class Element:
    """One element of a header: its scalar properties, and the types of the counts of its lists."""

    name: str
    count: int
    properties: dict[str, str] = field(default_factory=dict[str, str])
    lists: list[str] = field(default_factory=list[str])

    def least_bytes(self) -> int:
        """Return how many bytes the rows take, with every list empty."""
        kinds = [*self.properties.values(), *self.lists]
        return self.count * sum(np.dtype(kind).itemsize for kind in kinds)


@dataclass(frozen=True)
class Header:
    """What a header says: the byte order ('' for text), the vertices, what stands around them, where rows start."""

    order: str
    before: Sequence[Element]
    vertex: Element
    after: Sequence[Element]
    start: int


def read_ply(content: bytes, where: str) -> Columns:
    """Return the vertices of a PLY file; faces, where it has any, are left out."""
    header = _read_header(content, where)
    vertex = header.vertex
    if vertex.lists or any(element.lists for element in header.before):
        raise MediaError("lists before or within the vertices of a PLY file are not read", where=where)
    if not vertex.count:
        return Columns(np.zeros((0, 3)))
    values = (_read_binary if header.order else _read_text)(content, where, header)
    xyz, rgb, normals = (_chosen(vertex, values, options) for options in (XYZ, COLOURS, NORMALS))
    if xyz is None:
        raise MediaError(
            f"the points have no x, y and z, only {', '.join(vertex.properties) or 'nothing'}", where=where
        )
    return Columns(xyz, rgb, normals)


def write_ply(cloud: PointCloud, path: Path) -> None:
    """Write a little endian PLY file: float32 coordinates and normals, colours of 8 bits."""
    fields: list[tuple[str, str, Array]] = [("float", name, cloud.xyz[:, i]) for i, name in enumerate("xyz")]
    if cloud.normals is not None:
        fields += [("float", name, cloud.normals[:, i]) for i, name in enumerate(NORMALS[0])]
    if cloud.rgb is not None:
        colours = np.clip(np.rint(cloud.rgb * 255), 0, 255).astype(np.uint8)
        fields += [("uchar", name, colours[:, i]) for i, name in enumerate(COLOURS[0])]
    rows = np.zeros(len(cloud), np.dtype([(name, f"<{TYPES[kind]}") for kind, name, _ in fields]))
    for _, name, values in fields:
        rows[name] = values
    header = ["ply", "format binary_little_endian 1.0", "comment metres", f"element vertex {len(cloud)}"]
    header += [f"property {kind} {name}" for kind, name, _ in fields] + ["end_header", ""]
    path.write_bytes("\n".join(header).encode() + rows.tobytes())


def _read_header(content: bytes, where: str) -> Header:
    end = content.find(b"end_header", 0, HEADER_BYTES)
    newline = content.find(b"\n", end) if end >= 0 else -1
    if newline < 0:
        raise MediaError("the PLY header has no line 'end_header'", where=where, hint="was the file cut off?")
    try:
        lines = content[:end].decode("ascii").splitlines()
        order, elements = _parse_header([line.split() for line in lines[1:]])
    except (ValueError, KeyError, IndexError) as error:
        raise MediaError(f"the PLY header is damaged: {str(error)[:120]}", where=where) from error
    index = next((index for index, element in enumerate(elements) if element.name == "vertex"), None)
    if index is None:
        raise MediaError("the PLY header names no element 'vertex'", where=where)
    return Header(order, elements[:index], elements[index], elements[index + 1 :], newline + 1)


def _parse_header(lines: Sequence[Sequence[str]]) -> tuple[str, list[Element]]:
    order: str | None = None
    elements: list[Element] = []
    for words in lines:
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "format" and len(words) == 3:
            order = ORDERS[words[1]]
        elif words[0] == "element" and len(words) == 3 and words[2].isdecimal():
            elements.append(Element(words[1], int(words[2])))
        elif words[0] == "property" and len(words) == 5 and words[1] == "list" and words[3] in TYPES:
            elements[-1].lists.append(TYPES[words[2]])
        elif words[0] == "property" and len(words) == 3 and words[2] not in elements[-1].properties:
            elements[-1].properties[words[2]] = TYPES[words[1]]
        else:
            raise ValueError(f"line {' '.join(words)!r}")
    if order is None:
        raise ValueError("no line 'format'")
    return order, elements


def _read_binary(content: bytes, where: str, header: Header) -> dict[str, Array]:
    vertex, start = header.vertex, header.start + sum(element.least_bytes() for element in header.before)
    needed, there = vertex.least_bytes(), max(0, len(content) - start)
    after = sum(element.least_bytes() for element in header.after)
    if needed + after > there:
        raise MediaError(
            f"the header says {vertex.count} points, at least {needed + after} bytes; {there} bytes follow",
            where=where,
            hint="was the file cut off?",
        )
    if not header.after and content[start + needed :].strip(b"\r\n\t \0"):
        raise MediaError(f"the header says {vertex.count} points, {needed} bytes; {there} bytes follow", where=where)
    if not vertex.properties:
        return {}
    dtype = np.dtype([(name, header.order + kind) for name, kind in vertex.properties.items()])
    rows = np.frombuffer(content, dtype, count=vertex.count, offset=start)
    return {name: rows[name] for name in vertex.properties}


def _read_text(content: bytes, where: str, header: Header) -> dict[str, Array]:
    vertex, lines = header.vertex, lines_of(content[header.start :], where)
    for _ in range(sum(element.count for element in header.before)):
        if next(lines, None) is None:
            break
    values = read_rows(lines, where, count=vertex.count)
    if values.shape[1] != len(vertex.properties):
        raise MediaError(
            f"the header says {len(vertex.properties)} values a point, rows have {values.shape[1]}", where=where
        )
    after, found = sum(element.count for element in header.after), sum(1 for _ in lines)
    if found != after:
        raise MediaError(f"the header says {after} rows after the points, {found} follow", where=where)
    return {name: values[:, i] for i, name in enumerate(vertex.properties)}


def _chosen(vertex: Element, values: dict[str, Array], options: Sequence[Sequence[str]]) -> Array | None:
    """Return the columns (P, 3) of the first names that are all there, colours of whole numbers from 0 to 1."""
    for names in options:
        if all(name in values for name in names):
            columns = np.stack([values[name] for name in names], axis=1)
            most = MOST.get(vertex.properties[names[0]]) if options is COLOURS else None
            return columns / most if most else columns.astype(columns.dtype.newbyteorder("="))
    return None
