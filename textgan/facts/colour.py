"""Colours as people name them: sRGB to CIELAB, nearest prototype with a margin, and the tone of a picture."""

from __future__ import annotations

import functools

import numpy as np

from textgan.facts.schema import Fact

SOURCE = "pixels"
Points = dict[str, tuple[tuple[float, float, float], ...]]
"""Name -> CIELAB points that carry it."""
# D65 white, sRGB primaries (IEC 61966-2-1); rows give X, Y, Z divided by the white point.
_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    dtype=np.float32,
) / np.array([[0.95047], [1.0], [1.08883]], dtype=np.float32)
_EPSILON, _KAPPA = 216 / 24389, 24389 / 27

PHOTO_PROTOTYPES: Points = {
    "black": ((8, 0, 0), (16, 0, 0), (22, 0, -1)),
    "white": ((96, 0, 0), (90, 0, 2), (88, 0, -3)),
    "grey": ((50, 0, 0), (58, 0, -2), (42, 0, 0)),
    "silver": ((72, 0, -1), (76, 0, -2)),
    "brown": ((34, 12, 18), (42, 12, 24), (26, 9, 12)),
    "cream": ((84, 3, 16), (76, 5, 20)),
    "orange": ((62, 32, 50), (54, 24, 40), (68, 24, 50)),
    "red": ((40, 55, 38), (28, 42, 26), (50, 62, 42)),
    "yellow": ((82, 2, 66), (74, 4, 58)),
    "green": ((46, -34, 26), (30, -24, 16), (62, -34, 32)),
    "blue": ((36, 12, -44), (24, 8, -30), (55, -4, -36)),
    "purple": ((38, 36, -36), (28, 26, -26), (54, 28, -32)),
    "pink": ((70, 34, -4), (60, 44, -2), (78, 24, 4)),
}
"""CIELAB points that people call by the name, for photos; drawn pictures have their own palette."""
TONE_LIGHTNESS = (38.0, 66.0)
"""Mean L* of the border: below is a dark background, above the second a light one."""
LIGHT_LIGHTNESS = (32.0, 68.0)
"""Mean L* of the whole picture: below is a dark picture, above the second a bright one."""
_TONE_WIDTH = 8.0
"""L* distance from a threshold at which a tone is told with confidence 0.9."""


@functools.cache
def _linear_light() -> np.ndarray:
    values = np.arange(256, dtype=np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def srgb_to_lab(image: np.ndarray) -> np.ndarray:
    """CIELAB (D65, 2 degrees) of uint8 sRGB values: [..., 3] -> float32 [..., 3]."""
    if image.dtype != np.uint8 or image.shape[-1] != 3:
        raise ValueError(f"image is {image.dtype} {image.shape}; it must be uint8 [..., 3]")
    xyz = _linear_light()[image] @ _TO_XYZ.T
    f = np.where(xyz > _EPSILON, np.cbrt(xyz), (_KAPPA * xyz + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


class Prototypes:
    """Named points in CIELAB; a colour takes the name of its nearest point."""

    def __init__(self, points: Points, lightness_weight: float = 1.0) -> None:
        self.names = tuple(points)
        self._scale = np.array([lightness_weight, 1, 1], dtype=np.float32)
        flat = [(idx, point) for idx, name in enumerate(points) for point in points[name]]
        self._owner = np.array([idx for idx, _ in flat])
        self._points = np.array([point for _, point in flat], dtype=np.float32) * self._scale

    def distances(self, lab: np.ndarray) -> np.ndarray:
        """Distance to the nearest point of each name: [..., 3] -> [..., names]."""
        scaled = np.asarray(lab, dtype=np.float32) * self._scale
        squared = (scaled**2).sum(-1, keepdims=True) - 2 * scaled @ self._points.T + (self._points**2).sum(-1)
        nearest = np.stack([squared[..., self._owner == idx].min(-1) for idx in range(len(self.names))], axis=-1)
        return np.sqrt(np.maximum(nearest, 0))

    def name(self, lab: np.ndarray | tuple[float, float, float]) -> tuple[str, float]:
        """Name of one colour, and how sure: 0 on the border of two names, towards 1 well inside one."""
        distances = self.distances(np.asarray(lab, dtype=np.float32))
        first, second = np.argsort(distances, kind="stable")[:2]
        near, next_ = float(distances[first]), float(distances[second])
        return self.names[int(first)], (next_ - near) / max(next_ + near, 1e-6)


@functools.cache
def photo_prototypes() -> Prototypes:
    """The prototypes for photos."""
    return Prototypes(PHOTO_PROTOTYPES)


def name_colour(lab: np.ndarray | tuple[float, float, float]) -> tuple[str, float]:
    """(name, confidence) of a colour in a photo by the nearest prototype; callers abstain below their threshold."""
    return photo_prototypes().name(lab)


def border_pixels(lab: np.ndarray, part: float = 0.08) -> np.ndarray:
    """The pixels of the top, left and right border of a picture: [H,W,3] -> [N,3]; the ground is left out."""
    height, width = lab.shape[:2]
    rows, columns = max(1, round(height * part)), max(1, round(width * part))
    sides = lab[rows : max(rows + 1, round(height * 0.75))]
    return np.concatenate([p.reshape(-1, 3) for p in (lab[:rows], sides[:, :columns], sides[:, -columns:])])


def background_tone(lightness: float) -> tuple[str, float]:
    """light, mid or dark by the mean L* of the background, with confidence."""
    return _band(lightness, TONE_LIGHTNESS, ("dark", "mid", "light"))


def light(lightness: float) -> tuple[str, float]:
    """bright, normal or dark by the mean L* of the whole picture, with confidence."""
    return _band(lightness, LIGHT_LIGHTNESS, ("dark", "normal", "bright"))


def _band(value: float, edges: tuple[float, float], names: tuple[str, str, str]) -> tuple[str, float]:
    idx = int(value > edges[0]) + int(value > edges[1])
    distance = min(abs(value - edge) for edge in edges)
    return names[idx], 0.5 + 0.5 * min(1.0, 0.8 * distance / _TONE_WIDTH)


def measure_tone(image: np.ndarray) -> list[Fact]:
    """Tone of the background, light, and the colour of a plain border, without any network: uint8 [H,W,3] -> facts.

    `background` is said only where the border is nearly one colour; each fact carries its confidence,
    and the caller drops what is below its threshold.
    """
    step = max(1, min(image.shape[:2]) // 96)
    lab = srgb_to_lab(np.ascontiguousarray(image[::step, ::step]))
    border = border_pixels(lab)
    middle = np.median(border, axis=0)
    tone, tone_confidence = background_tone(float(border[:, 0].mean()))
    spread = float(np.sqrt(((border - middle) ** 2).sum(-1)).mean())
    evenness = 1 / (1 + (spread / 20) ** 2)  # a border of many tones has no one tone
    brightness, brightness_confidence = light(float(lab[..., 0].mean()))
    name, margin = name_colour(middle)
    return [
        Fact("background_tone", tone, tone_confidence * (0.5 + 0.5 * evenness), SOURCE),
        Fact("light", brightness, brightness_confidence, SOURCE),
        Fact("background", name, min(1.0, 1.5 * margin) * evenness, SOURCE),
    ]
