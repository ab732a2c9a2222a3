"""The semantic head of Panoptic FPN: its shape, its loss, and what it leaves out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from maskwright.models.mask_rcnn.semantic_head import SemanticHead
from maskwright.structures import Categories, CropMasks, Targets
from maskwright.structures.semantic_map import PanopticRule

SIZE = (50, 90)
STRIDES_PX = (4, 8, 16, 32)
PADDED = (64, 96)


def make(**changes: Any) -> SemanticHead:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "in_channels": 6,
        "strides_px": STRIDES_PX,
        "channels": 8,
        "norm": "group",
        "norm_eps": 1e-5,
        "stuff": Categories.of(["sky", "grass", "road"]),
        "has_things": True,
        "rule": PanopticRule(0.5, 0.5, 10),
        "loss_weight": 0.5,
    }
    return SemanticHead(**{**settings, **changes}).eval()


def levels(num_images: int = 2, strides_px: tuple[int, ...] = STRIDES_PX) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn((num_images, 6, PADDED[0] // stride, PADDED[1] // stride), generator=generator)
        for stride in strides_px
    ]


def target(semantic: torch.Tensor | None, size: tuple[int, int] = SIZE) -> Targets:
    nothing = torch.zeros(0, dtype=torch.int64)
    none = Targets(size, torch.zeros((0, 4)), nothing, CropMasks.from_crops([], size), nothing.bool())
    return none.with_semantic(semantic)


def classes(key: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    labels = torch.randint(4, size, generator=torch.Generator().manual_seed(key), dtype=torch.uint8)
    labels[:7, :9] = 255
    return labels


def test_each_level_has_a_convolution_per_doubling_and_at_least_one() -> None:
    assert [len(convs) for convs in make().levels] == [1, 1, 2, 3]
    # without the stride of res5, as in DeepLab's ResNet
    assert [len(convs) for convs in make(strides_px=(4, 8, 16, 16)).levels] == [1, 1, 2, 2]


@pytest.mark.parametrize("strides_px", [STRIDES_PX, (4, 8, 16, 16)])
def test_logits_have_the_size_of_the_finest_level(strides_px: tuple[int, ...]) -> None:
    assert make(strides_px=strides_px)(levels(strides_px=strides_px)).shape == (2, 4, 16, 24)
    assert make(has_things=False)(levels()).shape == (2, 3, 16, 24)


def test_a_batch_gives_what_its_images_give_alone() -> None:
    head, features = make(), levels()
    alone = torch.cat([head([level[index : index + 1] for level in features]) for index in range(2)])
    assert torch.allclose(head(features), alone, atol=1e-5)


def test_the_loss_is_the_weighted_mean_over_all_known_pixels_of_the_batch() -> None:
    head = make()
    logits, wanted = head(levels()), [classes(1), classes(2)]
    fine = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
    padded = torch.full((2, *PADDED), 255)
    for index, labels in enumerate(wanted):
        padded[index, : SIZE[0], : SIZE[1]] = labels
    expected = 0.5 * F.cross_entropy(fine, padded, ignore_index=255)
    loss = head.losses(logits, [target(labels) for labels in wanted])["semantic"]
    assert loss.mean().item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.count.item() == sum(int((labels != 255).sum()) for labels in wanted)


def test_images_without_a_map_are_left_out() -> None:
    head = make()
    logits = head(levels())
    both = head.losses(logits, [target(classes(1)), target(None)])["semantic"]
    alone = head.losses(logits[:1], [target(classes(1))])["semantic"]
    assert both.mean().item() == pytest.approx(alone.mean().item(), rel=1e-6)


@pytest.mark.parametrize("semantic", [None, torch.full(SIZE, 255, dtype=torch.uint8)])
def test_where_nothing_is_known_the_loss_is_zero_and_so_is_its_gradient(semantic: torch.Tensor | None) -> None:
    head = make()
    loss = head.losses(head(levels(1)), [target(semantic)])["semantic"].mean()
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in head.parameters())


def test_a_map_of_a_padded_batch_is_the_one_of_all_logits() -> None:
    head = make()
    logits = head(levels())
    sizes = [(64, 96), (41, 67)]
    for semantic, image_logits, (height, width) in zip(head.maps(logits, sizes), logits, sizes, strict=True):
        whole = replace(semantic, grid=image_logits)
        assert torch.allclose(semantic.logits(), whole.logits(), atol=1e-5)
        assert semantic.grid.shape[1] <= height // 4 + 2
        assert semantic.size == semantic.input_size == (height, width)
        assert semantic.grid.untyped_storage().nbytes() == 4 * semantic.grid.numel()  # nothing of the batch is kept


def test_maps_know_their_classes_and_their_rule() -> None:
    head = make()
    (semantic,) = head.maps(head(levels(1)), [SIZE])
    assert (semantic.stuff, semantic.has_things, semantic.rule) == (head.stuff, True, head.rule)
