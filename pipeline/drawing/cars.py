"""Cars from the side: seven bodies, glass, wheels, lamps. All face right; the scene mirrors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.drawing.sketch import RGB, Sketch, ellipse, mix, points, rounded
from textgan.facts.drawn import OBJECT_PALETTE

_TYRE: RGB = (30, 30, 33)
_RIM: RGB = (196, 198, 202)
_TRIM: RGB = (44, 44, 48)
_LAMP: RGB = (255, 244, 200)
_TAIL: RGB = (190, 24, 30)


@dataclass(frozen=True, slots=True)
class _Body:
    """Half length 1, ground at y = 0, up is negative."""

    belt: float
    """Height of the belt line, where the glass begins."""
    nose: float
    """Height of the bonnet's front."""
    rear: float
    """Height of the tail's top."""
    roof: np.ndarray
    """Cabin above the belt, from the rear foot to the front foot [4,2]; empty for an open car."""
    pillars: tuple[float, ...]
    """Where the side glass is divided, x at the belt."""
    glass_from: float = -2.0
    """The side glass begins here."""
    wheel: float = 0.21
    axles: tuple[float, float] = (-0.6, 0.62)
    length: float = 1.0


_BODIES = {
    "sedan": _Body(-0.46, -0.36, -0.42, points(-0.74, -0.46, -0.44, -0.76, 0.1, -0.76, 0.44, -0.46), (-0.16,)),
    "coupe": _Body(
        -0.43, -0.32, -0.42, points(-0.86, -0.43, -0.34, -0.68, -0.02, -0.68, 0.34, -0.43), (), axles=(-0.62, 0.64)
    ),
    "hatchback": _Body(
        -0.5, -0.4, -0.46, points(-0.88, -0.5, -0.7, -0.88, 0.06, -0.88, 0.46, -0.5), (-0.2,), length=0.92
    ),
    "suv": _Body(
        -0.58, -0.5, -0.54, points(-0.92, -0.58, -0.84, -0.98, 0.14, -0.98, 0.42, -0.58), (-0.46, -0.06), wheel=0.25
    ),
    "van": _Body(
        -0.56, -0.46, -0.56, points(-0.98, -0.56, -0.95, -1.08, 0.48, -1.08, 0.82, -0.56), (0.3,), glass_from=0.02
    ),
    "pickup": _Body(-0.52, -0.48, -0.5, points(-0.16, -0.52, -0.1, -0.9, 0.22, -0.9, 0.46, -0.52), (), wheel=0.24),
    "convertible": _Body(-0.46, -0.36, -0.43, points(), (), axles=(-0.62, 0.64)),
}


def car(facts: dict[str, str], rng: np.random.Generator) -> Sketch:
    """The sketch of a car with these facts (colour, body)."""
    sketch = Sketch(OBJECT_PALETTE[facts["colour"]])
    body = _BODIES[facts["body"]]
    stretch = np.array([body.length * rng.uniform(0.97, 1.03), rng.uniform(1.12, 1.22)])
    if facts["body"] == "convertible":
        _open_top(sketch, stretch)
    else:
        sketch.part(rounded(body.roof * stretch, cut=0.1), 150)
        _glass(sketch, body, stretch)
    if facts["body"] == "pickup":
        sketch.part(points(-0.97, -0.62, -0.16, -0.62, -0.16, -0.5, -0.97, -0.5) * stretch, 160)
    _shell(sketch, body, stretch)
    for axle in body.axles:
        _wheel(sketch, axle * stretch[0], body.wheel, spokes=int(rng.integers(5, 8)))
    return sketch


def _glass_colour(paint: RGB) -> RGB:
    """Dark glass, but light on black paint, or the windows would not be seen."""
    return (150, 168, 186) if max(paint) < 80 else (52, 62, 76)


def _glass(sketch: Sketch, body: _Body, stretch: np.ndarray) -> None:
    roof = body.roof
    middle = roof.mean(0) + (0, 0.02)
    inner = middle + (roof - middle) * (0.9, 0.78)
    inner[:, 0] = np.maximum(inner[:, 0], body.glass_from)
    colour = _glass_colour(sketch.colour)
    sketch.detail(rounded(inner * stretch, times=1, cut=0.08), colour)
    shine = mix(colour, (255, 255, 255), 0.35)
    top, foot = roof[2, 1] * 0.97, roof[3, 1]
    for shift, width in ((-0.1, 0.07), (0.03, 0.03)):
        x = inner[:, 0].mean() + shift
        band = points(x, foot, x + 0.14, top, x + 0.14 + width, top, x + width, foot)
        band[:, 1] = np.clip(band[:, 1], inner[:, 1].min(), inner[:, 1].max())
        sketch.detail(band * stretch, shine)
    for pillar in body.pillars:
        sketch.line(points(pillar, foot, pillar + 0.02, roof[2, 1]) * stretch, 0.05, sketch.colour)


def _open_top(sketch: Sketch, stretch: np.ndarray) -> None:
    seat = (92, 62, 48)
    for x in (-0.34, -0.02):
        sketch.part(rounded(points(x, -0.6, x + 0.12, -0.6, x + 0.18, -0.4, x - 0.02, -0.4) * stretch), 110, seat)
    sketch.part(points(0.4, -0.44, 0.19, -0.7, 0.13, -0.66, 0.24, -0.44) * stretch, 120, (176, 196, 210))
    sketch.limb(points(0.4, -0.44, 0.19, -0.7) * stretch, 0.03, 125, _TRIM)


def _shell(sketch: Sketch, body: _Body, stretch: np.ndarray) -> None:
    paint = sketch.colour
    shade, shine = mix(paint, (10, 10, 14), 0.3), mix(paint, (255, 255, 255), 0.3)
    if max(paint) < 80:
        shade, shine = (14, 14, 16), mix(paint, (255, 255, 255), 0.2)
    front = body.roof[3, 0] if len(body.roof) else 0.4
    back = body.roof[0, 0] if len(body.roof) else -0.5
    outline = points(
        -0.98, -0.16, -1, body.rear + 0.08, -0.95, body.rear, back, body.belt, front, body.belt,
        0.9, body.nose - 0.04, 0.98, body.nose + 0.06, 1, -0.18, 0.94, -0.1, -0.92, -0.1,
    )  # fmt: skip
    sketch.part(rounded(outline * stretch, times=2, cut=0.12), 175)
    shoulder = points(-0.97, body.rear + 0.01, front, body.belt + 0.01, 0.9, body.nose - 0.03)
    edge = points(0.9, body.nose + 0.06, front, body.belt + 0.1, -0.98, body.rear + 0.1)
    sketch.detail(np.concatenate([shoulder, edge]) * stretch, mix(paint, (255, 255, 255), 0.13))
    sketch.detail(points(-0.98, -0.27, 0.99, -0.27, 0.99, -0.18, -0.98, -0.18) * stretch, mix(paint, shade, 0.45))
    belt = points(-0.9, body.rear + 0.1, front, body.belt + 0.08, 0.88, body.nose + 0.04) * stretch
    sketch.line(belt, 0.022, shine)
    sketch.detail(points(-0.97, -0.19, 0.99, -0.19, 0.96, -0.09, -0.94, -0.09) * stretch, shade)
    seams = [front - 0.04, *body.pillars] if len(body.roof) else [0.34, -0.08]
    for x in seams:
        sketch.line(points(x, body.belt + 0.02, x - 0.02, -0.2) * stretch, 0.014, shade)
        sketch.line(points(x - 0.2, body.belt + 0.13, x - 0.1, body.belt + 0.13) * stretch, 0.024, shade)
    sketch.detail(
        points(0.84, body.nose + 0.02, 0.98, body.nose + 0.06, 0.99, body.nose + 0.14, 0.86, body.nose + 0.1) * stretch,
        _LAMP,
    )
    sketch.detail(
        points(-1.0, body.rear + 0.06, -0.93, body.rear + 0.05, -0.93, body.rear + 0.17, -1, body.rear + 0.17)
        * stretch,
        _TAIL,
    )
    for axle in body.axles:
        sketch.detail(
            ellipse(axle * stretch[0], -body.wheel, body.wheel * 1.22, body.wheel * 1.22), mix(shade, _TRIM, 0.7)
        )


def _wheel(sketch: Sketch, x: float, radius: float, spokes: int) -> None:
    sketch.part(ellipse(x, -radius, radius, radius), 190, _TYRE)
    sketch.detail(ellipse(x, -radius, radius * 0.64, radius * 0.64), _RIM)
    for idx in range(spokes):
        angle = 2 * np.pi * idx / spokes + 0.3
        ends = np.array([[0.2 * np.cos(angle), 0.2 * np.sin(angle)], [0.56 * np.cos(angle), 0.56 * np.sin(angle)]])
        sketch.line(ends * radius + (x, -radius), radius * 0.1, (110, 112, 118))
    sketch.detail(ellipse(x, -radius, radius * 0.16, radius * 0.16), (90, 92, 98))
