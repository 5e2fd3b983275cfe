"""The one door to Open3D, which is loaded only for what is not read here: glTF files in several parts."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from polyjanus.core.errors import MediaError
from polyjanus.encoders.point_cloud.meshes import Mesh

LIBRARIES = "apt-get install libegl1 libgl1 libgomp1 libidn2-0 libudev1 libusb-1.0-0 libx11-6"
"""What Open3D's wheel needs of a system; `make system` runs it."""


def open3d_for(noun: str, where: str) -> ModuleType:
    """Return Open3D; where it is missing, or its system libraries are, a MediaError says what to install."""
    try:
        import open3d
    except ImportError as error:
        is_there = "cannot open shared object" in str(error)
        text = f"{noun} needs Open3D, which " + (f"lacks a library: {error}" if is_there else "is not installed")
        raise MediaError(
            text, where=where, hint=LIBRARIES if is_there else 'pip install "polyjanus[point-cloud]"'
        ) from error
    except OSError as error:
        raise MediaError(f"{noun} needs Open3D, which lacks a library: {error}", where=where, hint=LIBRARIES) from error
    return open3d


def read_with_open3d(path: Path, where: str) -> Mesh:
    """Return the mesh in a file; Open3D tells no fault, so an empty mesh is one."""
    library: Any = open3d_for(f"a mesh in a {path.suffix} file", where)
    with library.utility.VerbosityContextManager(library.utility.VerbosityLevel.Error):
        mesh = library.io.read_triangle_mesh(str(path))
    vertices, triangles = np.array(mesh.vertices), np.array(mesh.triangles)
    if not len(triangles):
        raise MediaError(
            "Open3D finds no triangles in it", where=where, hint="is it damaged, or are its other files missing?"
        )
    return Mesh(vertices, triangles)
