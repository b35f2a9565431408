"""Where a picture goes on the target: a pure function of sizes, the same for every engine and worker.

`center_crop` takes the largest centred box of the target's shape. `center_crop_wide` keeps the full width and
crops the height; a picture wider in shape than the target is rejected. `pad` fits all of it on black.
`stretch` ignores its shape. `legacy_nvidia` is what StyleGAN2-ADA's dataset tool does, mistakes included.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of the source in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Crop `crop`, resize it to width x height, put it at (x, y) of a canvas."""

    crop: Box
    width: int
    height: int
    canvas_width: int
    canvas_height: int
    x: int = 0
    y: int = 0
    pillow: bool = False
    """Resize with Pillow itself, for pixel-for-pixel comparisons."""

    @property
    def enlarges(self) -> bool:
        """Whether any side of the crop grows."""
        return self.crop.width < self.width or self.crop.height < self.height

    @property
    def needs_pillow(self) -> bool:
        """Whether only Pillow itself gives Pillow's pixels.

        torch resizes rows first, always. Pillow (13) begins with the axis that is less work, and what a first pass
        clips is lost to the second: 27 dB apart on noise. It begins with columns only where they shrink, and, where
        both scales are equal, only for pictures more than twice as high as wide; the rule stays clear of that.
        """
        width, height = self.crop.width, self.crop.height
        is_even = 50 * abs(width * self.height - height * self.width) <= height * self.width
        return self.pillow or (self.height < height and not (is_even and 10 * height <= 19 * width))


@dataclass(frozen=True, slots=True)
class Misfit:
    """A picture that the geometry leaves out, with the reason."""

    reason: str
    detail: str


def canvas_size(geometry: str, width: int, height: int) -> tuple[int, int]:
    """Width and height of the images that a geometry makes for a target."""
    return (width, width) if geometry == "legacy_nvidia" and width > height else (width, height)


def place_on(
    source_width: int, source_height: int, width: int, height: int, geometry: str, small: str
) -> Placement | Misfit:
    """The placement of a source on a width x height target, or why it has none.

    A source is small where its crop would have to grow; `small` is `reject` or `upscale`.
    """
    if geometry == "legacy_nvidia":
        return _legacy_nvidia(source_width, source_height, width, height)
    placement = _place(source_width, source_height, width, height, geometry)
    if isinstance(placement, Placement) and placement.enlarges and small == "reject":
        crop = placement.crop
        size = f"{placement.width}x{placement.height}"
        return Misfit("too_small", f"{crop.width}x{crop.height} of {source_width}x{source_height} for {size}")
    return placement


def _place(source_width: int, source_height: int, width: int, height: int, geometry: str) -> Placement | Misfit:
    whole = Box(0, 0, source_width, source_height)
    is_wider = source_width * height > source_height * width
    if geometry == "stretch":
        # Pillow itself: where the axes scale differently it may take them in another order than torch (54 dB apart)
        return Placement(crop=whole, width=width, height=height, canvas_width=width, canvas_height=height, pillow=True)
    if geometry == "pad":
        fitted = (width, _rounded(source_height * width, source_width, height))
        if not is_wider:
            fitted = (_rounded(source_width * height, source_height, width), height)
        x, y = (width - fitted[0]) // 2, (height - fitted[1]) // 2
        return Placement(
            crop=whole, width=fitted[0], height=fitted[1], canvas_width=width, canvas_height=height, x=x, y=y
        )
    if geometry == "center_crop_wide" and is_wider and _rounded(source_width * height, width, 1 << 30) > source_height:
        return Misfit("too_wide", f"{source_width}x{source_height} is wider in shape than {width}x{height}")
    box_width, box_height = source_width, source_height
    if is_wider:
        box_width = _rounded(source_height * width, height, source_width)
    else:
        box_height = _rounded(source_width * height, width, source_height)
    if geometry == "center_crop_wide":
        box_width = source_width
    crop = Box((source_width - box_width) // 2, (source_height - box_height) // 2, box_width, box_height)
    return Placement(crop=crop, width=width, height=height, canvas_width=width, canvas_height=height)


def _rounded(numerator: int, denominator: int, most: int) -> int:
    """numerator / denominator to the nearest whole number (half up), from 1 to `most`; no floating point."""
    return min(max((2 * numerator + denominator) // (2 * denominator), 1), most)


def _legacy_nvidia(source_width: int, source_height: int, width: int, height: int) -> Placement | Misfit:
    """StyleGAN2-ADA: a square centre crop where the target is square, else a crop by width on black bars.

    Its wide crop takes `round(width * h / w)` source rows, which is right only where the source is as
    wide as the target, and drops what is small; both are kept here, the second with a reason.
    """
    if width < height:
        return Misfit("no_legacy_geometry", f"legacy_nvidia has no {width}x{height}: its targets are square or wide")
    if width == height:
        side = min(source_width, source_height)
        crop = Box((source_width - side) // 2, (source_height - side) // 2, side, side)
        return Placement(crop=crop, width=width, height=height, canvas_width=width, canvas_height=height, pillow=True)
    rows = round(width * source_height / source_width)  # half to even, as numpy's round
    if source_width < width or rows < height:
        return Misfit("too_small", f"{source_width}x{source_height} for {width}x{height} by the legacy rule")
    crop = Box(0, (source_height - rows) // 2, source_width, rows)
    return Placement(
        crop=crop,
        width=width,
        height=height,
        canvas_width=width,
        canvas_height=width,
        y=(width - height) // 2,
        pillow=True,
    )
