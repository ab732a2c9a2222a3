"""RoI masks on the image, in the manners of torchvision, Simple Mask R-CNN, detectron2 and matterport."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image

from maskwright.structures.masks.pasting import Piece, paste_at_centres, paste_bordered, paste_bytes, to_bytes

Paste = Callable[[Tensor, Tensor, tuple[int, int]], Piece]

MANNERS: dict[str, Paste] = {
    "bordered": partial(paste_bordered, is_inclusive=True),
    "exclusive": partial(paste_bordered, is_inclusive=False),
    "centres": paste_at_centres,
    "bytes": partial(paste_bytes, stretches_range=False),
}
seeds = st.integers(0, 10_000)


def pasted(manner: str, probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, H, W) probabilities of the whole image, put together from the pieces."""
    whole = torch.zeros((len(boxes), *size))
    for image, mask, box in zip(whole, probabilities, boxes, strict=True):
        values, top, left = MANNERS[manner](mask, box, size)
        image[top : top + values.shape[0], left : left + values.shape[1]] = values
    return whole


def random_masks(seed: int, mask_px: int = 28, reach: float = 0.0) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Probabilities, boxes and the size of an image out of which the boxes reach by a share of it."""
    generator = torch.Generator().manual_seed(seed)
    height, width = torch.randint(5, 60, (2,), generator=generator).tolist()
    shares = torch.rand((6, 2, 2), generator=generator) * (1 + 2 * reach) - reach
    boxes = (shares.sort(dim=1).values * torch.tensor([width, height])).reshape(6, 4)
    return torch.rand((6, mask_px, mask_px), generator=generator), boxes, (height, width)


@pytest.mark.parametrize("mask_px", [14, 28])
@given(seed=seeds)
def test_bordered_pasting_is_torchvisions(mask_px: int, seed: int) -> None:
    probabilities, boxes, size = random_masks(seed, mask_px)
    theirs = paste_masks_in_image(probabilities[:, None], boxes, size)[:, 0]
    ours = pasted("bordered", probabilities, boxes, size)
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(ours > 0.5, theirs > 0.5)


@given(seeds)
def test_exclusive_pasting_leaves_out_the_last_row_and_column(seed: int) -> None:
    probabilities, boxes, size = random_masks(seed, reach=0.2)
    ours = pasted("exclusive", probabilities, boxes, size)
    half_sides = (boxes[:, 2:] - boxes[:, :2]) / 2
    centres, grown = (boxes[:, 2:] + boxes[:, :2]) / 2, half_sides * (30 / 28)
    corners = torch.cat([centres - grown, centres + grown], dim=1).long()
    for image, mask, (left, top, right, bottom) in zip(ours, probabilities, corners.tolist(), strict=True):
        if right > left and bottom > top:
            border = F.pad(mask, (1, 1, 1, 1))[None, None]
            soft = F.interpolate(border, size=(bottom - top, right - left), mode="bilinear")[0, 0]
            expected = torch.zeros((size[0] + 400, size[1] + 400))  # room for what is outside
            expected[200 + top : 200 + bottom, 200 + left : 200 + right] = soft
            torch.testing.assert_close(image, expected[200 : 200 + size[0], 200 : 200 + size[1]])
        else:
            assert image.sum() == 0


@pytest.mark.parametrize("mask_px", [14, 28])
@given(seed=seeds)
def test_pasting_at_centres_asks_the_mask_at_every_pixel_of_the_image(mask_px: int, seed: int) -> None:
    probabilities, boxes, (height, width) = random_masks(seed, mask_px, reach=0.3)
    boxes[:, 2:] += 0.1
    ours = pasted("centres", probabilities, boxes, (height, width))
    x1, y1, x2, y2 = (side[:, None] for side in boxes.unbind(dim=1))
    columns = (torch.arange(width) + 0.5 - x1) / (x2 - x1) * 2 - 1
    rows = (torch.arange(height) + 0.5 - y1) / (y2 - y1) * 2 - 1
    everywhere = torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), dim=-1)
    expected = F.grid_sample(probabilities[:, None], everywhere, align_corners=False)[:, 0]
    # a pixel beyond the box, where a mask has half its strength left, it is cut off; detectron2 does so on the CPU
    is_cut = (ours == 0) & (expected < 0.5)
    torch.testing.assert_close(ours[~is_cut], expected[~is_cut], rtol=0, atol=1e-4)
    assert torch.equal(ours > 0.5001, expected > 0.5001)


@pytest.mark.parametrize("stretches_range", [False, True])
@given(seed=seeds)
def test_pasting_bytes_is_pillows_resizing(stretches_range: bool, seed: int) -> None:
    probabilities, boxes, size = random_masks(seed)
    for mask, box in zip(probabilities * 0.8 + 0.1, boxes.round(), strict=True):
        left, top, right, bottom = (int(side) for side in box)
        values, row, column = paste_bytes(mask, box, size, stretches_range=stretches_range)
        if left < right and top < bottom:
            low, high = (float(mask.min()), float(mask.max())) if stretches_range else (0.0, 1.0)
            picture = ((mask.numpy() - low) * (255 / (high - low)) + 0.5).astype(np.uint8)
            expected = np.asarray(Image.fromarray(picture).resize((right - left, bottom - top), Image.BILINEAR))
            assert (row, column) == (top, left)
            assert np.array_equal((values * 255).round().numpy(), expected)
        else:
            assert values.numel() == 0


@pytest.mark.parametrize("manner", MANNERS)
def test_box_outside_the_image_shows_nothing(manner: str) -> None:
    outside = torch.tensor([[-50.0, -50.0, -20.0, -20.0], [90.0, 3.0, 95.0, 8.0]])
    assert pasted(manner, torch.ones((2, 28, 28)), outside, (20, 30)).sum() == 0


@pytest.mark.parametrize("manner", MANNERS)
def test_full_mask_fills_its_box(manner: str) -> None:
    whole = pasted(manner, torch.ones((1, 28, 28)), torch.tensor([[4.0, 6.0, 20.0, 26.0]]), (40, 40))[0] > 0.5
    expected = torch.zeros((40, 40), dtype=torch.bool)
    expected[6:26, 4:20] = True
    assert (whole ^ expected).sum() <= 16 + 20  # corners cut to whole pixels cost a row or column at most


@pytest.mark.parametrize("manner", MANNERS)
def test_a_box_that_reaches_out_shows_what_a_larger_image_would(manner: str) -> None:
    mask = torch.rand((1, 28, 28), generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[3.0, 5.0, 45.0, 52.0]])
    large = pasted(manner, mask, box, (60, 60))
    torch.testing.assert_close(pasted(manner, mask, box, (40, 30)), large[:, :40, :30])
    if manner in ("centres", "bytes"):  # with a border, cutting towards zero changes boxes that begin outside
        torch.testing.assert_close(pasted(manner, mask, box - 10, (40, 30)), large[:, 10:50, 10:40])


@pytest.mark.parametrize("manner", MANNERS)
def test_box_without_sides_is_pasted_without_error(manner: str) -> None:
    pasted(manner, torch.ones((1, 28, 28)), torch.tensor([[3.5, 4.5, 3.5, 4.5]]), (10, 10))


def test_equal_values_have_no_range_to_stretch() -> None:
    assert to_bytes(torch.full((3, 3), 0.9), True).sum() == 0
    assert (to_bytes(torch.full((3, 3), 0.9), False) == 230).all()
