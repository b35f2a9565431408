"""Checkpoints of a training: written, read, and gone back to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from textgan import checkpoint
from textgan.errors import UserError
from textgan.micro_batches import is_out_of_memory
from textgan.training import State, Training


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint in memory."""

    place: Path
    tensors: dict[str, Tensor]
    state: State

    def restore(self, training: Training) -> None:
        """Put a new training of the same size back to where it was saved. Raises UserError."""
        try:
            checkpoint.unpack(self.tensors, training.networks.modules(), {"D": training.D_opt, "G": training.G_opt})
        except (KeyError, IndexError, RuntimeError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            raise _of_others(self.place, error) from None
        training.state = self.state


def save(training: Training, work: Path) -> None:
    """Write a checkpoint."""
    optimisers = {"D": training.D_opt, "G": training.G_opt}
    tensors = checkpoint.pack(training.networks.modules(), optimisers)
    checkpoint.save(work, training.state.cur_nimg, tensors, dataclasses.asdict(training.state))


def last_saved(work: Path) -> Saved | None:
    """The last checkpoint, if there is one. Raises UserError."""
    place = checkpoint.latest(work)
    if place is None:
        return None
    tensors, state = checkpoint.load(place)
    try:
        return Saved(place, tensors, State(**state))
    except TypeError as error:
        raise _of_others(place, error) from None


def _of_others(place: Path, error: Exception) -> UserError:
    return UserError(f"{place}: belongs to other networks ({error}); remove it to begin again")
