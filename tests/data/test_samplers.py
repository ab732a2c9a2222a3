from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.data.samplers import StepSampler, aspect_groups

GROUPS = st.lists(st.integers(0, 2), min_size=1, max_size=40).map(tuple)
SAMPLERS = st.builds(StepSampler, GROUPS, st.integers(1, 9), st.integers(0, 1000))


def images_of_epoch(sampler: StepSampler, epoch: int) -> list[list[int]]:
    """The images of each step of an epoch."""
    count = max(1, len(sampler.groups) // sampler.batch_size)
    steps = range(epoch * count, (epoch + 1) * count)
    return [[request.image for request in sampler.step(step)] for step in steps]


@given(SAMPLERS, st.integers(0, 3))
def test_every_step_is_full(sampler: StepSampler, epoch: int) -> None:
    assert {len(step) for step in images_of_epoch(sampler, epoch)} == {sampler.batch_size}


@given(SAMPLERS, st.integers(0, 3))
def test_an_epoch_has_every_image_once_but_for_those_that_do_not_fill_a_step(sampler: StepSampler, epoch: int) -> None:
    num_images = len(sampler.groups)
    seen = list(chain(*images_of_epoch(sampler, epoch)))
    if num_images >= sampler.batch_size:
        assert len(set(seen)) == len(seen) == num_images - num_images % sampler.batch_size


@given(SAMPLERS, st.integers(0, 3))
def test_where_images_are_fewer_than_a_step_holds_all_are_in_it_equally_often(sampler: StepSampler, epoch: int) -> None:
    num_images = len(sampler.groups)
    if num_images < sampler.batch_size:
        (step,) = images_of_epoch(sampler, epoch)
        counts = Counter(step)
        assert len(counts) == num_images
        assert max(counts.values()) - min(counts.values()) <= 1


@given(SAMPLERS)
def test_no_more_steps_are_mixed_than_groups_need(sampler: StepSampler) -> None:
    mixed = [step for step in images_of_epoch(sampler, 0) if len({sampler.groups[image] for image in step}) > 1]
    # each group leaves over less than a step
    assert len(mixed) < len(set(sampler.groups))


@pytest.mark.parametrize("groups", [(0,) * 9 + (1,), (0, 0, 1)])
def test_the_only_image_of_a_group_is_trained_on_too(groups: tuple[int, ...]) -> None:
    sampler = StepSampler(groups, batch_size=4, seed=0)
    seen = {image for epoch in range(10) for step in images_of_epoch(sampler, epoch) for image in step}
    assert seen == set(range(len(groups)))


@given(SAMPLERS, st.lists(st.integers(0, 50), max_size=4), st.integers(0, 50))
def test_a_step_is_a_function_of_seed_and_step_alone(sampler: StepSampler, before: list[int], step: int) -> None:
    expected = sampler.step(step)
    for other in before:
        sampler.step(other)
    torch.manual_seed(len(before))
    assert sampler.step(step) == expected
    assert StepSampler(sampler.groups, sampler.batch_size, sampler.seed).step(step) == expected


def test_sampling_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    StepSampler((0, 1, 0, 1), 2, seed=3).step(5)
    assert torch.equal(torch.get_rng_state(), state)


def test_epochs_and_seeds_differ() -> None:
    sampler = StepSampler((0,) * 30, batch_size=30, seed=0)
    assert sampler.step(0) != sampler.step(1)
    assert [r.image for r in sampler.step(0)] != [r.image for r in sampler.step(1)]
    assert sampler.step(0) != StepSampler(sampler.groups, 30, seed=1).step(0)


@given(SAMPLERS)
def test_every_place_of_every_step_has_a_key_of_its_own(sampler: StepSampler) -> None:
    keys = [request.key for step in range(6) for request in sampler.step(step)]
    assert len(set(keys)) == len(keys)


@given(SAMPLERS, st.integers(1, 4), st.integers(0, 20))
def test_the_shares_of_all_processes_join_to_the_step(sampler: StepSampler, num_processes: int, step: int) -> None:
    size = sampler.batch_size
    shares = [slice(rank * size // num_processes, (rank + 1) * size // num_processes) for rank in range(num_processes)]
    parts = [next(sampler.steps(step, step + 1, share)) for share in shares]
    assert list(chain(*parts)) == sampler.step(step)


def test_steps_go_on_from_any_step() -> None:
    sampler = StepSampler((0,) * 7, batch_size=2, seed=0)
    assert list(sampler.steps(5, 9, slice(0, 2))) == list(sampler.steps(0, 9, slice(0, 2)))[5:]
    assert list(sampler.steps(9, 9, slice(0, 2))) == []


def test_landscape_is_one_group_and_the_rest_another() -> None:
    assert aspect_groups([(3, 4), (4, 3), (4, 4)]) == (1, 0, 0)
    assert aspect_groups([]) == ()
