"""Memory of batches: what somebody holds is not written to, what nobody holds is used again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from textgan.batch_memory import KEPT, BatchMemory

HOLDS = {
    "the batch": lambda batch: batch,
    "one image of it": lambda batch: batch[1],
    "a view of a view": lambda batch: batch[1:].transpose(0, 3, 1, 2)[0],
    "a tensor": torch.from_numpy,
    "a buffer": memoryview,
}


def address(batch: np.ndarray) -> int:
    """Where its memory begins."""
    return batch.ctypes.data


@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS)
def test_what_is_held_is_not_given_again(hold) -> None:
    """Whatever keeps the memory in sight keeps it from the next batches, and gives it back."""
    memory = BatchMemory(3, 4, 5)
    batch = memory.take(3)
    batch[:] = 7
    held, place = hold(batch), address(batch)
    del batch
    others = [memory.take(3) for _ in range(2 * KEPT)]
    for other in others:
        other[:] = 9
    assert place not in {address(other) for other in others}
    assert set(np.asarray(held).ravel().tolist()) == {7}
    del held
    assert address(memory.take(2)) == place


def test_a_short_batch_has_its_size_and_may_be_written() -> None:
    """The last batch of an epoch takes a part of the memory."""
    memory = BatchMemory(3, 4, 5)
    batch = memory.take(2)
    assert batch.shape == (2, 4, 5, 3)
    assert batch.dtype == np.uint8
    assert batch.flags.writeable
    assert batch.flags.c_contiguous


def test_threads_never_share_a_batch() -> None:
    """Two threads that take and drop batches as fast as they can each read what they wrote."""
    memory = BatchMemory(2, 8, 8)

    def worker(mark: int) -> bool:
        right = True
        for _ in range(2000):
            batch = memory.take(2)
            batch[:] = mark
            right &= bool((batch == mark).all())
        return right

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(worker, range(4)))


def test_no_more_than_a_few_wait() -> None:
    """A reader that kept many batches and dropped them does not leave their memory behind."""
    memory = BatchMemory(1, 2, 2)
    many = [memory.take(1) for _ in range(4 * KEPT)]
    del many
    assert len(memory._free) == KEPT
