"""Every two-stage recipe is a network that can be built; shrunk, each kind of them learns and detects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from maskwright.config import load_recipe, recipe_names
from maskwright.models.build import build_model
from maskwright.models.mask_rcnn.build import build_mask_rcnn
from maskwright.models.mask_rcnn.mask_head import FcnMaskHead, MlpMaskHead
from maskwright.models.mask_rcnn.model import MaskRcnn
from maskwright.models.segmenter import Limits
from maskwright.structures import ImageBatch, Targets

TWO_STAGE = [name for name in recipe_names() if "yolact" not in name]
# the forms that recipes have and ablations that no recipe has: recipe and what is changed
V1 = "torchvision/mask_rcnn_r50_fpn"
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "faster": ("torchvision/faster_rcnn_r50_fpn", {}),
    "faster v2": ("torchvision/faster_rcnn_r50_fpn_v2", {}),
    "keypoint": ("torchvision/keypoint_rcnn_r50_fpn", {"keypoint_head.num_convs": 2, "keypoint_head.channels": 16}),
    "fpn": ("detectron2/mask_rcnn_r50_fpn", {}),
    "agnostic": ("detectron2/mask_rcnn_r50_fpn_1x_agnostic", {}),
    "deformable": ("detectron2/mask_rcnn_r50_fpn_1x_dconv", {"backbone.depth": 50}),
    "group": ("detectron2/mask_rcnn_r50_fpn_3x_gn", {}),
    "syncbn": ("detectron2/mask_rcnn_r50_fpn_3x_syncbn", {}),
    "c4": ("detectron2/mask_rcnn_r50_c4", {}),
    "c4 bottlenecks": ("detectron2/mask_rcnn_r50_c4", {"backbone.depth": 50}),
    "c4 faster": ("detectron2/faster_rcnn_r50_c4", {}),
    "c4 mlp": ("detectron2/mask_rcnn_r50_c4", {"mask_head.kind": "mlp"}),
    "dc5": ("detectron2/mask_rcnn_r50_dc5", {}),
    "cascade": ("detectron2/cascade_mask_rcnn_r50_fpn", {}),
    "x152": ("detectron2/cascade_mask_rcnn_x152_fpn_gn_dconv", {"backbone.depth": 50, "backbone.groups": 4}),
    "panoptic": ("detectron2/panoptic_fpn_r50", {"semantic_head.channels": 32}),
    "panoptic cascade": (
        "detectron2/panoptic_fpn_r101_3x_gn_dconv_cascade",
        {"semantic_head.channels": 32, "backbone.depth": 50},
    ),
    # without true boxes among its proposals, only many of them are sure to meet an object
    "matterport": (
        "matterport/mask_rcnn_r50",
        {"rpn.channels": 16, "rpn.train_proposals_before_nms": 1000, "rpn.train_proposals_after_nms": 1000},
    ),
    "simple": ("simple/mask_rcnn_r50", {}),
    "mlp": (V1, {"mask_head.kind": "mlp"}),
    "softmax": (V1, {"mask_head.is_softmax": True}),
    "agnostic masks": (V1, {"mask_head.is_class_agnostic": True}),
    "pool": (V1, {"roi.pooling": "pool"}),
    "align max": (V1, {"roi.pooling": "align_max"}),
    "cropped": (V1, {"mask_head.targets": "cropped", "roi.pooling": "crop_and_resize"}),
}


@pytest.fixture
def shrunk(tiny_network):
    """A tiny network of one of the forms, with weights that give scores and boxes some spread."""

    def make(form: str) -> MaskRcnn:
        name, changes = FORMS[form]
        tiny = {key: value for key, value in tiny_network.items() if key != "anchors.sizes_px"}
        sizes = [[8], [16], [32], [48], [64]] if load_recipe(name).neck == "fpn" else [[8, 16, 32, 48]]
        if "keypoint" in form:
            del tiny["categories"]
        model = build_model(load_recipe(name, {**tiny, "anchors.sizes_px": sizes, **changes}))
        with torch.no_grad():
            model.rpn.head.objectness.weight.mul_(10)
            for head in (model.box_head, *model.cascade):
                head.class_logits.weight.mul_(10)
        return model.eval()

    return make


@pytest.fixture
def annotated(targets) -> list[Targets]:
    """With keypoints and a semantic map, for the heads that learn from these."""
    found = []
    for target in targets:
        centres = (target.boxes[:, None, :2] + target.boxes[:, None, 2:]).expand(-1, 17, 2) / 2
        keypoints = torch.cat([centres, torch.full_like(centres[:, :, :1], 2)], dim=2)
        labels = torch.zeros_like(target.labels)
        semantic = (torch.arange(target.size[0] * target.size[1]) % 5).reshape(target.size).to(torch.uint8)
        found.append(replace(target, keypoints=keypoints, semantic=semantic, labels=labels))
    return found


def loss_names(model: MaskRcnn) -> set[str]:
    own = {"mask_head": "mask", "keypoint_head": "keypoint"}
    semantic = set() if model.semantic_head is None else {"semantic"}
    return {"rpn_objectness", "rpn_box", "class", "box"} | {own[name] for name in model.heads} | semantic


@pytest.mark.parametrize("name", TWO_STAGE)
def test_every_recipe_is_a_network(name) -> None:
    recipe = load_recipe(name, {"categories": ["one", "two"]})
    with torch.device("meta"):
        model = build_mask_rcnn(recipe)
    assert isinstance(model, MaskRcnn) is recipe.rpn.is_on
    if recipe.rpn.is_on:
        assert model.box_head.class_logits.out_features == 3
        assert ("mask_head" in model.heads) is recipe.mask_head.is_on
        assert len(model.cascade) == (2 if recipe.cascade.is_on else 0)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_learns(shrunk, batch, annotated, form) -> None:
    model = shrunk(form).train()
    losses = model.losses(batch, annotated)
    assert set(losses) == loss_names(model)
    assert all(loss.mean().isfinite() and loss.mean() > 0 for loss in losses.values())
    sum(loss.mean() for loss in losses.values()).backward()
    assert without_gradient(model) == []


def without_gradient(model: nn.Module) -> list[str]:
    named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    assert named
    return [name for name, one in named if one.grad is None or not one.grad.isfinite().all()]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_learns_from_images_without_objects(shrunk, batch, make_targets, form) -> None:
    model = shrunk(form).train()
    nothing: Sequence[Targets] = [make_targets([])] * 2
    losses = model.losses(batch, nothing)
    values = {name: loss.mean().item() for name, loss in losses.items()}
    assert all(values[name] == 0 for name in {"rpn_box", "box", "mask", "keypoint", "semantic"} & set(values))
    sum(loss.mean() for loss in losses.values()).backward()
    assert without_gradient(model) == []
    assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_detects_and_a_batch_is_its_images(shrunk, batch, form) -> None:
    model = shrunk(form)
    with torch.inference_mode():
        together = model.detect(batch, Limits(0.0, 20))
        alone = [
            model.detect(replace(batch, pixels=batch.pixels[[at]], sizes=(size,), keys=(0,)), Limits(0.0, 20))[0]
            for at, size in enumerate(batch.sizes)
        ]
    assert sum(len(found) for found in together) > 0
    for found, same in zip(together, alone, strict=True):
        assert found.boxes.isfinite().all() and found.scores.isfinite().all()
        assert (found.masks is None) == ("mask_head" not in model.heads)
        assert (found.keypoints is None) == ("keypoint_head" not in model.heads)
        assert (found.semantic is None) == (model.semantic_head is None)
        assert found.masks is None or len(found.masks.rle()) == len(found)
        assert found.labels.tolist() == same.labels.tolist()
        torch.testing.assert_close(found.boxes, same.boxes, rtol=0, atol=1e-2)
        torch.testing.assert_close(found.scores, same.scores, rtol=0, atol=1e-4)


def test_a_c4_networks_heads_share_the_fifth_stage_and_it_halves_what_is_pooled(shrunk, batch) -> None:
    model = shrunk("c4 bottlenecks")
    with torch.inference_mode():
        levels = model.encode(batch)
        assert [tuple(level.shape) for level in levels] == [(2, model.backbone.channels[-1], 4, 6)]
        features = model._features(levels)
        rois = [torch.tensor([[5.0, 5.0, 50.0, 40.0]])] * 2
        pooled, unshared = features.pool(rois, 14), replace(features, shared=nn.Identity()).pool(rois, 14)
        assert pooled.shape == (2, 2 * model.backbone.channels[-1], 7, 7)
        assert torch.equal(pooled, model.res5(unshared))
    assert model.strides_px == (16,) and model.mask_head.rule.mask_px == 14
    assert any(parameter.requires_grad for parameter in model.res5.parameters())


def test_a_dilated_network_keeps_its_last_stage_at_half_the_stride(shrunk, batch) -> None:
    model = shrunk("dc5")
    with torch.inference_mode():
        assert [tuple(level.shape[2:]) for level in model.encode(batch)] == [(4, 6)]
    assert model.strides_px == (16,) and model.res5 is None


def test_a_single_level_of_stride_32_is_two_convolutions_of_the_last_stage(shrunk, batch) -> None:
    model = shrunk("simple")
    with torch.inference_mode():
        stage = model.backbone(batch.pixels)[-1]
        (level,) = model.encode(batch)
        assert level.shape == (2, 16, 2, 3)
        wanted = model.fpn.output.conv(model.fpn.lateral.conv(stage))
    torch.testing.assert_close(level, wanted, rtol=1e-4, atol=1e-4)


def test_ablations_change_the_head_they_name(shrunk) -> None:
    assert isinstance(shrunk("mlp").mask_head, MlpMaskHead) and isinstance(shrunk("softmax").mask_head, FcnMaskHead)
    assert shrunk("c4 mlp").mask_head.fcs[0].in_features == 2 * shrunk("c4 mlp").backbone.channels[-1] * 7**2
    assert shrunk("softmax").mask_head.rule.num_channels == 4
    assert shrunk("agnostic masks").mask_head.rule.num_channels == 1
    assert shrunk("agnostic").box_head.num_boxes == 1


# images that do not lie at the top left


CORNERS = ((0, 16), (24, 8))


def in_corners(batch: ImageBatch) -> ImageBatch:
    """The same pixels, of which a part is the image."""
    return replace(batch, sizes=((64, 64), (40, 72)), corners=CORNERS)


def test_the_losses_of_images_in_corners_are_those_of_their_objects_moved(shrunk, batch, targets) -> None:
    model, placed = shrunk("matterport"), in_corners(batch)
    small = [
        replace(one, boxes=one.boxes.clamp(max=36), size=size) for one, size in zip(targets, placed.sizes, strict=True)
    ]
    moved = [one.moved(*corner, (64, 96)) for one, corner in zip(small, CORNERS, strict=True)]
    with torch.no_grad():
        found, wanted = model.losses(placed, small), model.losses(batch, moved)
    assert found["box"].total > 0 and found["mask"].total > 0
    for name, loss in found.items():
        assert (loss.total, loss.count) == (wanted[name].total, wanted[name].count)


@pytest.mark.parametrize("form", ["matterport", "cascade", "keypoint"])
def test_detections_of_images_in_corners_are_in_pixels_of_these(shrunk, batch, form) -> None:
    model = shrunk(form)
    with torch.inference_mode():
        found = model.detect(in_corners(batch), Limits(0.0, 50))
    for image, (height, width) in zip(found, in_corners(batch).sizes, strict=True):
        assert len(image) > 0 and image.size == (height, width)
        assert image.boxes.min() >= 0 and image.boxes[:, 2].max() <= width and image.boxes[:, 3].max() <= height
        assert image.masks is None or torch.equal(image.masks.boxes, image.boxes)
        if image.keypoints is not None:
            assert (image.keypoints[:, :, :2] >= image.boxes[:, None, :2] - 1).all()
            assert (image.keypoints[:, :, :2] <= image.boxes[:, None, 2:] + 1).all()
