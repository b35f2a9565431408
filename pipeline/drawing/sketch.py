"""A sketch: filled shapes and strokes in local coordinates, with a height for the shading, painted by Pillow."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
_CURVE_STEPS = 6


def points(*values: float) -> np.ndarray:
    """x0, y0, x1, y1, ... as an array [N,2]."""
    return np.array(values, dtype=np.float64).reshape(-1, 2)


def spline(control: np.ndarray, closed: bool = True) -> np.ndarray:
    """A smooth (Catmull-Rom) curve through control points: [N,2] -> [M,2]."""
    if closed:
        p0, p1, p2, p3 = (np.roll(control, shift, axis=0) for shift in (1, 0, -1, -2))
    else:
        ends = np.concatenate([2 * control[:1] - control[1:2], control, 2 * control[-1:] - control[-2:-1]])
        p0, p1, p2, p3 = ends[:-3], ends[1:-2], ends[2:-1], ends[3:]
    t = (np.arange(_CURVE_STEPS) / _CURVE_STEPS)[None, :, None]
    p0, p1, p2, p3 = (p[:, None] for p in (p0, p1, p2, p3))
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, control[-1:]])


def rounded(corners: np.ndarray, times: int = 2, cut: float = 0.2) -> np.ndarray:
    """A polygon with its corners cut `times` (Chaikin): straight sides stay straight."""
    for _ in range(times):
        following = np.roll(corners, -1, axis=0)
        near, far = corners + cut * (following - corners), following + cut * (corners - following)
        corners = np.stack([near, far], axis=1).reshape(-1, 2)
        cut = 0.25
    return corners


_CIRCLE = np.stack([np.cos(np.arange(40) * np.pi / 20), np.sin(np.arange(40) * np.pi / 20)], axis=1)


def ellipse(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """An ellipse as a polygon [40,2]."""
    return _CIRCLE * (rx, ry) + (x, y)


def mix(first: RGB, second: RGB, part: float) -> RGB:
    """`part` of the second colour in the first."""
    return (
        round(first[0] + (second[0] - first[0]) * part),
        round(first[1] + (second[1] - first[1]) * part),
        round(first[2] + (second[2] - first[2]) * part),
    )


@dataclass(slots=True)
class Sketch:
    """Shapes in painting order. `height` of 0 marks a detail: it colours what is there and adds no outline."""

    colour: RGB
    shapes: list[tuple[np.ndarray, RGB, int, float]] = field(default_factory=list)
    """(points, colour, height, stroke width or 0 for a fill)."""

    def part(self, outline: np.ndarray, height: int, colour: RGB | None = None) -> None:
        """A filled part of the object; a larger height stands nearer to the viewer."""
        self.shapes.append((outline, colour or self.colour, height, 0.0))

    def limb(self, line: np.ndarray, width: float, height: int, colour: RGB | None = None) -> None:
        """A rounded stroke that is a part of the object."""
        self.shapes.append((line, colour or self.colour, height, width))

    def detail(self, outline: np.ndarray, colour: RGB) -> None:
        """A filled detail on the object."""
        self.shapes.append((outline, colour, 0, 0.0))

    def line(self, line: np.ndarray, width: float, colour: RGB) -> None:
        """A stroke on the object."""
        self.shapes.append((line, colour, 0, width))

    def bounds(self) -> np.ndarray:
        """[[x0, y0], [x1, y1]] of the object's parts."""
        low = np.min([outline.min(0) - width / 2 for outline, _, height, width in self.shapes if height], axis=0)
        high = np.max([outline.max(0) + width / 2 for outline, _, height, width in self.shapes if height], axis=0)
        return np.stack([low, high])

    def paint(self, scale: float, mirrored: bool, margin: int, oversample: int) -> tuple[Image.Image, Image.Image]:
        """(colours RGB, heights L) at `oversample` times `scale` pixels a unit, `margin` final pixels around it."""
        low, high = self.bounds()
        size = tuple(int(np.ceil((high - low)[axis] * scale)) + 2 * margin for axis in (0, 1))
        zoom = scale * oversample
        colours = Image.new("RGB", (size[0] * oversample, size[1] * oversample), self.colour)
        heights = Image.new("L", colours.size, 0)
        on_colours, on_heights = ImageDraw.Draw(colours), ImageDraw.Draw(heights)
        for outline, colour, height, width in self.shapes:
            place = (outline - low) * zoom + margin * oversample
            if mirrored:
                place[:, 0] = colours.size[0] - place[:, 0]
            layers = ((on_colours, colour), (on_heights, height)) if height else ((on_colours, colour),)
            flat = place.ravel().tolist()
            for draw, value in layers:
                if width:
                    _stroke(draw, flat, width * zoom, value)
                else:
                    draw.polygon(flat, fill=value)
        return colours, heights


def _stroke(draw: ImageDraw.ImageDraw, flat: list[float], width: float, value: RGB | int) -> None:
    draw.line(flat, fill=value, width=max(1, round(width)), joint="curve")
    radius = width / 2
    if radius >= 1:
        for x, y in ((flat[0], flat[1]), (flat[-2], flat[-1])):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value)
