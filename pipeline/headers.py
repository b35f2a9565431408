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
_EXIF = b"Exif\0\0"
_NO_LENGTH = frozenset(bytes([marker]) for marker in (0x00, 0x01, *range(0xD0, 0xDA), 0xFF))
"""JPEG markers (and what looks like one) without a segment behind them."""
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
    with opened(encoded, name, max_pixels) as image:
        width, height = image.size
        if read_orientation(image, name, encoded) in _TRANSPOSED:
            width, height = height, width
    return Header(name, width, height)


def opened(encoded: bytes, name: str, max_pixels: int) -> Image.Image:
    """A Pillow image of a sensible size whose header is read and whose pixels are not. Raises UndecodableImage."""
    if not encoded:
        raise UndecodableImage("empty", "the value has no bytes")
    if name == "unknown":
        raise UndecodableImage("unknown_format", f"starts with {encoded[:8]!r}")
    if name == "webp" and (size := _webp_size(encoded)):
        check_pixels(*size, max_pixels)  # Pillow asks for the memory of two canvases when it opens one
    try:
        image = Image.open(io.BytesIO(encoded), formats=[name.upper()])
    except MALFORMED as error:
        detail = str(error).split(" <_io", 1)[0].replace("cannot identify image file", "no readable header")
        raise UndecodableImage("undecodable", f"{name}: {detail}") from None
    check_pixels(*image.size, max_pixels)
    image.info.pop("xmp", None)  # Pillow would turn a TIFF by it; only EXIF turns a picture here
    return image


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raises UndecodableImage where the size is none or above the limit."""
    if width < 1 or height < 1:
        raise UndecodableImage("undecodable", f"the header says {width}x{height}")
    if width * height > max_pixels:
        raise UndecodableImage("too_many_pixels", f"{width}x{height} is more than {max_pixels} pixels")


def read_orientation(image: Image.Image, name: str, encoded: bytes) -> int:
    """The EXIF orientation, 1 where there is none or it cannot be read. No pixel is decoded.

    Pillow's `getexif()` decodes all of a PNG that has none before its pixels. A TIFF is turned by Pillow itself.
    """
    try:
        if name == "jpeg":
            exif = jpeg_exif(encoded)
        elif name == "png":
            exif = _png_exif(encoded) or _raw_profile(image.info.get("Raw profile type exif", ""))
        else:
            exif = image.info.get("exif", b"") if name == "webp" else b""
        if not exif:
            return 1
        parsed = Image.Exif()
        parsed.load(exif)
        value = parsed.get(_ORIENTATION, 1)
    except MALFORMED:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def jpeg_exif(encoded: bytes) -> bytes:
    """The EXIF data of a JPEG, from all its segments before the first scan, wherever they begin; empty: none."""
    parts, place = [], 2
    while (place := encoded.find(b"\xff", place)) >= 0:
        marker = encoded[place + 1 : place + 2]
        if marker in _NO_LENGTH:
            place += 1 if marker == b"\xff" else 2
            continue
        if marker in (b"", b"\xda"):  # the end, or the scan
            break
        end = place + 2 + int.from_bytes(encoded[place + 2 : place + 4], "big")
        if marker == b"\xe1" and encoded.startswith(_EXIF, place + 4):
            parts.append(encoded[place + 4 + len(_EXIF) : end])
        place = max(end, place + 4)
    return b"".join(parts)


def _png_exif(encoded: bytes) -> bytes:
    """The eXIf chunk of a PNG, before its pixels or behind them; empty: none."""
    place = 8
    while place + 8 <= len(encoded):
        length = int.from_bytes(encoded[place : place + 4], "big")
        if encoded.startswith(b"eXIf", place + 4):
            return encoded[place + 8 : place + 8 + length]
        place += length + 12
    return b""


def _raw_profile(text: str) -> bytes:
    """EXIF as old ImageMagick writes it into a PNG: three lines, then hex digits."""
    return bytes.fromhex("".join(text.split("\n")[3:]))


def _webp_size(encoded: bytes) -> tuple[int, int] | None:
    """The canvas of a WebP by its first chunk (RFC 9649); None where that says nothing."""
    kind, head = encoded[12:16], encoded[20:30]
    if len(head) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    return None
