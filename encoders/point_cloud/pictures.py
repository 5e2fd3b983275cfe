"""Pictures of point clouds for people: three directions beside each other, each point a small shaded ball."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from polyjanus.encoders.point_cloud.cloud import Array, PointCloud

SIDE = 360
"""Pixels of one view."""
FINER = 2
"""Views are drawn so many times larger and made smaller, which smooths them."""
VIEWS = (
    ("from the front, right and above", -60.0, 30.0),
    ("from the front: x to the right, z up", -90.0, 0.0),
    ("from above: x to the right, y up", -90.0, 90.0),
)
"""What is seen, and from where: degrees around z and above the ground."""
SHOWN = 40_000
"""Points that are drawn, at most."""
BACKGROUND = 252
HEIGHTS = np.array([[52, 64, 150], [32, 144, 140], [94, 201, 98], [240, 200, 40]], dtype=np.float64)
"""Colours from the lowest point to the highest, where a cloud has none of its own."""
NEAREST, FARTHEST = 1.0, 0.62
"""Brightness of the points, from near to far."""


def draw(cloud: PointCloud) -> bytes:
    """Return a PNG of a cloud from three directions."""
    xyz = cloud.xyz.astype(np.float64)
    low, high = xyz.min(axis=0), xyz.max(axis=0)
    colours = _heights(xyz) if cloud.rgb is None else cloud.rgb.astype(np.float64) * 255
    if len(xyz) > SHOWN:
        kept = np.random.default_rng(0).permutation(len(xyz))[:SHOWN]
        xyz, colours = xyz[kept], colours[kept]
    centred = xyz - (low + high) / 2
    centred /= max(float(np.linalg.norm(centred, axis=1).max()), 1e-30)
    sheet = Image.new("RGB", (SIDE * len(VIEWS), SIDE + 24), (BACKGROUND,) * 3)
    pen = ImageDraw.Draw(sheet)
    for index, (title, around, above) in enumerate(VIEWS):
        view = Image.fromarray(_view(centred, colours, around, above))
        sheet.paste(view.resize((SIDE, SIDE), Image.Resampling.BOX), (index * SIDE, 0))
        pen.text((index * SIDE + 8, 6), title, fill=(110, 110, 110), font=ImageFont.load_default(12))
    sides = " x ".join(f"{side:.3g}" for side in high - low)
    middle = ", ".join(f"{value:.3f}" for value in (low + high) / 2 + 0.0)
    text = f"{len(cloud)} points, {sides} m, around ({middle}) m"
    pen.text((8, SIDE + 4), text, fill=(60, 60, 60), font=ImageFont.load_default(12))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _heights(xyz: Array) -> Array:
    """Return a colour (P, 3), 0 to 255, for the height of each point."""
    height = xyz[:, 2] - xyz[:, 2].min()
    place = height / max(float(height.max()), 1e-30) * (len(HEIGHTS) - 1)
    return np.stack([np.interp(place, range(len(HEIGHTS)), HEIGHTS[:, i]) for i in range(3)], axis=1)


def _view(centred: Array, colours: Array, around: float, above: float) -> Array:
    """Return pixels (H, W, 3), uint8, of points within the unit ball; what is near covers what is far."""
    side = SIDE * FINER
    turn, tilt = np.radians([around, above])
    towards = np.array([np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn), np.sin(tilt)])
    right = np.array([-np.sin(turn), np.cos(turn), 0.0])
    depth = centred @ towards
    order = np.argsort(depth, kind="stable")
    across, up = centred[order] @ right, centred[order] @ np.cross(towards, right)
    radius = int(np.clip(0.5 * side / np.sqrt(len(centred)), 2, 13))
    scale = side * 0.5 - radius - 28 * FINER
    columns = np.rint(side / 2 + across * scale).astype(int)
    rows = np.rint(side / 2 - up * scale).astype(int) + 8 * FINER
    near = np.interp(depth[order], (-1, 1), (FARTHEST, NEAREST))
    ball = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1)
    distance = (ball**2).sum(axis=0) / radius**2
    ball, distance = ball[:, distance <= 1], distance[distance <= 1]
    shade = 0.55 + 0.45 * np.sqrt(1 - distance)
    canvas = np.full((side, side, 3), BACKGROUND, np.uint8)
    place = ((rows[:, None] + ball[0]).clip(0, side - 1), (columns[:, None] + ball[1]).clip(0, side - 1))
    lit = (colours[order] * near[:, None])[:, None, :] * shade[:, None]
    canvas[place] = lit.clip(0, 255).astype(np.uint8)  # of pixels named twice the last, and so the nearest, stays
    return canvas
