"""Which images a training step sees: a function of (seed, step), never of what ran before."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from maskwright.ops.randomness import random_generator, random_key


class SampleRequest(NamedTuple):
    """One item of a training step: index of the image, and the key of every random draw made for it."""

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
        factors: how often each image is drawn in an epoch, on average, to within one image in the epoch's whole; None:
            once. What lies between two whole numbers is drawn anew in each epoch.
    """

    groups: tuple[int, ...]
    batch_size: int
    seed: int
    factors: tuple[float, ...] | None = None

    @property
    def images_per_epoch(self) -> int:
        """How many images an epoch draws, repeated ones counted as often as they are."""
        return len(self.groups) if self.factors is None else max(1, round(math.fsum(self.factors)))

    @property
    def steps_per_epoch(self) -> int:
        """How many whole steps these are; a step with more images than there are takes some of them twice."""
        return max(1, self.images_per_epoch // self.batch_size)

    def step(self, step: int) -> list[SampleRequest]:
        """The images of one step, over all processes."""
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        indices = _epoch(self, epoch)[step_of_epoch]
        return [SampleRequest(index, random_key(self.seed, step, slot)) for slot, index in enumerate(indices)]

    def steps(self, first: int, last: int, share: slice) -> Iterator[list[SampleRequest]]:
        """The part `share` of steps `first` (inclusive) to `last` (exclusive)."""
        return (self.step(step)[share] for step in range(first, last))


@lru_cache(maxsize=2)
def _epoch(sampler: StepSampler, epoch: int) -> list[list[int]]:
    """All steps of one epoch as lists of image indices."""
    generator = random_generator(sampler.seed, "epoch", epoch)
    order: list[int] = []
    while len(order) < sampler.batch_size:  # once, unless there are fewer images than a step holds
        drawn = _drawn_images(sampler, epoch, turn=len(order))
        order += drawn[torch.randperm(len(drawn), generator=generator)].tolist()
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
    return [full[index] for index in torch.randperm(len(full), generator=generator).tolist()]


def _drawn_images(sampler: StepSampler, epoch: int, turn: int) -> Tensor:
    """Index of every image as often as it is in this epoch; always as many in all.

    The images are laid along a line in random order, each as long as its factor, and a comb with teeth one apart and a
    random start takes them. Each is taken as often as its factor says on average, in any one epoch that number rounded
    up or down (systematic sampling, Madow 1949).
    """
    num_images = len(sampler.groups)
    if sampler.factors is None:
        return torch.arange(num_images)
    generator = random_generator(sampler.seed, "repeats", epoch, turn)
    line = torch.randperm(num_images, generator=generator)
    ends = torch.tensor(sampler.factors, dtype=torch.float64)[line].cumsum(0)
    total = sampler.images_per_epoch
    ends = (ends * (total / ends[-1])).clamp(max=total)
    ends[-1] = total  # not a rounding error less
    start = torch.rand(1, generator=generator).double()  # of 24 bits, so that whole numbers plus it stay exact
    teeth = (ends + start).floor().long()
    counts = torch.empty_like(line)
    counts[line] = teeth.diff(prepend=teeth.new_zeros(1))
    return torch.arange(num_images).repeat_interleave(counts)


def repeat_factors(classes: Sequence[Iterable[int]], threshold: float) -> tuple[float, ...]:
    """How often each image is drawn in an epoch, so that rare classes are seen more often (LVIS, appendix B.2).

    Args:
        classes: those that occur in each image.
        threshold: share of images below which a class is rare.

    Returns:
        for each image the largest √(threshold / share) of its classes, where share is that of the images with the
        class; at least 1.

    >>> repeat_factors([{1}, {1}, {1}, {1, 2}], threshold=1.0)
    (1.0, 1.0, 1.0, 2.0)
    """
    unique = [set(found) for found in classes]
    counts = Counter(one for found in unique for one in found)
    of_class = {one: math.sqrt(threshold * len(unique) / images) for one, images in counts.items()}
    return tuple(max([1.0, *(of_class[one] for one in found)]) for found in unique)


def _pieces(items: Sequence[int], length: int) -> list[list[int]]:
    return [list(items[start : start + length]) for start in range(0, len(items), length)]


def aspect_groups(sizes: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """0 for portrait and square images of (height, width), 1 for landscape ones."""
    return tuple(int(width > height) for height, width in sizes)
