"""Several processes that work as one: started by torchrun, joined by sums."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.distributed
from torch import Tensor

from maskwright.errors import ConfigError, MaskwrightError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process's rank and the number of processes; (0, 1) where it is the only one.

    Attributes:
        rank: of this process.
        size: number of processes.
        local_rank: of this process on its machine; selects the GPU.
        has_group: a process group is there although this process is the only one; `benchmarks/gpu.py` tries NCCL so.
    """

    rank: int
    size: int
    local_rank: int
    has_group: bool = False

    @property
    def is_joined(self) -> bool:
        """Whether sums and messages go through a process group."""
        return self.size > 1 or self.has_group

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def share_of(self, count: int) -> slice:
        """This process's part of `count` indices, in order; the parts join to the whole."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, as a new tensor."""
        if not self.is_joined:
            return values
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    def largest(self, values: tuple[int, int]) -> tuple[int, int]:
        """The larger of each value over all processes."""
        if not self.is_joined:
            return values
        largest = torch.tensor(values, device=_device_for_messages())
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        first, second = largest.tolist()
        return first, second

    def from_main(self, value: T) -> T:
        """The main process's value, in every process."""
        if not self.is_joined:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T] | None:
        """Every process's value in the order of ranks, in the main process; None in the others."""
        if not self.is_joined:
            return [value]
        boxes: list[T] | None = [value] * self.size if self.is_main else None
        torch.distributed.gather_object(value, boxes)
        return boxes

    def together(self, work: Callable[[], T]) -> T:
        """This process's result of work that all processes do; none goes on before all are done.

        Raises:
            MaskwrightError: the first error of any process, in all of them, so that none waits for one that has
                ended; the main process reports it.
        """
        if not self.is_joined:
            return work()
        own: MaskwrightError | None = None
        try:
            result = work()
        except MaskwrightError as error:
            own = error
        has_failed = torch.tensor(int(own is not None), device=_device_for_messages())
        if not self.sum(has_failed).item():
            return result
        errors = [own] * self.size
        torch.distributed.all_gather_object(errors, own)
        first = next(error for error in errors if error is not None)
        first.is_reported_elsewhere = not self.is_main
        raise first from own

    def in_main(self, work: Callable[[], T]) -> T:
        """The result, in every process, of work that only the main one does; its error likewise, as in `together`."""
        return cast(T, self.from_main(self.together(lambda: work() if self.is_main else None)))


def _device_for_messages() -> torch.device:
    is_nccl = torch.distributed.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if is_nccl else torch.device("cpu")


@contextmanager
def joined_world(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started (it sets RANK, WORLD_SIZE, LOCAL_RANK); one process without it.

    Raises:
        ConfigError: the processes of this machine cannot have a card each.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(0, 1, 0)
        return
    world = World(int(os.environ["RANK"]), size, int(os.environ["LOCAL_RANK"]))
    if device.type == "cuda":
        _check_cards(device, world)
        torch.cuda.set_device(world.local_rank)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield world
    finally:
        torch.distributed.destroy_process_group()


def _check_cards(device: torch.device, world: World) -> None:
    """Refuse what NCCL would answer with a traceback, or with waiting for ever."""
    if ":" in str(device):
        raise ConfigError(
            f"--device {device} is one card, but torchrun started {world.size} processes; give --device cuda, and each "
            "process takes a card of its own"
        )
    count = torch.cuda.device_count()
    if world.local_rank >= count:
        raise ConfigError(
            f"torchrun started at least {world.local_rank + 1} processes on this machine, which has {count} cards that "
            f"torch sees; give --nproc-per-node {count}"
        )
