"""What an encoded image says of itself before a pixel is decoded: format, size, orientation."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass

from PIL import Image

Image.MAX_IMAGE_PIXELS = None  # our own limit is checked on the header, before any pixel is decoded
warnings.filterwarnings("ignore", module="PIL")  # a warning is either a rejection below or of no consequence

_ORIENTATION = 0x0112
_TRANSPOSED = frozenset({5, 6, 7, 8})
"""EXIF orientations that exchange width and height."""
MALFORMED = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    ArithmeticError,
    EOFError,
    struct.error,
)
"""What Pillow's parsers raise on malformed bytes."""


class UndecodableImage(Exception):
    """Bytes that give no sensible picture; `reason` is the rejection's name."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes say; width and height are those after EXIF orientation."""

    format: str
    width: int
    height: int


def detect(encoded: bytes) -> str:
    """The format by magic bytes: jpeg, png, webp, gif, bmp, tiff or unknown. Never by a name."""
    if encoded[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if encoded[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "webp"
    if encoded[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if encoded[:2] == b"BM":
        return "bmp"
    if encoded[:4] in (b"II*\0", b"MM\0*"):
        return "tiff"
    return "unknown"


def read_header(encoded: bytes, max_pixels: int) -> Header:
    """Format and size without decoding a pixel. Raises UndecodableImage."""
    name = detect(encoded)
    if not encoded:
        raise UndecodableImage("empty", "the value has no bytes")
    if name == "unknown":
        raise UndecodableImage("unknown_format", f"starts with {encoded[:8]!r}")
    with opened(encoded, name) as image:
        width, height = image.size
        if read_orientation(image) in _TRANSPOSED:
            width, height = height, width
    check_pixels(width, height, max_pixels)
    return Header(name, width, height)


def opened(encoded: bytes, name: str) -> Image.Image:
    """A Pillow image whose header is read and whose pixels are not. Raises UndecodableImage."""
    try:
        return Image.open(io.BytesIO(encoded), formats=[name.upper()])
    except MALFORMED as error:
        detail = str(error).split(" <_io", 1)[0].replace("cannot identify image file", "no readable header")
        raise UndecodableImage("undecodable", f"{name}: {detail}") from None


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raises UndecodableImage where the size is none or above the limit."""
    if width < 1 or height < 1:
        raise UndecodableImage("undecodable", f"the header says {width}x{height}")
    if width * height > max_pixels:
        raise UndecodableImage("too_many_pixels", f"{width}x{height} is more than {max_pixels} pixels")


def read_orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or it cannot be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except MALFORMED:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
