"""Which images a training step sees: a function of (seed, step), never of what ran before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch

from maskwright.ops.randomness import random_generator, random_key


class SampleRequest(NamedTuple):
    """One place of a training step: index of the image, and the key of every random draw made for it."""

    image: int
    key: int


@dataclass(frozen=True)
class StepSampler:
    """The images of each step.

    Every epoch is a fresh shuffle of which whole steps are taken; the images that do not fill another one, any of them
    alike, wait for the next shuffle. With groups, a step holds images of one group as far as the group lasts, and what
    is left over of the groups is mixed.

    Attributes:
        groups: group of each image (landscape or portrait, say); all alike where grouping is off.
        batch_size: images per step, over all processes.
        seed: of the run.
    """

    groups: tuple[int, ...]
    batch_size: int
    seed: int

    def step(self, step: int) -> list[SampleRequest]:
        """The images of one step, over all processes."""
        epoch, place = divmod(step, max(1, len(self.groups) // self.batch_size))
        indices = _epoch(self, epoch)[place]
        return [SampleRequest(index, random_key(self.seed, step, slot)) for slot, index in enumerate(indices)]

    def steps(self, first: int, last: int, share: slice) -> Iterator[list[SampleRequest]]:
        """The part `share` of steps `first` (inclusive) to `last` (exclusive)."""
        return (self.step(step)[share] for step in range(first, last))


@lru_cache(maxsize=2)
def _epoch(sampler: StepSampler, epoch: int) -> list[list[int]]:
    """All steps of one epoch as lists of image indices."""
    generator = random_generator(sampler.seed, "epoch", epoch)
    order = torch.randperm(len(sampler.groups), generator=generator).tolist()
    while len(order) < sampler.batch_size:  # fewer images than a step holds: some are seen twice
        order += torch.randperm(len(sampler.groups), generator=generator).tolist()
    # cut before grouping: cut after it, a rare group would never fill a step and never be seen
    order = order[: len(order) - len(order) % sampler.batch_size]
    by_group: dict[int, list[int]] = {}
    for index in order:
        by_group.setdefault(sampler.groups[index], []).append(index)
    full, left = [], []
    for members in by_group.values():
        whole = len(members) - len(members) % sampler.batch_size
        full += _pieces(members[:whole], sampler.batch_size)
        left += members[whole:]
    full += _pieces(left, sampler.batch_size)
    return [full[place] for place in torch.randperm(len(full), generator=generator).tolist()]


def _pieces(items: Sequence[int], length: int) -> list[list[int]]:
    return [list(items[start : start + length]) for start in range(0, len(items), length)]


def aspect_groups(sizes: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """0 for portrait and square images of (height, width), 1 for landscape ones."""
    return tuple(int(width > height) for height, width in sizes)
