"""One process or several: what the training loop needs of torch.distributed, and nothing where there is one process."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed

from textgan.errors import UserError


def start(device: torch.device) -> None:
    """Join the group that torchrun made, if it made one."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    """Leave the group."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank() -> int:
    """Which process this is."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def local_part(size: int, together: int = 1) -> slice:
    """This process's part of a batch, whole groups of `together`. Raises UserError where it cannot be divided."""
    world = world_size()
    if size % (world * together):
        of_groups = "" if together == 1 else f" times z_per_caption, {together}"
        raise UserError(f"train.batch_size is {size}; it must be a multiple of the {world} processes{of_groups}")
    return slice(rank() * size // world, (rank() + 1) * size // world)


def anywhere(flag: bool) -> bool:
    """Whether it is so in any process."""
    if world_size() == 1:
        return flag
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    said = torch.tensor([float(flag)], device=device)
    distributed.all_reduce(said)
    return bool(said.item() > 0)


def joined(part: Tensor) -> Tensor:  # [N/world,...] -> [N,...]
    """The parts of all processes, in the order of their ranks."""
    if world_size() == 1:
        return part
    parts = [torch.empty_like(part) for _ in range(world_size())]
    distributed.all_gather(parts, part)
    return torch.cat(parts)


def summed(tensor: Tensor) -> Tensor:
    """The sum over the processes, in place."""
    if world_size() > 1:
        distributed.all_reduce(tensor)
    return tensor


def average(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in place; one message for all of them."""
    if world_size() == 1:
        return
    kept = list(tensors)
    flat = torch.cat([tensor.reshape(-1) for tensor in kept])
    distributed.all_reduce(flat)
    flat /= world_size()
    for tensor, mean in zip(kept, flat.split([tensor.numel() for tensor in kept]), strict=True):
        tensor.copy_(mean.view_as(tensor))
