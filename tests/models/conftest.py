"""Tiny networks, batches and targets for the laws of the models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from maskwright.config import load_recipe
from maskwright.models.build import build_model
from maskwright.models.mask_rcnn.model import MaskRcnn
from maskwright.models.yolact.model import Yolact
from maskwright.structures import CropMasks, ImageBatch, Targets
from maskwright.structures.masks.crop import Crop

SIZE = (64, 96)


@pytest.fixture(scope="session")
def build(tiny_network: dict[str, Any]) -> Callable[..., MaskRcnn]:
    """A tiny network of a recipe, in evaluation mode; with weights that give scores and boxes some spread."""

    def build(recipe: str = "mask_rcnn", **overrides: Any) -> MaskRcnn:
        dotted = {key.replace("__", "."): value for key, value in overrides.items()}
        model = build_model(load_recipe(recipe, {**tiny_network, **dotted})).eval()
        with torch.no_grad():
            model.rpn.head.objectness.weight.mul_(30)
            model.rpn.head.deltas.weight.mul_(10)
            model.box_head.class_logits.weight.mul_(50)
            model.box_head.deltas.weight.mul_(100)
        return model

    return build


@pytest.fixture(scope="session")
def build_yolact(tiny_yolact: dict[str, Any]) -> Callable[..., Yolact]:
    """As `build`, of the one-stage family."""

    def build(recipe: str = "yolact", **overrides: Any) -> Yolact:
        dotted = {key.replace("__", "."): value for key, value in overrides.items()}
        model = build_model(load_recipe(recipe, {**tiny_yolact, **dotted})).eval()
        with torch.no_grad():
            model.head.class_logits.weight.mul_(3)
            model.protonet.prototypes.weight.mul_(3)
        return model

    return build


@pytest.fixture
def batch() -> ImageBatch:
    """Two images of noise."""
    pixels = torch.randn((2, 3, *SIZE), generator=torch.Generator().manual_seed(3))
    return ImageBatch(pixels, (SIZE, SIZE), (11, 12))


def square(top: int, left: int, side: int) -> Crop:
    return Crop(np.ones((side, side), dtype=bool), top, left)


def targets_of(squares: list[tuple[int, int, int]], is_crowd: list[bool] | None = None) -> Targets:
    """Targets that are filled squares (top, left, side), of the classes 0, 1, 2, 0, …"""
    boxes = [[left, top, left + side, top + side] for top, left, side in squares]
    return Targets(
        size=SIZE,
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(len(squares)) % 3,
        masks=CropMasks.from_crops([square(*one) for one in squares], SIZE),
        is_crowd=torch.tensor(is_crowd or [False] * len(squares), dtype=torch.bool),
    )


@pytest.fixture
def make_targets() -> Callable[..., Targets]:
    return targets_of


@pytest.fixture
def targets() -> list[Targets]:
    """Of the two images of `batch`."""
    return [targets_of([(4, 6, 20), (30, 40, 30)]), targets_of([(10, 50, 16), (20, 10, 33), (40, 70, 12)])]
