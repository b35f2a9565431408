"""Still lossy WebP to RGB by the libwebp that Pillow carries, called directly.

Pillow decodes every WebP as an animation on an RGBA canvas; LSUN's values are single opaque pictures, for
which libwebp's own RGB decoder gives the same pixels in half the time. Where Pillow has no library of its
own beside it (a system build), `decode` gives None and Pillow does the work.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from pathlib import Path

import numpy as np


@functools.cache
def _library() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("PIL")
    if spec is None or spec.origin is None:
        return None
    found = sorted((Path(spec.origin).parents[1] / "pillow.libs").glob("libwebp-*.so*"))
    if not found:
        return None
    try:
        library = ctypes.CDLL(str(found[0]))
        number = ctypes.POINTER(ctypes.c_int)
        library.WebPGetInfo.argtypes = (ctypes.c_char_p, ctypes.c_size_t, number, number)
        library.WebPDecodeRGBInto.argtypes = (
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
        )
        library.WebPDecodeRGBInto.restype = ctypes.c_void_p
    except (OSError, AttributeError):
        return None
    return library


def size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height of a still lossy WebP without alpha; None for any other, or without the library."""
    library = _library()
    if library is None or encoded[12:16] != b"VP8 ":
        return None
    width, height = ctypes.c_int(), ctypes.c_int()
    if not library.WebPGetInfo(encoded, len(encoded), ctypes.byref(width), ctypes.byref(height)):
        return None
    return width.value, height.value


def decode(encoded: bytes, width: int, height: int) -> np.ndarray | None:  # -> uint8 [H,W,3]
    """Pixels of a WebP whose `size` is known; None where it is damaged."""
    library = _library()
    assert library is not None, "size() gave a size, so there is a library"
    pixels = np.empty((height, width, 3), np.uint8)
    good = library.WebPDecodeRGBInto(encoded, len(encoded), pixels.ctypes.data, pixels.nbytes, pixels.strides[0])
    return pixels if good else None
