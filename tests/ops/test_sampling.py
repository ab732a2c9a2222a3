"""Balanced samples: how many, of which kind, and the same for the same generator."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.ops.matching import BACKGROUND, IGNORED
from maskwright.ops.randomness import random_generator
from maskwright.ops.sampling import choose, sample_balanced

matched = st.lists(st.sampled_from([BACKGROUND, BACKGROUND, IGNORED, 0, 1, 7]), max_size=60).map(
    lambda objects: torch.tensor(objects, dtype=torch.int64)
)
counts, shares = st.integers(1, 40), st.sampled_from([0.25, 0.5, 1.0])


@given(matched, counts, shares)
def test_sample_has_the_right_kinds_in_the_right_numbers(objects: torch.Tensor, count: int, share: float) -> None:
    positive, negative = sample_balanced(objects, count, share, random_generator(0))
    num_positive, num_negative = int((objects >= 0).sum()), int((objects == BACKGROUND).sum())
    assert (objects[positive] >= 0).all()
    assert (objects[negative] == BACKGROUND).all()
    assert len(positive) == min(num_positive, int(count * share))
    assert len(negative) == min(num_negative, count - len(positive))


@given(matched, counts, shares)
def test_sample_has_no_repetition_and_is_in_order(objects: torch.Tensor, count: int, share: float) -> None:
    for indices in sample_balanced(objects, count, share, random_generator(1)):
        assert indices.tolist() == sorted(set(indices.tolist()))


@given(matched, counts, shares, st.integers(0, 1000))
def test_sample_is_a_function_of_the_key(objects: torch.Tensor, count: int, share: float, key: int) -> None:
    first, again = (sample_balanced(objects, count, share, random_generator(key)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@given(matched, counts, st.sampled_from([0.25, 1 / 3, 0.33, 0.5, 1.0]))
def test_balanced_negatives_keep_the_share_where_positives_are_few(
    objects: torch.Tensor, count: int, share: float
) -> None:
    positive, negative = sample_balanced(objects, count, share, random_generator(0), keeps_ratio=True)
    unbalanced = sample_balanced(objects, count, share, random_generator(0))
    assert torch.equal(positive, unbalanced.positive)
    num_candidates = int((objects == BACKGROUND).sum())
    assert len(negative) == min(num_candidates, int(len(positive) / share - len(positive)))
    assert (objects[negative] == BACKGROUND).all()
    assert len(positive) + len(negative) <= count


@pytest.mark.parametrize(("num_positive", "wanted"), [(0, (0, 0)), (1, (1, 2)), (10, (10, 20)), (100, (66, 134))])
def test_matterports_numbers_of_negatives(num_positive: int, wanted: tuple[int, int]) -> None:
    objects = torch.tensor([0] * num_positive + [BACKGROUND] * 500)
    sample = sample_balanced(objects, 200, 0.33, random_generator(0), keeps_ratio=True)
    assert (len(sample.positive), len(sample.negative)) == wanted


def test_sampler_larger_than_the_candidates_takes_them_all() -> None:
    objects = torch.tensor([0, BACKGROUND, IGNORED, 3, BACKGROUND])
    for key in range(5):
        sample = sample_balanced(objects, 1000, 0.5, random_generator(key))
        assert (sample.positive.tolist(), sample.negative.tolist()) == ([0, 3], [1, 4])


def test_every_candidate_is_chosen_equally_often() -> None:
    times = torch.zeros(10)
    for key in range(2000):
        times[choose(torch.arange(10), 3, random_generator("fair", key))] += 1
    assert times.sum() == 6000
    assert (times / 2000 - 0.3).abs().max() < 0.05  # five standard deviations
