"""Images that do not fit in memory: read from the shards some batches ahead of the training.

The order of batches is known ahead, so background threads decode what comes next; no image is kept
after it was used. The same pixels as from memory, in the same layout. N images, H height, W width
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from textgan.dataset import ImageShards
from textgan.errors import UserError

DATA_MB = 4096
"""MiB of decoded images in memory, a process; TEXTGAN_DATA_MB says otherwise, and no byte of a result depends on it."""
GPU_PART = 0.25
"""Of the free memory of a GPU: as much may be taken by images that stay there."""
DEPTH = 8
"""Batches decoded ahead at most."""
CHUNK = 16
"""Images that one thread decodes at a time."""
SPARE_FILES = 256
"""Open files beside the shards."""


def data_bytes() -> int:
    """How much memory the images of one split may take. Raises UserError."""
    text = os.environ.get("TEXTGAN_DATA_MB", str(DATA_MB))
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"TEXTGAN_DATA_MB is {text!r}; it must be a number of MiB, at least 1")
    return int(text) << 20


class ImageStream:
    """Looks like the tensor [N,3,H,W] uint8 that it stands for: `stream[index]` gives a batch."""

    def __init__(
        self,
        read: Callable[[np.ndarray], Tensor],  # positions [N] -> [N,3,H,W] uint8
        shape: tuple[int, int, int, int],  # of the tensor that it stands for
        limit: int,  # bytes of images ahead of the training
        device: torch.device | None = None,  # a GPU gets its batches ahead, too, from pinned memory
    ) -> None:
        self.read, self.shape, self.limit = read, shape, limit
        self.device = device if device is not None and device.type == "cuda" else None
        # On a CPU the training needs the cores; beside a GPU they have nothing else to do.
        self.threads = ThreadPoolExecutor(_spare_cores() if self.device else 1, "decode")
        self.uploads = torch.cuda.Stream(self.device) if self.device else None
        self.coming: dict[bytes, list[Future[Tensor]]] = {}
        self.wanted = True

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor) -> Tensor:  # [N] -> [N,3,H,W] uint8
        """A batch: what was expected is there or on its way. Raises UserError naming shard and key of a damaged one."""
        self.wanted = True
        futures = self._expected(index) or self._begin(index)
        parts = [future.result() for future in futures]
        if self.device:
            for part in parts:  # made on the stream of uploads, used on this one
                part.record_stream(torch.cuda.current_stream(self.device))
        return torch.cat(parts)

    def expect(self, batches: Iterable[Tensor]) -> None:
        """Begin to read `batches`, or cuts of them, which will be asked for in this order, as far as memory allows.

        Does nothing where what was expected last was not asked for: kept features need no pixels.
        """
        if not self.wanted:
            return
        self.wanted = False
        coming: dict[bytes, list[Future[Tensor]]] = {}
        left = self.limit
        for index in batches:
            left -= len(index) * math.prod(self.shape[1:])
            if coming and left < 0:
                break
            coming[_name(index)] = self._expected(index) or self._begin(index)
        for futures in self.coming.values():
            for future in futures:
                future.cancel()
        self.coming = coming

    def _expected(self, index: Tensor) -> list[Future[Tensor]] | None:
        name = _name(index)
        return self.coming.pop(name) if name in self.coming else None

    def _begin(self, index: Tensor) -> list[Future[Tensor]]:
        positions = index.numpy()
        parts = [positions[first : first + CHUNK] for first in range(0, len(positions), CHUNK)]
        return [self.threads.submit(self._load, part) for part in parts]

    def _load(self, positions: np.ndarray) -> Tensor:
        pixels = self.read(positions)
        if self.uploads is None:
            return pixels
        with torch.cuda.stream(self.uploads):
            there = pixels.pin_memory().to(self.device, non_blocking=True)
        self.uploads.synchronize()  # here, in the thread: the batch that the training gets is complete
        return there


def _name(index: Tensor) -> bytes:
    return index.numpy().tobytes()


def _spare_cores() -> int:
    return max(1, min(8, (os.cpu_count() or 2) - 1))


def split_images(shards: ImageShards, positions: np.ndarray, device: torch.device | None) -> Tensor | ImageStream:
    """The images at `positions`: on the GPU or in memory where they fit, else read as they are needed."""

    def read(index: np.ndarray) -> Tensor:
        return torch.from_numpy(shards.images(positions[index])).permute(0, 3, 1, 2).contiguous()

    shape, limit = (len(positions), 3, shards.height, shards.width), data_bytes()
    if math.prod(shape) > limit:
        _allow_open_files(len(shards.shards) + SPARE_FILES)
        return ImageStream(read, shape, limit, device)
    images = read(np.arange(len(positions)))
    if device is None or device.type != "cuda":
        return images
    if images.numel() <= torch.cuda.mem_get_info(device)[0] * GPU_PART:
        return images.to(device)
    return ImageStream(lambda index: images[torch.from_numpy(index)], shape, limit, device)


def readable(shards: ImageShards) -> tuple[np.ndarray, list[str]]:
    """Positions of the images that can be read, and what is wrong with each of the others."""

    def complaint(position: int) -> str | None:
        try:
            shards.images([position])
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(_spare_cores(), "check") as threads:
        complaints: Sequence[str | None] = list(threads.map(complaint, range(len(shards)), chunksize=64))
    positions = [position for position, said in enumerate(complaints) if said is None]
    return np.array(positions, dtype=np.int64), [said for said in complaints if said is not None]


def _allow_open_files(count: int) -> None:
    """Every shard that is mapped holds a file open; the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
