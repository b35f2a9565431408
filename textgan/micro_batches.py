"""Out of memory is answered with fewer images at once: the gradients of a step are summed over cuts of its batch.

Nothing a network computes of an image depends on its neighbours, and every loss is a mean over images, each of which
is compared with the texts of the whole batch (texts are small: they are never cut) and with the pictures of its own
caption, which stay in one cut. So a step in cuts optimises what the whole step does, and differs from it in the last
bits only. What each phase of a step gathers is applied when all of it is there; a phase that fails leaves nothing
behind, and is done again by all processes with smaller cuts.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from textgan import distributed
from textgan.errors import UserError
from textgan.training import Training

T = TypeVar("T")
SAID = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")
"""By allocators whose error has no type of its own: of the CPU, of CUDA itself, of cuDNN and cuBLAS."""


def cuts_of(part: slice, micro_batch: int, together: int = 1) -> list[slice]:
    """`part` of a batch in equal cuts of at most `micro_batch` images; 0: in one.

    None is smaller than `together`, nor cuts through so many neighbours, which are compared with each other.
    """
    size = part.stop - part.start
    limit = max(together, min(size, micro_batch or size))
    step = max(n for n in range(together, limit + 1, together) if size % n == 0)
    return [slice(first, first + step) for first in range(part.start, part.stop, step)]


def as_memory_allows(training: Training, optimiser: torch.optim.Optimizer, gather: Callable[[list[slice]], T]) -> T:
    """What `gather` returns, which adds up the gradients of `optimiser` over the cuts of a batch that it is given.

    Too little memory in any process: its work is undone, cuts are halved from now on, in all processes alike, and it
    is called again. Raises UserError where a single image is too large.
    """
    state, together = training.state, training.params.z_per_caption
    part = distributed.local_part(training.params.batch_size, together)
    while True:
        cuts = cuts_of(part, state.micro_batch, together)
        norms = torch._foreach_mul(training.D_norms, 1.0)  # copies
        gathered = _tried(optimiser, gather, cuts)
        # Processes agree here, before any of them averages gradients: none waits for one that failed.
        if not distributed.anywhere(gathered is None) and gathered is not None:
            return gathered[0]
        del gathered
        optimiser.zero_grad(set_to_none=True)
        torch._foreach_copy_(training.D_norms, norms)
        gc.collect()  # frames of the error may hold tensors in cycles
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        size = cuts[0].stop - cuts[0].start
        if size == together:
            images, keys = ("one image", "g_channels") if size == 1 else (f"{size} images", "z_per_caption, g_channels")
            raise UserError(
                f"params.yaml: train: there is too little memory for {images} at a time; lower {keys}, d_channels,"
                " extractor_px, batch_size (its texts stay whole) or the size of the images"
            )
        smaller = cuts_of(part, size // 2, together)[0]
        state.micro_batch = smaller.stop - smaller.start
        if distributed.rank() == 0:
            print(
                f"train: out of memory at image {state.cur_nimg} with {size} images at once; goes on with"
                f" {state.micro_batch} at once, {(part.stop - part.start) // state.micro_batch} times a step",
                file=sys.stderr,
                flush=True,
            )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator raised it, on whatever device: torch's, CUDA's and cuDNN's have no common type."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):  # the latter: numpy's and Python's own
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in SAID)


def _tried(
    optimiser: torch.optim.Optimizer, gather: Callable[[list[slice]], T], cuts: list[slice]
) -> tuple[T] | None:  # None: out of memory
    """In a function of its own, so that what the error holds is gone before the next try."""
    optimiser.zero_grad(set_to_none=True)
    try:
        return (gather(cuts),)
    except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is a RuntimeError, too
        if not is_out_of_memory(error):
            raise
        return None
