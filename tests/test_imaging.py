"""Decoding, geometry and encoding: sensible RGB from anything, exact placement, refusals by reason."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pipeline import imaging, webp
from pipeline.geometry import Misfit, Placement, canvas_size, place_on
from pipeline.headers import UndecodableImage, read_header
from tests.lmdb_exports import encode, picture
from textgan.records import sample_key

LIMIT = 1_000_000
GEOMETRIES = ["center_crop", "center_crop_wide", "pad", "stretch", "legacy_nvidia"]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB."""
    return float(10 * np.log10(255**2 / max(np.square(a.astype(np.float64) - b).mean(), 1e-9)))


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    """A Pillow image of any mode as bytes."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "PNG", "GIF", "BMP", "TIFF"])
def test_decoding_agrees_with_pillow(file_format: str) -> None:
    """The fast paths give Pillow's pixels, bit for bit."""
    encoded = encode(picture(61, 47), file_format)
    reference = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    assert np.array_equal(imaging.decode(encoded, LIMIT), reference)
    header = read_header(encoded, LIMIT)
    assert (header.format, header.width, header.height) == (file_format.lower(), 61, 47)


def test_direct_webp_is_used_here() -> None:
    """This environment's Pillow carries the library that makes WebP fast."""
    assert webp.size(encode(picture(20, 10), "WEBP")) == (20, 10)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    """Each of the eight orientations comes out upright, as header and as pixels."""
    upright = Image.fromarray(picture(48, 32))
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # Transpose that undoes the viewer's
    stored = upright if inverse is None else upright.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = saved(stored, "PNG", exif=exif)
    assert np.array_equal(imaging.decode(encoded, LIMIT), np.asarray(upright))
    assert read_header(encoded, LIMIT).width == 48
    assert imaging.decode(saved(stored, "JPEG", exif=exif, quality=95), LIMIT).shape == (32, 48, 3)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_header_and_pixels_agree_on_turned_pictures(file_format: str) -> None:
    """Each format that has EXIF is turned once, and the header says the size of what comes out."""
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.fromarray(picture(48, 32))
    options: dict[str, object] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(file_format, {})
    encoded = saved(upright.transpose(Image.Transpose.ROTATE_90), file_format, exif=exif, **options)
    header, pixels = read_header(encoded, LIMIT), imaging.decode(encoded, LIMIT)
    assert (header.width, header.height) == (48, 32) and pixels.shape == (32, 48, 3)
    assert psnr(pixels, np.asarray(upright)) > 25


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with further segments behind its first marker."""
    return jpeg[:2] + b"".join(part[:2] + struct.pack(">H", len(part)) + part[2:] for part in segments) + jpeg[2:]


def test_exif_is_found_wherever_it_stands() -> None:
    """Behind 80 kB of other segments, and behind fill bytes: turned in the header and in the pixels; XMP turns none."""
    turned = Image.Exif()
    turned[0x0112] = 6
    jpeg = encode(picture(48, 32), "JPEG")
    exif = b"\xff\xe1Exif\0\0" + turned.tobytes().removeprefix(b"Exif\0\0")
    xmp = b'\xff\xe1http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'
    comment = b"\xff\xfeExif\0\0 is no EXIF here"
    cases = {
        "far": (with_segments(jpeg, b"\xff\xe2" + bytes(40_000), b"\xff\xed" + bytes(40_000), exif), (32, 48)),
        "filled": (jpeg[:2] + b"\xff\xff" + with_segments(jpeg, exif)[2:], (32, 48)),
        "xmp": (with_segments(jpeg, xmp), (48, 32)),
        "comment": (with_segments(jpeg, comment), (48, 32)),
    }
    for name, (encoded, size) in cases.items():
        header = read_header(encoded, LIMIT)
        assert (header.width, header.height) == size, name
        assert imaging.decode(encoded, LIMIT).shape[:2] == size[::-1], name


def test_exif_of_a_png_is_found_before_and_behind_its_pixels() -> None:
    """The eXIf chunk may stand anywhere; old ImageMagick wrote text."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    plain = encode(picture(48, 32), "PNG")
    text = b"Raw profile type exif\0\nexif\n%d\n%s" % (len(data), (b"Exif\0\0" + data).hex().encode())
    first, last = 33, len(plain) - 12
    for encoded in (
        plain[:first] + chunk(b"eXIf", data) + plain[first:],
        plain[:last] + chunk(b"eXIf", data) + plain[last:],
        plain[:first] + chunk(b"tEXt", text) + plain[first:],
    ):
        header = read_header(encoded, LIMIT)
        assert (header.width, header.height) == (32, 48)
        assert imaging.decode(encoded, LIMIT).shape == (48, 32, 3)


def bilevel_png(side: int) -> bytes:
    """A whole PNG of side x side black pixels: some kilobytes, side * side bytes when Pillow decodes it."""
    pixels = zlib.compress(bytes((1 + (side + 7) // 8) * side), 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("side", "outcome"), [(20_000, "too_many_pixels"), (9_000, "9000x9000")])
def test_reading_a_header_decodes_no_pixel(tmp_path: Path, side: int, outcome: str) -> None:
    """A decodable PNG bomb, refused or just allowed: ingest's look at it takes no memory for its pixels."""
    (tmp_path / "bomb.png").write_bytes(bilevel_png(side))
    program = """
import re, sys
from pathlib import Path
from pipeline import ingest, headers
def peak():  # kB; getrusage would give the peak of the process that started this one
    return int(re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
encoded = Path(sys.argv[1]).read_bytes()
small = headers.read_header(Path(sys.argv[2]).read_bytes(), 100_000_000)
before = peak()
try:
    header = headers.read_header(encoded, 100_000_000)
    print(f"{header.width}x{header.height}")
except headers.UndecodableImage as error:
    print(error.reason)
print(peak() - before)
"""
    (tmp_path / "small.png").write_bytes(bilevel_png(9))
    command = [sys.executable, "-c", program, str(tmp_path / "bomb.png"), str(tmp_path / "small.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said, kilobytes = done.stdout.split()
    assert said == outcome and int(kilobytes) < 20_000


def test_modes_become_sensible_rgb() -> None:
    """16-bit, palette, grey, alpha, bilevel and CMYK pictures look like their 8-bit RGB."""
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (32, 1))
    as_rgb = np.repeat(grey[..., None], 3, axis=2)
    sixteen = Image.fromarray((grey.astype(np.uint16) * 257).astype(np.uint16))
    assert psnr(imaging.decode(saved(sixteen, "PNG"), LIMIT), as_rgb) > 55
    assert np.array_equal(imaging.decode(saved(Image.fromarray(grey), "PNG"), LIMIT), as_rgb)
    assert np.array_equal(imaging.decode(saved(Image.fromarray(as_rgb).quantize(256), "PNG"), LIMIT), as_rgb)
    assert imaging.decode(saved(Image.fromarray(grey), "JPEG"), LIMIT).shape == (32, 64, 3)
    cmyk = Image.fromarray(as_rgb).convert("CMYK")
    assert psnr(imaging.decode(saved(cmyk, "JPEG", quality=98), LIMIT), as_rgb) > 35
    bilevel = imaging.decode(saved(Image.fromarray(grey).convert("1"), "PNG"), LIMIT)
    assert set(np.unique(bilevel)) == {0, 255}


def test_transparency_is_white() -> None:
    """Clear pixels are white, whatever colour lies under them; also by a palette's or a key colour's transparency."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:] = (200, 10, 10, 255)
    decoded = imaging.decode(saved(Image.fromarray(pixels), "PNG"), LIMIT)
    assert (decoded[:, :4] == 255).all() and (decoded[:, 4:] == (200, 10, 10)).all()
    assert (imaging.decode(saved(Image.fromarray(pixels), "WEBP", lossless=True), LIMIT) == decoded).all()
    palette = Image.fromarray(decoded).quantize(4)
    palette.info["transparency"] = palette.getpixel((7, 0))
    assert (imaging.decode(saved(palette, "PNG", transparency=palette.getpixel((7, 0))), LIMIT)[:, 4:] == 255).all()


def chunk(kind: bytes, payload: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


@pytest.mark.parametrize(("depth", "colour"), [(2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2)])
def test_a_key_colour_is_white_at_every_depth(depth: int, colour: int) -> None:
    """PNG's tRNS names one grey or one colour at the depth of the file: its pixels become white, no others."""
    top = (1 << depth) - 1
    values = [top // 3, top // 2 + 1] if colour == 0 else [top // 3, top // 2, 9, top // 4, 0, top]
    samples = (values * 2)[: 4 if colour == 0 else 6]  # two pixels of RGB, four of grey
    bits = "".join(f"{value:0{depth}b}" for value in samples)
    row = b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    channels = 1 if colour == 0 else 3
    head = struct.pack(">IIBBBBB", len(samples) // channels, 1, depth, colour, 0, 0, 0)
    key = struct.pack(f">{channels}H", *values[:channels])
    parts = chunk(b"IHDR", head) + chunk(b"tRNS", key) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    pixels = imaging.decode(b"\x89PNG\r\n\x1a\n" + parts, LIMIT)[0]
    assert (pixels[0] == 255).all() and not (pixels[1] == 255).all()


def giant_png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that it does not have."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\1\0IDAT"
    )


BAD = {
    "empty": (b"", "empty"),
    "text": (b"<html>404</html>", "unknown_format"),
    "truncated JPEG": (encode(picture(80, 80), "JPEG")[:1500], "undecodable"),
    "truncated WebP": (encode(picture(80, 80), "WEBP")[:900], "undecodable"),
    "truncated PNG": (encode(picture(80, 80), "PNG")[:3000], "undecodable"),
    "JPEG marker alone": (b"\xff\xd8\xff", "undecodable"),
    "giant PNG": (giant_png(60_000, 60_000), "too_many_pixels"),
    "PNG of no size": (giant_png(0, 10), "undecodable"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_refused_by_reason(name: str) -> None:
    """Nothing but UndecodableImage comes out, with the reason that docs/robustness.md names."""
    encoded, reason = BAD[name]
    with pytest.raises(UndecodableImage) as error:
        imaging.decode(encoded, LIMIT)
    assert error.value.reason == reason


def test_garbage_in_a_jpeg_is_not_a_picture() -> None:
    """Zeros in mid-data, which Pillow shows as grey bars, are refused."""
    encoded = bytearray(encode(picture(96, 96), "JPEG", quality=90))
    encoded[len(encoded) // 2 :] = bytes(200)
    with pytest.raises(UndecodableImage):
        imaging.decode(bytes(encoded), LIMIT)


def test_bytes_behind_the_picture_do_no_harm() -> None:
    """A JPEG with a tail of foreign bytes decodes to the same pixels."""
    encoded = encode(picture(40, 40), "JPEG")
    assert np.array_equal(imaging.decode(encoded + b"tail" * 50, LIMIT), imaging.decode(encoded, LIMIT))


def test_animations_give_their_first_picture() -> None:
    """Animated WebP and GIF count as their first frame."""
    first, second = Image.fromarray(picture(30, 20, 1)), Image.fromarray(picture(30, 20, 2))
    encoded = saved(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    assert np.array_equal(imaging.decode(encoded, LIMIT), np.asarray(first))
    assert imaging.decode(saved(first, "GIF", save_all=True, append_images=[second]), LIMIT).shape == (20, 30, 3)


def test_profiles_and_metadata_are_ignored() -> None:
    """A broken or foreign ICC profile and EXIF with 0/0 rationals change no pixel."""
    pixels = picture(40, 30)
    plain = imaging.decode(encode(pixels, "JPEG"), LIMIT)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (lab, b"not a profile" * 9):
        assert np.array_equal(imaging.decode(encode(pixels, "JPEG", icc_profile=profile), LIMIT), plain)
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHII", 0x011A, 5, 1, 26) + bytes(4) + bytes(8)
    assert np.array_equal(imaging.decode(encode(pixels, "JPEG", exif=b"Exif\0\0" + tiff), LIMIT), plain)
    assert np.array_equal(imaging.decode(encode(pixels, "JPEG", exif=b"Exif\0\0" + b"\xff" * 30), LIMIT), plain)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["JPEG", "WEBP", "PNG", "GIF", "BMP", "TIFF"]), st.data())
def test_damage_never_escapes(noise: bytes, file_format: str, data: st.DataObject) -> None:
    """Whatever bytes are overwritten, decoding gives RGB pixels or UndecodableImage."""
    encoded = bytearray(encode(picture(24, 18), file_format))
    start = data.draw(st.integers(0, len(encoded)))
    encoded[start : start + len(noise)] = noise
    for read in (imaging.decode, read_header):
        try:
            result = read(bytes(encoded), LIMIT)
        except UndecodableImage as error:
            assert error.reason and str(error)
        else:
            assert not isinstance(result, np.ndarray) or (result.dtype == np.uint8 and result.shape[2] == 3)


SIDES = st.integers(1, 700)


@given(SIDES, SIDES, st.integers(8, 600), st.integers(8, 600), st.sampled_from(GEOMETRIES))
def test_geometry_stays_inside(w: int, h: int, width: int, height: int, geometry: str) -> None:
    """Every crop lies in the source, every picture on its canvas; `reject` and `upscale` agree on what is small."""
    placement = place_on(w, h, width, height, geometry, "upscale")
    strict = place_on(w, h, width, height, geometry, "reject")
    if isinstance(placement, Misfit):
        assert placement.reason in ("too_wide", "too_small", "no_legacy_geometry")
        return
    crop = placement.crop
    assert 0 <= crop.left and 0 <= crop.top and crop.width >= 1 and crop.height >= 1
    assert crop.left + crop.width <= w and crop.top + crop.height <= h
    assert placement.x + placement.width <= placement.canvas_width
    assert placement.y + placement.height <= placement.canvas_height
    assert (placement.canvas_width, placement.canvas_height) == canvas_size(geometry, width, height)
    assert isinstance(strict, Misfit) == (placement.enlarges and geometry != "legacy_nvidia")


@given(SIDES, SIDES, st.integers(8, 600), st.integers(8, 600))
@example(5, 2, 19, 9)
def test_crops_keep_the_shape(w: int, h: int, width: int, height: int) -> None:
    """A crop has the target's shape to half a pixel, is centred, and touches two opposite sides."""
    placement = place_on(w, h, width, height, "center_crop", "upscale")
    assert isinstance(placement, Placement)
    crop = placement.crop
    assert crop.width == w or crop.height == h
    off = min(abs(crop.width - crop.height * width / height), abs(crop.height - crop.width * height / width))
    assert off <= 0.5 or 1 in (crop.width, crop.height)
    assert abs(2 * crop.left + crop.width - w) <= 1 and abs(2 * crop.top + crop.height - h) <= 1
    wide = place_on(w, h, width, height, "center_crop_wide", "upscale")
    if isinstance(wide, Placement):  # of a few pixels, one more or less is within the rounding of the height
        assert wide.crop.width == w and wide.crop.height == crop.height
        assert w - crop.width <= 1 + width / height


def stylegan2_ada(pixels: np.ndarray, width: int, height: int) -> np.ndarray | None:
    """The documented behaviour of StyleGAN2-ADA's `center-crop` and `center-crop-wide`, as a test's oracle."""
    if width == height:
        side = min(pixels.shape[:2])
        top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
        cropped = Image.fromarray(pixels[top : top + side, left : left + side])
        return np.asarray(cropped.resize((width, height), Image.Resampling.LANCZOS))
    rows = int(np.round(width * pixels.shape[0] / pixels.shape[1]))
    if pixels.shape[1] < width or rows < height:
        return None
    cropped = Image.fromarray(pixels[(pixels.shape[0] - rows) // 2 : (pixels.shape[0] + rows) // 2])
    canvas = np.zeros((width, width, 3), np.uint8)
    top = (width - height) // 2
    canvas[top : top + height] = np.asarray(cropped.resize((width, height), Image.Resampling.LANCZOS))
    return canvas


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 150), st.integers(20, 150), st.sampled_from([(32, 32), (64, 48), (48, 32)]))
def test_legacy_is_pixel_for_pixel(w: int, h: int, size: tuple[int, int]) -> None:
    """legacy_nvidia equals the oracle, or leaves out what the oracle drops."""
    pixels = picture(w, h)
    expected = stylegan2_ada(pixels, *size)
    placement = place_on(w, h, *size, "legacy_nvidia", "reject")
    if expected is None:
        assert isinstance(placement, Misfit)
    else:
        assert isinstance(placement, Placement)
        assert np.array_equal(imaging.place(pixels, placement), expected)


PATTERNS = ("photo", "noise", "chequers")


def pattern(kind: str, width: int, height: int) -> np.ndarray:
    """A smooth picture, or the hardest there are: black and white by chance, or in turn (uint8 [H,W,3])."""
    if kind == "photo":
        return picture(width, height)
    turns = np.add.outer(np.arange(height), np.arange(width))[..., None] % 2
    random = np.random.default_rng(0).integers(0, 2, (height, width, 3))
    return np.broadcast_to(255 * (turns if kind == "chequers" else random), (height, width, 3)).astype(np.uint8)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 500),
    st.integers(1, 500),
    st.sampled_from([(64, 64), (64, 48), (40, 72), (100, 60), (256, 192), (9, 200)]),
    st.sampled_from(["center_crop", "center_crop_wide", "pad", "stretch"]),
    st.sampled_from(PATTERNS),
)
@example(3, 500, (512, 384), "pad", "noise")
@example(300, 200, (100, 60), "center_crop", "chequers")
@example(116, 316, (102, 278), "pad", "photo")
def test_resize_agrees_with_pillow(w: int, h: int, size: tuple[int, int], geometry: str, kind: str) -> None:
    """At least 48 dB and no value further than 2, whatever the sizes and the picture; 60 dB for what is smooth."""
    placement = place_on(w, h, *size, geometry, "upscale")
    if isinstance(placement, Misfit):
        return
    pixels, box = pattern(kind, w, h), placement.crop
    cropped = np.ascontiguousarray(pixels[box.top : box.top + box.height, box.left : box.left + box.width])
    expected = imaging.resize_pillow(cropped, placement.width, placement.height)
    x, y = placement.x, placement.y
    placed = imaging.place(pixels, placement)[y : y + placement.height, x : x + placement.width]
    assert np.abs(placed.astype(int) - expected).max() <= 2 and psnr(placed, expected) >= 48
    assert kind != "photo" or min(*cropped.shape[:2], *placed.shape[:2]) < 20 or psnr(placed, expected) >= 60


@given(st.integers(200, 4000), st.sampled_from([(1, 1), (4, 3), (3, 4), (3, 2), (2, 3), (16, 9), (9, 16)]))
def test_photos_take_the_fast_path(side: int, shape: tuple[int, int]) -> None:
    """Whatever a camera makes, cropped or padded to a square or to LSUN's 4:3."""
    for target in ((256, 256), (64, 64), (512, 384), (256, 192)):
        for geometry in ("center_crop", "pad"):
            placement = place_on(side, side * shape[1] // shape[0], *target, geometry, "upscale")
            assert isinstance(placement, Placement) and not placement.needs_pillow


def test_pad_keeps_all_of_the_picture() -> None:
    """The picture is fitted, centred, on black."""
    pixels = np.full((20, 40, 3), 200, np.uint8)
    placement = place_on(40, 20, 32, 32, "pad", "upscale")
    assert isinstance(placement, Placement)
    padded = imaging.place(pixels, placement)
    assert (padded[8:24] == 200).all() and (padded[:8] == 0).all() and (padded[24:] == 0).all()


@pytest.mark.parametrize("file_format", ["png", "webp"])
def test_lossless_is_lossless(file_format: str) -> None:
    """Pixels survive, as every reader decodes them."""
    pixels = picture(50, 30)
    encoded = imaging.encode(pixels, file_format, 95)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")), pixels)


def test_jpeg_keeps_full_chroma() -> None:
    """4:4:4, close to the pixels."""
    encoded = imaging.encode(picture(64, 48), "jpg", 95)
    assert Image.open(io.BytesIO(encoded)).layer == [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)]
    assert psnr(imaging.decode(encoded, LIMIT), picture(64, 48)) > 33


@given(st.binary(min_size=1, max_size=511), st.binary(min_size=1, max_size=511))
def test_key_grammar(a: bytes, b: bytes) -> None:
    """Any LMDB key gives a safe file name of at most 120 characters; other keys give other names."""
    name = sample_key("cat", a)
    assert 0 < len(name) <= 120 and name.startswith("cat-")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-~")
    assert os.path.basename(name) == name and "." not in name
    assert (name == sample_key("cat", b)) == (a == b)
