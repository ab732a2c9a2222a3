"""Deltas: the round trip, hand-made values, and torchvision's coder."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from maskwright.ops.box_coding import MAX_LOG_SCALE, Weights, decode_boxes, encode_boxes

UNIT: Weights = (1.0, 1.0, 1.0, 1.0)
BOX_HEAD: Weights = (10.0, 10.0, 5.0, 5.0)


def random_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand((count, 2), generator=generator) * 500
    return torch.cat([corners, corners + 1 + torch.rand((count, 2), generator=generator) * 200], dim=1)


@pytest.mark.parametrize("weights", [UNIT, BOX_HEAD])
@given(seed=st.integers(0, 10_000))
def test_decoding_undoes_encoding(weights: Weights, seed: int) -> None:
    boxes, references = random_boxes(20, seed), random_boxes(20, seed + 1)
    # within the guard against overflow
    is_near = ((boxes[:, 2:] - boxes[:, :2]) / (references[:, 2:] - references[:, :2]) < 60).all(1)
    back = decode_boxes(encode_boxes(boxes, references, weights), references, weights)
    torch.testing.assert_close(back[is_near], boxes[is_near], rtol=1e-5, atol=1e-3)


def test_no_deltas_give_the_reference() -> None:
    references = random_boxes(50, 0)
    torch.testing.assert_close(decode_boxes(torch.zeros(50, 4), references, BOX_HEAD), references)
    assert encode_boxes(references, references, BOX_HEAD).abs().max() < 1e-6


def test_deltas_of_a_box_by_hand() -> None:
    # 10 wide, 20 high, moved right by half its width, up by a quarter of its height, twice as wide
    reference, box = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[0.0, -5.0, 20.0, 15.0]])
    deltas = encode_boxes(box, reference, (1.0, 2.0, 3.0, 4.0))
    torch.testing.assert_close(deltas, torch.tensor([[0.5, -0.5, 3 * math.log(2), 0.0]]))


def test_growth_is_limited() -> None:
    huge = decode_boxes(torch.tensor([[0.0, 0.0, 100.0, 100.0]]), torch.tensor([[0.0, 0.0, 16.0, 16.0]]), UNIT)
    torch.testing.assert_close(huge, torch.tensor([[-492.0, -492.0, 508.0, 508.0]]))
    assert math.exp(MAX_LOG_SCALE) == pytest.approx(62.5)


@pytest.mark.parametrize("weights", [UNIT, BOX_HEAD])
def test_coding_is_torchvisions(weights: Weights) -> None:
    boxes, references, theirs = random_boxes(200, 1), random_boxes(200, 2), BoxCoder(weights)
    deltas = encode_boxes(boxes, references, weights)
    torch.testing.assert_close(deltas, theirs.encode_single(boxes, references))
    torch.testing.assert_close(decode_boxes(deltas, references, weights), theirs.decode_single(deltas, references))


def test_references_broadcast_over_classes() -> None:
    deltas, references = torch.randn((7, 3, 4), generator=torch.Generator().manual_seed(0)), random_boxes(7, 3)
    together = decode_boxes(deltas, references[:, None], BOX_HEAD)
    for label in range(3):
        torch.testing.assert_close(together[:, label], decode_boxes(deltas[:, label], references, BOX_HEAD))


def test_no_boxes_no_deltas() -> None:
    none = torch.zeros((0, 4))
    assert encode_boxes(none, none, UNIT).shape == decode_boxes(none, none, UNIT).shape == (0, 4)
