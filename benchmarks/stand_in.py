"""A made-up export where no photos are at hand. Its own module: what workers import must import no other writer."""

from __future__ import annotations

import io
from pathlib import Path

import lmdb
import numpy as np
from PIL import Image


def stand_in(out: Path, count: int) -> Path:
    """Gradients with noise, where no photos are at hand."""
    random = np.random.default_rng(0)
    out.mkdir()
    with lmdb.open(str(out), map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        for idx in range(count):
            waves = np.add.outer(np.sin(np.linspace(0, 9, 256)), np.sin(np.linspace(idx, 9, 340)))[..., None]
            pixels = np.clip(128 + 50 * waves + random.normal(0, 9, (256, 340, 3)), 0, 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "WEBP" if "cat" in out.name else "JPEG", quality=75)
            transaction.put(f"{idx:040x}".encode(), buffer.getvalue())
    return out
