"""Cats: three poses, five coats, a face that looks at the viewer. All face right; the scene mirrors."""

from __future__ import annotations

import numpy as np

from pipeline.drawing.sketch import RGB, Sketch, ellipse, mix, points, spline
from textgan.facts.drawn import OBJECT_PALETTE

_WHITE: RGB = (246, 244, 240)
_DARK: RGB = (24, 22, 26)
_EYES: tuple[RGB, ...] = ((120, 190, 70), (236, 190, 50), (92, 170, 220))


def darker(colour: RGB, part: float) -> RGB:
    """A second tone of the same colour; of a near-black one it is lighter, or it would not be seen."""
    if max(colour) < 80:
        return mix(colour, (120, 120, 128), 0.6 * part)
    return mix(colour, (colour[0] // 4, colour[1] // 4, colour[2] // 4), part)


def cat(facts: dict[str, str], rng: np.random.Generator) -> Sketch:
    """The sketch of a cat with these facts (colour, pattern, pose)."""
    sketch = Sketch(OBJECT_PALETTE[facts["colour"]])
    coat = _Coat(sketch, facts["pattern"], rng)
    {"sitting": _sitting, "standing": _standing, "lying": _lying}[facts["pose"]](sketch, coat, rng)
    return sketch


class _Coat:
    """Where the pattern of a coat goes: each pose tells its body, legs, tail and head."""

    def __init__(self, sketch: Sketch, pattern: str, rng: np.random.Generator) -> None:
        self.sketch, self.pattern, self.rng = sketch, pattern, rng
        colour = sketch.colour
        self.second = darker(colour, 0.5 if pattern == "tabby" else 0.55)
        self.end = {"pointed": darker(colour, 0.7), "bicolour": _WHITE}.get(pattern, colour)
        """Colour of paws."""
        self.ear = self.tail = darker(colour, 0.7) if pattern == "pointed" else colour

    def body(self, x0: float, x1: float, y0: float, y1: float) -> None:
        """Stripes or patches over a box of the body; what leaves the outline is not seen."""
        if self.pattern == "tabby":
            for x in np.arange(x0, x1, 0.17):
                bend = self.rng.uniform(-0.05, 0.05)
                end = y0 + (y1 - y0) * self.rng.uniform(0.55, 0.85)
                stripe = points(x, y0 - 0.1, x + 0.05 + bend, (y0 + end) / 2, x - 0.02, end)
                self.sketch.line(spline(stripe, closed=False), 0.065, self.second)
        elif self.pattern == "tortoiseshell":
            for _ in range(9):
                self._patch(self.rng.uniform(x0, x1), self.rng.uniform(y0, y1), self.rng.uniform(0.07, 0.16))

    def _patch(self, x: float, y: float, radius: float) -> None:
        angles = np.arange(7) * (2 * np.pi / 7)
        reach = radius * self.rng.uniform(0.6, 1.3, 7)
        outline = np.stack([x + 1.3 * reach * np.cos(angles), y + reach * np.sin(angles)], axis=1)
        self.sketch.detail(spline(outline), self.second)

    def chest(self, x: float, y: float, rx: float, ry: float) -> None:
        """The white bib of a two-coloured cat."""
        if self.pattern == "bicolour":
            self.sketch.detail(ellipse(x, y, rx, ry), self.end)

    def leg(self, line: np.ndarray, width: float, height: int) -> None:
        """A leg with its paw; the line ends at the paw."""
        self.sketch.limb(line, width, height)
        foot = line[-1]
        paw = ellipse(foot[0] + 0.04, foot[1] + 0.01, width * 0.68, width * 0.5)
        self.sketch.part(paw, height + 8, self.end)
        toe = darker(self.end, 0.45)
        for shift in (-0.03, 0.05):
            x = foot[0] + 0.04 + shift
            self.sketch.line(points(x, foot[1] + 0.02, x + 0.01, foot[1] + width * 0.45), 0.014, toe)

    def draw_tail(self, control: np.ndarray, width: float, height: int) -> None:
        """A tail along control points, thinner at its tip."""
        line = spline(control, closed=False)
        self.sketch.limb(line, width, height, self.tail)
        if self.pattern == "tabby":
            for idx in range(4, len(line) - 1, 4):
                across = (line[idx + 1] - line[idx])[::-1] * (-1, 1)
                across = across / (np.linalg.norm(across) + 1e-9) * width * 0.6
                self.sketch.line(np.stack([line[idx] - across, line[idx] + across]), 0.05, self.second)


def _sitting(sketch: Sketch, coat: _Coat, rng: np.random.Generator) -> None:
    curl = rng.uniform(-0.12, 0.12)
    tail = points(-0.3, 0.9, -0.68, 0.88, -0.9, 0.6 + curl, -0.84, 0.22 + curl, -0.68, 0.08 + curl)
    coat.draw_tail(tail, 0.15, 100)
    fat = rng.uniform(-0.04, 0.08)
    body = points(0.05, -0.4, 0.4, -0.15, 0.45, 0.35, 0.44, 0.92, 0.05, 0.98, -0.42, 0.97)
    back = points(-0.64 - fat, 0.72, -0.56 - fat, 0.28, -0.28, -0.14)
    sketch.part(spline(np.concatenate([body, back])), 150)
    coat.body(-0.55, 0.1, -0.05, 0.6)
    sketch.part(ellipse(-0.26, 0.66, 0.32 + fat, 0.3), 172)
    coat.body(-0.5, -0.02, 0.4, 0.85)
    sketch.part(ellipse(-0.08, 0.94, 0.2, 0.075), 178, coat.end)
    coat.leg(points(0.12, 0.15, 0.12, 0.9), 0.17, 188)
    coat.leg(points(0.34, 0.15, 0.35, 0.92), 0.18, 200)
    sketch.part(spline(points(0.2, -0.25, 0.42, -0.05, 0.42, 0.3, 0.24, 0.48, 0.06, 0.3, 0.02, -0.05)), 200)
    coat.chest(0.24, 0.12, 0.15, 0.3)
    _head(sketch, coat, 0.14 + rng.uniform(-0.03, 0.05), -0.5, 0.4 + rng.uniform(-0.015, 0.02), rng)


def _standing(sketch: Sketch, coat: _Coat, rng: np.random.Generator) -> None:
    sway = rng.uniform(-0.1, 0.12)
    tail = points(-0.66, -0.1, -0.92, -0.22, -1.02, -0.52, -0.96 + sway, -0.82, -0.84 + sway, -0.98)
    coat.draw_tail(tail, 0.13, 110)
    step = rng.uniform(-0.06, 0.06)
    coat.leg(points(-0.44, 0.15, -0.38 + step, 0.68), 0.15, 110)
    coat.leg(points(0.4, 0.15, 0.4 - step, 0.68), 0.15, 110)
    fat = rng.uniform(-0.03, 0.07)
    body = points(-0.74, -0.06, -0.5, -0.24, -0.05, -0.2, 0.4, -0.3, 0.68, -0.12, 0.66, 0.16)
    belly = points(0.3, 0.28 + fat, -0.15, 0.26 + fat, -0.5, 0.24, -0.74, 0.18)
    sketch.part(spline(np.concatenate([body, belly])), 150)
    coat.body(-0.66, 0.36, -0.22, 0.26)
    coat.leg(points(-0.6, 0.1, -0.58 - step, 0.45, -0.6 - step, 0.72), 0.17, 175)
    sketch.part(ellipse(-0.55, 0.06, 0.2, 0.25), 165)
    coat.body(-0.7, -0.4, -0.14, 0.2)
    coat.leg(points(0.52, 0.1, 0.54 + step, 0.72), 0.16, 180)
    sketch.part(spline(points(0.42, -0.3, 0.74, -0.2, 0.72, 0.16, 0.54, 0.3, 0.4, 0.12)), 185)
    coat.chest(0.62, 0.08, 0.12, 0.18)
    _head(sketch, coat, 0.7 + rng.uniform(-0.03, 0.03), -0.42 + rng.uniform(-0.05, 0.05), 0.33, rng)


def _lying(sketch: Sketch, coat: _Coat, rng: np.random.Generator) -> None:
    fat = rng.uniform(-0.02, 0.06)
    body = points(-0.9, 0.28, -0.84, 0.02, -0.55, -0.16 - fat, -0.1, -0.14, 0.4, -0.12, 0.72, 0.06)
    sketch.part(spline(np.concatenate([body, points(0.76, 0.36, 0.3, 0.47, -0.4, 0.47, -0.78, 0.46)])), 140)
    coat.body(-0.6, 0.3, -0.12, 0.36)
    sketch.part(spline(points(-0.86, 0.2, -0.66, -0.02, -0.34, 0.04, -0.24, 0.3, -0.4, 0.47, -0.76, 0.47)), 165)
    coat.body(-0.76, -0.3, 0.02, 0.34)
    tip = rng.uniform(-0.1, 0.12)
    coat.draw_tail(points(-0.8, 0.36, -0.74, 0.48, -0.4, 0.5, 0.0 + tip, 0.46, 0.14 + tip, 0.38), 0.12, 185)
    coat.leg(points(0.4, 0.36, 0.78, 0.42), 0.15, 175)
    sketch.part(spline(points(0.3, -0.05, 0.62, -0.05, 0.72, 0.2, 0.6, 0.42, 0.34, 0.4, 0.24, 0.18)), 180)
    coat.chest(0.52, 0.24, 0.14, 0.14)
    coat.leg(points(0.5, 0.4, 0.9, 0.45), 0.15, 200)
    _head(sketch, coat, 0.52 + rng.uniform(-0.04, 0.04), -0.22 + rng.uniform(-0.04, 0.04), 0.33, rng)


def _head(sketch: Sketch, coat: _Coat, x: float, y: float, r: float, rng: np.random.Generator) -> None:
    """A head at (x, y) with half width r, turned a little to the right of the viewer."""
    colour, look = sketch.colour, 0.1 * r
    pink = mix(coat.ear, (226, 140, 140), 0.55)
    for sign in (-1, 1):
        base = points(sign * 0.86 * r, -0.12 * r, sign * 0.82 * r, -1.22 * r, sign * 0.2 * r, -0.7 * r)
        outline = np.repeat(base, [1, 2, 1], axis=0) + (x, y)
        sketch.part(outline, 205, coat.ear)
        inner = base * (0.94, 0.86) + (x + sign * 0.02 * r, y - 0.06 * r)
        sketch.detail(inner, pink)
    face = points(0, -0.84, 0.55, -0.72, 0.95, -0.2, 0.98, 0.22, 0.6, 0.66, 0, 0.82)
    face = np.concatenate([face, face[1:-1][::-1] * (-1, 1)])
    sketch.part(spline(face * r + (x, y)), 225)
    x += look
    _coat_of_face(sketch, coat, x, y, r)
    muzzle = (
        _WHITE if coat.pattern == "bicolour" else coat.end if coat.pattern == "pointed" else mix(colour, _WHITE, 0.25)
    )
    sketch.part(ellipse(x, y + 0.4 * r, 0.42 * r, 0.27 * r), 240, muzzle)
    _eyes(sketch, x, y, r, rng)
    nose = points(-0.1, 0.2, 0.1, 0.2, 0, 0.33) * r + (x, y)
    sketch.detail(nose, (70, 44, 48) if max(muzzle) > 200 and colour[0] > 220 > colour[2] else (224, 130, 140))
    mouth = _DARK if max(muzzle) > 90 else (120, 110, 116)
    for sign in (-1, 1):
        lip = points(0, 0.34, sign * 0.1, 0.46, sign * 0.24, 0.42) * r + (x, y)
        sketch.line(spline(lip, closed=False), 0.035 * r, mouth)
    hair = (250, 250, 250) if max(colour) < 200 else (90, 86, 90)
    for sign in (-1, 1):
        for lift in (-0.06, 0.06, 0.18):
            whisker = points(sign * 0.3, 0.4 + lift / 2, sign * 0.95, 0.3 + 1.3 * lift) * r + (x, y)
            sketch.line(whisker, 0.02 * r, hair)


def _coat_of_face(sketch: Sketch, coat: _Coat, x: float, y: float, r: float) -> None:
    if coat.pattern == "tabby":
        for shift in (-0.26, 0, 0.26):
            mark = points(shift, -0.8, shift * 0.7, -0.42) * r + (x, y)
            sketch.line(mark, 0.11 * r, coat.second)
        for sign in (-1, 1):
            for lift in (0.1, 0.32):
                mark = points(sign * 1.1, lift - 0.06, sign * 0.72, lift) * r + (x, y)
                sketch.line(mark, 0.09 * r, coat.second)
    elif coat.pattern == "pointed":
        sketch.detail(ellipse(x, y + 0.16 * r, 0.56 * r, 0.58 * r), mix(sketch.colour, coat.end, 0.75))
    elif coat.pattern == "bicolour":
        sketch.detail(
            spline(points(0, -0.75, 0.14, -0.2, 0.5, 0.5, 0, 0.8, -0.5, 0.5, -0.14, -0.2) * r + (x, y)), _WHITE
        )
    elif coat.pattern == "tortoiseshell":
        patch = points(-0.1, -0.85, 0.5, -0.75, 0.85, -0.2, 0.5, 0.05, 0.12, -0.3) * r + (x, y)
        sketch.detail(spline(patch), coat.second)


def _eyes(sketch: Sketch, x: float, y: float, r: float, rng: np.random.Generator) -> None:
    iris = _EYES[int(rng.integers(len(_EYES)))]
    slit = rng.uniform(0.07, 0.13)
    for sign in (-1, 1):
        ex, ey = x + sign * 0.4 * r, y - 0.06 * r
        sketch.detail(ellipse(ex, ey, 0.235 * r, 0.22 * r), _DARK)
        sketch.detail(ellipse(ex, ey, 0.195 * r, 0.18 * r), iris)
        sketch.detail(ellipse(ex, ey, slit * r, 0.17 * r), (10, 10, 12))
        sketch.detail(ellipse(ex - 0.06 * r, ey - 0.08 * r, 0.05 * r, 0.05 * r), (255, 255, 255))
