"""Copies are found whatever was done to them that does not change the picture; other pictures are left alone."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pipeline.duplicates import MAX_BITS, SIGNATURE, Copy, find_exact, find_similar, signatures, thumbnail


def scene(seed: int, colour: tuple[int, int, int] | None = None, size: tuple[int, int] = (200, 150)) -> Image.Image:
    """A picture with a gradient and some shapes; the same seed is the same picture, in another size or colour."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    shade = (x * rng.uniform(40, 160) + y * rng.uniform(40, 160))[..., None] * rng.uniform(0.4, 0.8, 3)
    image = Image.fromarray(shade.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for index in range(6):
        left, top = rng.uniform(0, 0.7, 2) * size
        width, height = rng.uniform(0.1, 0.3, 2) * size
        drawn = tuple(int(value) for value in rng.integers(0, 256, 3))
        draw.ellipse((left, top, left + width, top + height), fill=colour if colour and index == 5 else drawn)
    return image


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def signed(images: list[Image.Image]) -> np.ndarray:
    return signatures(np.stack([thumbnail(np.asarray(image.convert("RGB"))) for image in images]))


def similar(images: dict[str, Image.Image]) -> dict[str, Copy]:
    return by_key(list(images), signed(list(images.values())))


def by_key(keys: list[str], signatures_of_keys: np.ndarray) -> dict[str, Copy]:
    copies = find_similar(signatures_of_keys)
    return {keys[later]: Copy("similar", keys[first]) for later, first in copies.items()}


def test_equal_bytes_are_copies_of_the_first() -> None:
    """The first in the given order is kept; every later one names it."""
    samples = [("b", "1"), ("a", "1"), ("c", "2"), ("d", "1")]
    assert find_exact(samples) == {"a": Copy("duplicate", "b"), "d": Copy("duplicate", "b")}
    assert find_exact([]) == {} and find_exact([("a", "1"), ("b", "2")]) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda image: as_jpeg(image, 30),
        lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
        lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
        lambda image: Image.eval(image, lambda value: min(255, int(value * 1.08))),
        lambda image: as_jpeg(image.resize((97, 73)), 60),
    ],
)
def test_changed_copies_are_found(change: Callable[[Image.Image], Image.Image]) -> None:
    """Compression, size and a little brightness do not hide a copy; of 60 pairs, each later one names its first."""
    images = {f"first-{seed}": scene(seed) for seed in range(60)}
    images |= {f"later-{seed}": change(scene(seed)) for seed in range(60)}
    assert similar(images) == {f"later-{seed}": Copy("similar", f"first-{seed}") for seed in range(60)}


def test_other_pictures_are_kept() -> None:
    """Two hundred scenes are two hundred scenes, and so are they mirrored."""
    images = {str(seed): scene(seed) for seed in range(200)}
    images |= {f"{seed} mirrored": scene(seed).transpose(Image.Transpose.FLIP_LEFT_RIGHT) for seed in range(200)}
    assert similar(images) == {}


def test_another_colour_is_another_picture() -> None:
    """The same shapes and the same grey: a red thing and a green one are two pictures, for text says colours."""
    red, green = (200, 30, 30), (10, 110, 123)
    grey = [round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in (red, green)]
    assert abs(grey[0] - grey[1]) <= 1
    assert similar({"red": scene(3, red), "green": scene(3, green)}) == {}
    assert set(similar({"red": scene(3, red), "again": as_jpeg(scene(3, red), 70)})) == {"again"}


def test_blank_pictures_are_copies_by_their_level() -> None:
    """Flat pictures of one level are copies of each other, of different levels they are not; noise does not matter."""
    rng = np.random.default_rng(0)
    noisy = Image.fromarray(np.clip(128 + rng.normal(0, 2, (100, 100, 3)), 0, 255).astype(np.uint8))
    images = {"grey": Image.new("RGB", (64, 64), (128,) * 3), "noisy": noisy, "black": Image.new("RGB", (9, 9))}
    assert similar(images) == {"noisy": Copy("similar", "grey")}
    many = np.tile(signed([images["grey"]]), 20_000)  # must not become 200 million pairs
    assert len(find_similar(many)) == len(many) - 1


def test_a_chain_of_small_changes_is_not_swallowed() -> None:
    """A sample is compared with what is kept: the end of a chain whose middle is dropped stays."""
    base = signed([scene(1)])[0]
    chain = np.array([base, base, base])
    step = np.zeros(63, np.int8)
    step[:4] = 8  # 256 of 363 in one step; two steps are 1024
    chain["waves"][1] += step
    chain["waves"][2] += 2 * step
    assert by_key(["a", "b", "c"], chain) == {"b": Copy("similar", "a")}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 60))
def test_every_close_pair_is_looked_at(seed: int, count: int) -> None:
    """The lists by blocks find what comparing all pairs finds."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(count, SIGNATURE)
    rows["waves"][:, 0] = 127
    rows["level"] = rng.integers(0, 256, count)  # keeps signatures apart
    parents = rng.integers(0, 2**63, 5, dtype=np.uint64)
    for index in range(count):
        flips = rng.choice(63, rng.integers(0, 2 * MAX_BITS), replace=False)
        rows["hash"][index] = parents[index % 5] ^ np.bitwise_or.reduce(
            np.uint64(1) << flips.astype(np.uint64), initial=np.uint64(0)
        )
    dropped: set[int] = set()
    for later in range(count):
        close = [bin(int(rows["hash"][first] ^ rows["hash"][later])).count("1") <= MAX_BITS for first in range(later)]
        if any(near and first not in dropped for first, near in enumerate(close)):
            dropped.add(later)
    assert set(find_similar(rows)) == dropped


def test_signatures_do_not_depend_on_the_batch() -> None:
    """One at a time or all at once: the same bytes."""
    thumbnails = np.stack([thumbnail(np.asarray(scene(seed))) for seed in range(20)])
    together = signatures(thumbnails)
    assert b"".join(signatures(thumbnails[i : i + 1]).tobytes() for i in range(20)) == together.tobytes()
    assert len(signatures(thumbnails[:0])) == 0 and find_similar(together[:0]) == {}


@pytest.mark.photos
@pytest.mark.skipif("TEXTGAN_LSUN_ROOT" not in os.environ, reason="TEXTGAN_LSUN_ROOT is not set")
def test_copies_of_real_photos_are_found() -> None:
    """Of 150 cats at JPEG quality 20, all are found; between different cats, next to nothing is."""
    from pipeline.exports import open_export
    from pipeline.imaging import decode

    export = open_export(Path(os.environ["TEXTGAN_LSUN_ROOT"]) / "cat")
    values = [value for _, value in itertools.islice(export.items(), 150)]
    photos = [Image.fromarray(decode(value, 10**8)) for value in values]
    images = {f"a{index:03d}": photo for index, photo in enumerate(photos)}
    assert len(similar(images)) <= 3
    images |= {f"b{index:03d}": as_jpeg(photo, 20) for index, photo in enumerate(photos)}
    assert {key for key in similar(images) if key[0] == "b"} == {key for key in images if key[0] == "b"}
