from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.data.samplers import StepSampler, _drawn_images, aspect_groups, repeat_factors

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


# images drawn more or less often


@st.composite
def uneven_samplers(draw: st.DrawFn) -> StepSampler:
    groups = draw(GROUPS)
    factors = draw(st.lists(st.floats(0.05, 4), min_size=len(groups), max_size=len(groups)))
    return StepSampler(groups, draw(st.integers(1, 9)), draw(st.integers(0, 1000)), tuple(factors))


def test_without_factors_the_steps_are_what_they_were_before_there_were_any() -> None:
    recorded = [[2, 5, 0], [1, 4, 6], [0, 2, 5], [6, 3, 1], [2, 0, 6], [5, 4, 1]]
    for factors in (None, (1.0,) * 7):
        sampler = StepSampler((0, 1, 0, 1, 1, 0, 0), 3, 5, factors)
        assert [[request.image for request in sampler.step(step)] for step in range(6)] == recorded


@given(SAMPLERS, st.integers(0, 20))
def test_a_factor_of_one_for_all_changes_nothing(sampler: StepSampler, step: int) -> None:
    assert replace(sampler, factors=(1.0,) * len(sampler.groups)).step(step) == sampler.step(step)


@given(uneven_samplers(), st.integers(0, 5))
def test_an_epoch_draws_each_image_as_often_as_its_factor_rounded_up_or_down(sampler: StepSampler, epoch: int) -> None:
    counts = _drawn_images(sampler, epoch, 0).bincount(minlength=len(sampler.groups)).tolist()
    assert sum(counts) == sampler.images_per_epoch
    scale = sampler.images_per_epoch / sum(sampler.factors)
    assert all(abs(count - scale * factor) < 1 + 1e-9 for count, factor in zip(counts, sampler.factors, strict=True))


@given(uneven_samplers(), st.integers(0, 5))
def test_epochs_are_alike_in_length_and_every_step_is_full(sampler: StepSampler, epoch: int) -> None:
    first = epoch * sampler.steps_per_epoch
    steps = [sampler.step(step) for step in range(first, first + sampler.steps_per_epoch)]
    assert {len(step) for step in steps} == {sampler.batch_size}
    drawn = Counter(request.image for step in steps for request in step)
    if sampler.images_per_epoch >= sampler.batch_size:
        most = _drawn_images(sampler, epoch, 0).bincount(minlength=len(sampler.groups)).tolist()
        assert all(drawn[image] <= count for image, count in enumerate(most))
        assert sum(most) - sum(drawn.values()) < sampler.batch_size


@given(uneven_samplers(), st.lists(st.integers(0, 50), max_size=4), st.integers(0, 50))
def test_an_uneven_step_is_a_function_of_seed_and_step_alone(
    sampler: StepSampler, before: list[int], step: int
) -> None:
    expected = sampler.step(step)
    for other in before:
        sampler.step(other)
    assert replace(sampler).step(step) == expected


def test_images_are_drawn_as_often_as_their_factors_say_on_average() -> None:
    factors = (0.25, 1.0, 1.5, 3.25, 0.5, 2.5)
    sampler = StepSampler((0,) * 6, batch_size=3, seed=7, factors=factors)
    assert (sampler.images_per_epoch, sampler.steps_per_epoch) == (9, 3)
    counts = Counter(image for step in images_of(sampler, 3 * 2000) for image in step)
    assert [counts[image] / 2000 for image in range(6)] == pytest.approx(factors, abs=0.05)


def images_of(sampler: StepSampler, num_steps: int) -> list[list[int]]:
    return [[request.image for request in sampler.step(step)] for step in range(num_steps)]


# rare classes


def test_an_image_is_repeated_for_the_rarest_of_its_classes() -> None:
    classes = [{1}] * 6 + [{1, 2}, {1, 2, 3}, set(), {1, 3}]
    factors = repeat_factors(classes, threshold=0.4)
    assert factors == pytest.approx([1] * 6 + [2**0.5, 2**0.5, 1, 2**0.5])
    assert repeat_factors(classes, threshold=0.9)[8:] == pytest.approx([1, 4.5**0.5])


@given(st.lists(st.sets(st.integers(0, 5)), max_size=20), st.floats(0.001, 1))
def test_repeat_factors_follow_their_formula(classes: list[set[int]], threshold: float) -> None:
    shares = {one: sum(one in found for found in classes) / len(classes) for found in classes for one in found}
    expected = [max([1.0, *(max(1, (threshold / shares[one]) ** 0.5) for one in found)]) for found in classes]
    assert repeat_factors(classes, threshold) == pytest.approx(expected)


def test_no_class_is_rare_where_the_threshold_is_below_all_shares() -> None:
    assert repeat_factors([{1}, {2}, {1, 2}, set()], threshold=0.5) == (1, 1, 1, 1)
