"""Memory of batches, used again once nobody holds them: fresh pages, which the kernel zeroes, cost 4 % of decoding."""

from __future__ import annotations

import collections
import math
import weakref

import numpy as np

KEPT = 4
"""Batches whose memory waits for the next ones: as many as two threads and a reader have at once."""
OFF = 16
"""libjpeg-turbo writes rows that begin at a multiple of 32 bytes past the caches: 6 % slower. Ours begin so far off."""


class _Lease:
    """What a batch and every view of it hold: while it lives, the memory is in use."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__


class BatchMemory:
    """uint8 arrays for images of one size; any thread may take one. Who keeps the batches gets fresh memory."""

    def __init__(self, size: int, height: int, width: int) -> None:
        self.shape = (size, height, width, 3)
        self._free: collections.deque[np.ndarray] = collections.deque(maxlen=KEPT)

    def take(self, count: int) -> np.ndarray:  # -> uint8 [N,H,W,3], N at most `size`, of any content
        """An array for so many images."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = self._fresh()
        lease = _Lease(memory[:count])
        weakref.finalize(lease, self._free.append, memory).atexit = False
        return np.asarray(lease)

    def _fresh(self) -> np.ndarray:  # -> uint8 [size,H,W,3]
        """New memory, OFF beyond a multiple of 32 bytes."""
        count = math.prod(self.shape)
        flat = np.empty(count + 32, np.uint8)
        start = (OFF - flat.ctypes.data) % 32
        return flat[start : start + count].reshape(self.shape)
