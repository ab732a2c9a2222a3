"""Semantic FPN: a Panoptic FPN's classes of pixels, to the last digit, and no objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from maskwright.config import load_recipe
from maskwright.images.draw import colour_of, draw_instances
from maskwright.models.build import build_model
from maskwright.models.mask_rcnn.model import MaskRcnn
from maskwright.models.mask_rcnn.semantic_fpn import SemanticFpn
from maskwright.models.segmenter import Limits
from maskwright.structures import ImageBatch, Targets

STUFF = ["sky", "grass"]
ALONE = {"rpn.is_on": False, "mask_head.is_on": False}


@pytest.fixture(scope="module")
def panoptic(tiny_network: dict[str, Any]) -> MaskRcnn:
    head = {"semantic_head.is_on": True, "semantic_head.categories": STUFF, "semantic_head.channels": 32}
    return build_model(load_recipe("mask_rcnn", {**tiny_network, **head})).eval()


@pytest.fixture(scope="module")
def make(tiny_network: dict[str, Any]) -> Callable[..., SemanticFpn]:
    def make(**changes: Any) -> SemanticFpn:
        head = {"semantic_head.is_on": True, "semantic_head.categories": STUFF, "semantic_head.channels": 32}
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        return build_model(load_recipe("mask_rcnn", {**tiny_network, **head, **ALONE, **dotted})).eval()

    return make


@pytest.fixture(scope="module")
def model(make: Callable[..., SemanticFpn], panoptic: MaskRcnn) -> SemanticFpn:
    """With the weights of `panoptic`."""
    model = make()
    own = set(model.state_dict())
    model.load_state_dict({name: value for name, value in panoptic.state_dict().items() if name in own})
    return model


@pytest.fixture
def with_maps(targets: list[Targets]) -> list[Targets]:
    generator = torch.Generator().manual_seed(4)
    return [target.with_semantic(torch.randint(3, target.size, generator=generator)) for target in targets]


def test_its_weights_are_those_of_a_panoptic_fpn_but_for_the_objects(model: SemanticFpn, panoptic: MaskRcnn) -> None:
    shapes = {name: value.shape for name, value in panoptic.state_dict().items()}
    parts = ("backbone.", "fpn.", "semantic_head.")
    assert {name: value.shape for name, value in model.state_dict().items()} == {
        name: shape for name, shape in shapes.items() if name.startswith(parts)
    }


def test_with_its_weights_it_gives_the_semantic_maps_of_a_panoptic_fpn(
    model: SemanticFpn, panoptic: MaskRcnn, batch: ImageBatch
) -> None:
    with torch.no_grad():
        pairs = list(zip(model(batch), panoptic(batch), strict=True))
    for ours, theirs in pairs:
        assert ours.semantic is not None and theirs.semantic is not None
        assert torch.equal(ours.semantic.logits(), theirs.semantic.logits())


def test_its_loss_is_the_semantic_one_of_a_panoptic_fpn(
    model: SemanticFpn, panoptic: MaskRcnn, batch: ImageBatch, with_maps: list[Targets]
) -> None:
    losses = model(batch, with_maps)
    assert list(losses) == ["semantic"]
    assert losses["semantic"].mean().item() == panoptic(batch, with_maps)["semantic"].mean().item()


def test_the_loss_reaches_every_weight(make: Callable[..., SemanticFpn], batch: Any, with_maps: list[Targets]) -> None:
    model = make()
    model.losses(batch, with_maps)["semantic"].mean().backward()
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    reached = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert trained == reached


def test_it_finds_no_objects_whatever_the_threshold(model: SemanticFpn, batch: ImageBatch) -> None:
    for found in model.detect(batch, Limits(0.0, 5)):
        restored = found.restored_to((30, 40)).to("cpu")
        assert len(found) == len(restored) == len(found[:3]) == len(found.above(0.0)) == 0
        assert restored.to_coco(1) == []
        assert restored.masks is not None and restored.masks.bitmaps().shape == (0, 30, 40)
        assert found.categories.names == ("brick", "egg", "star")


def test_its_panoptic_map_is_stuff_alone(make: Callable[..., SemanticFpn], batch: ImageBatch) -> None:
    found = make(panoptic__min_stuff_px=1, semantic_head__has_things=False).detect(batch)[0].restored_to((30, 40))
    panoptic = found.panoptic()
    assert panoptic.ids.all()
    assert not any(segment["isthing"] for segment in panoptic.segments)
    assert sum(segment["area"] for segment in panoptic.segments) == 30 * 40
    assert found.semantic is not None
    labels = found.semantic.labels().numpy()
    for segment in panoptic.segments:
        assert ((panoptic.ids == segment["id"]) == (labels == segment["label"])).all()


def test_its_stuff_is_drawn(make: Callable[..., SemanticFpn], batch: ImageBatch) -> None:
    found = make(panoptic__min_stuff_px=1, semantic_head__has_things=False).detect(batch)[0]
    picture = draw_instances(np.zeros((*found.size, 3), dtype=np.uint8), found, opacity=1.0)
    assert found.semantic is not None
    wanted = np.array([colour_of(3 + label) for label in range(2)])[found.semantic.labels().numpy()] / 2
    assert np.abs(picture - wanted).max() <= 0.5


def test_it_needs_no_things_but_stuff(tiny_network: dict[str, Any], make: Callable[..., SemanticFpn]) -> None:
    model = make(categories=[], semantic_head__has_things=False)
    assert (len(model.categories), model.semantic_head.logits.out_channels) == (0, 2)
