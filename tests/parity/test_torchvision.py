"""torchvision's Mask R-CNNs give here the numbers that torchvision gave, from the input to gradients.

Limits are a few times what another thread count or convolution backend changed in the reference itself. Proposals and
detections are matched by overlap, since nearly equal scores may change places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

import maskwright as mw
from maskwright.checkpoints.torchvision import from_torchvision
from maskwright.images.read import read_image
from maskwright.predict.losses import loss_sums

INPUT = 2e-6
MAPS = 1e-4
HEADS = 5e-4
BOXES_PX = 0.02
SCORES = 1e-4
MASK_PROBABILITIES = 1e-3
LOSSES = 1e-4
GRADIENTS = 2e-3

LOSS_NAMES = {
    "loss_objectness": "rpn_objectness",
    "loss_rpn_box_reg": "rpn_box",
    "loss_classifier": "class",
    "loss_box_reg": "box",
    "loss_mask": "mask",
}


@dataclass(frozen=True)
class Trace:
    """One prediction with what went by inside the network."""

    batch: Any
    stages: list[Tensor]
    levels: list[Tensor]
    rpn: Any
    in_input: mw.Instances
    in_image: mw.Instances


@pytest.fixture(scope="module")
def recipe(case) -> str:
    return {"maskrcnn_resnet50_fpn": "torchvision/mask_rcnn_r50_fpn"}.get(
        case.config["model"], "torchvision/mask_rcnn_r50_fpn_v2"
    )


@pytest.fixture(scope="module")
def checkpoint(case, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "reference.pth"
    torch.save(case.weights(), path)
    return path


@pytest.fixture(scope="module")
def predictor(case, recipe, checkpoint) -> mw.Predictor:
    # samplers so large that they take all candidates: no chance is left in the losses
    overrides = {
        "detect.score_threshold": case.config["defaults"]["box_score_thresh"],
        "backbone.frozen_stages": 0,
        "rpn.anchors_per_image": 1_000_000,
        "roi.rois_per_image": 16_384,
        "rpn.train_proposals_after_nms": case.config["train_post_nms_top_n"],
    }
    return mw.load(recipe, weights=checkpoint, device="cpu", overrides=overrides)


@pytest.fixture(scope="module")
def trace(case, predictor) -> Trace:
    """The public call, once, with hooks on the parts."""
    model, seen = predictor.model, {}
    parts = {"stages": model.backbone, "levels": model.fpn, "rpn": model.rpn}
    hooks = [
        part.register_forward_hook(lambda _module, _inputs, output, name=name: seen.__setitem__(name, output))
        for name, part in parts.items()
    ]
    found = predictor(case.image)
    for hook in hooks:
        hook.remove()
    size = predictor.preprocess.resize.scaled_size(found.size)
    batch = predictor.preprocess.batch([read_image(case.image)])
    return Trace(batch=batch, in_input=found.restored_to(size), in_image=found, **seen)


@pytest.fixture(scope="module")
def targets(case, predictor) -> mw.Targets:
    target = case.training["targets"][0]
    annotations = [
        {"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": label, "segmentation": rle}
        for (x1, y1, x2, y2), label, rle in zip(target["boxes"], target["labels"], target["masks_rle"], strict=True)
    ]
    size = tuple(target["masks_rle"][0]["size"])
    return mw.Targets.from_coco(annotations, size, predictor.categories)


def matching(boxes: Tensor, labels: Tensor, recorded_boxes: Tensor, recorded_labels: Tensor) -> Tensor:
    """The place of each recorded detection among ours: same class, largest overlap; each place once."""
    overlaps = box_iou(recorded_boxes, boxes) * (recorded_labels[:, None] == labels[None, :])
    places = overlaps.argmax(dim=1)
    assert len(boxes) == len(recorded_boxes)
    assert sorted(places.tolist()) == list(range(len(boxes)))
    return places


@pytest.fixture(scope="module")
def places(case, trace) -> Tensor:
    expected = case.expected
    labels = torch.from_numpy(expected["final/0/labels"]) - 1  # background is torchvision's label 0
    return matching(trace.in_image.boxes, trace.in_image.labels, torch.from_numpy(expected["final/0/boxes"]), labels)


def test_a_checkpoint_alone_is_recognised(checkpoint, recipe, predictor) -> None:
    recognised = mw.load(checkpoint, device="cpu")
    assert recognised.recipe.name == recipe
    assert recognised.recipe.backbone == predictor.recipe.backbone.model_copy(
        update={"frozen_stages": recognised.recipe.backbone.frozen_stages}
    )
    wanted = predictor.model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in recognised.model.state_dict().items())


def test_network_input_agrees_to_the_last_bits(case, trace) -> None:
    assert [list(size) for size in trace.batch.sizes] == case.expected["input/image_sizes"].tolist()
    assert case.largest_difference("input", trace.batch.pixels) < INPUT


def test_backbone_and_pyramid_agree(case, trace) -> None:
    names = [f"feat/body_{stage}" for stage in range(4)] + [f"feat/fpn_{level}" for level in (0, 1, 2, 3, "pool")]
    maps = [*trace.stages, *trace.levels]
    differences = {name: case.largest_difference(name, map_) for name, map_ in zip(names, maps, strict=True)}
    assert max(differences.values()) < MAPS, differences


def test_proposal_maps_agree_on_every_level(case, trace) -> None:
    logits = trace.rpn.logits.split(trace.rpn.level_counts, dim=1)
    deltas = trace.rpn.deltas.split(trace.rpn.level_counts, dim=1)
    for level, features in enumerate(trace.levels):
        grid = features.shape[-2:]
        objectness_map = logits[level].unflatten(1, (*grid, -1)).permute(0, 3, 1, 2)
        delta_map = deltas[level].reshape(1, *grid, -1).permute(0, 3, 1, 2)
        assert case.largest_difference(f"rpn/level{level}/objectness", objectness_map) < MAPS
        assert case.largest_difference(f"rpn/level{level}/deltas", delta_map) < MAPS


def test_anchors_are_the_same_to_the_bit(case, trace) -> None:
    assert case.largest_row_difference("anchors", trace.rpn.anchors) == 0


def test_proposals_are_the_same_but_for_a_few_at_the_end(case, predictor, trace) -> None:
    model = predictor.model
    (proposals,) = model.rpn.propose(trace.rpn, trace.batch, model.test_proposals)
    recorded = torch.from_numpy(case.expected["proposals/0/boxes"])
    assert len(proposals) == len(recorded)
    overlap, place = box_iou(recorded, proposals).max(dim=1)
    is_found = overlap > 0.9
    assert (~is_found).sum() <= 3
    assert (proposals[place] - recorded)[is_found].abs().max() < BOXES_PX


@torch.inference_mode()
def test_box_head_agrees_on_the_recorded_proposals(case, predictor, trace) -> None:
    model = predictor.model
    recorded = torch.from_numpy(case.expected["proposals/0/boxes"])
    pooled = model.pooling.pool(trace.levels[:-1], model.backbone.strides_px, [recorded], model.box_head.pool_px)
    class_logits, deltas = model.box_head(pooled)
    background_first = class_logits.roll(1, dims=1)
    assert case.largest_row_difference("box/class_logits", background_first) < HEADS
    # torchvision predicts deltas for the background too, which nothing reads
    rows = case.expected["box/deltas/rows_idx"]
    recorded_deltas = torch.from_numpy(case.expected["box/deltas/rows"])[:, 4:]
    assert (deltas[rows].flatten(1) - recorded_deltas).abs().max() < HEADS


def test_detections_in_the_network_input_agree(case, trace) -> None:
    boxes = torch.from_numpy(case.expected["roi/0/boxes"])
    labels = torch.from_numpy(case.expected["roi/0/labels"]) - 1
    places = matching(trace.in_input.boxes, trace.in_input.labels, boxes, labels)
    assert (trace.in_input.boxes[places] - boxes).abs().max() < 2 * BOXES_PX  # the input is larger than the image
    probabilities = trace.in_input.masks.probabilities[places]
    assert (probabilities - torch.from_numpy(case.expected["roi/0/mask_probs"])).abs().max() < MASK_PROBABILITIES


def test_final_boxes_scores_and_labels_agree(case, trace, places) -> None:
    final = trace.in_image[places]
    assert (final.boxes - torch.from_numpy(case.expected["final/0/boxes"])).abs().max() < BOXES_PX
    assert (final.scores - torch.from_numpy(case.expected["final/0/scores"])).abs().max() < SCORES
    assert final.labels.tolist() == (case.expected["final/0/labels"] - 1).tolist()


def test_final_masks_agree_but_for_a_few_pixels(case, trace, places) -> None:
    from pycocotools import mask as coco_mask

    bitmaps = trace.in_image[places].masks.bitmaps()
    recorded = coco_mask.decode(case.mask_rles).transpose(2, 0, 1).astype(bool)
    num_different = (bitmaps ^ recorded).sum(axis=(1, 2))
    union = (bitmaps | recorded).sum(axis=(1, 2))
    assert num_different.max() <= 3
    # empty against empty is agreement
    assert (1 - num_different / np.maximum(union, 1)).min() > 0.995


def test_losses_agree(case, predictor, targets) -> None:
    found = mw.losses(predictor, [case.image], [targets])
    assert found == {
        LOSS_NAMES[name]: pytest.approx(value, rel=LOSSES) for name, value in case.training["losses"].items()
    }


# the backward pass of the second takes most of a minute
with_gradients = pytest.mark.parametrize(
    "case",
    ["maskrcnn_resnet50_fpn", pytest.param("maskrcnn_resnet50_fpn_v2", marks=pytest.mark.slow)],
    ids=["torchvision-v1", "torchvision-v2"],
    indirect=True,
    scope="session",
)


@pytest.fixture(scope="module")
def gradients(case, predictor, targets) -> dict[str, Tensor]:
    """The gradient of the summed losses, under torchvision's names."""
    sums = loss_sums(predictor, [case.image], [targets])
    torch.stack([loss.mean() for loss in sums.values()]).sum().backward()
    ours = {name: parameter.grad for name, parameter in predictor.model.named_parameters()}
    predictor.model.zero_grad(set_to_none=True)
    drawn = case.weights()
    names = zip(drawn, from_torchvision(drawn), strict=True)
    return {theirs: ours[name] for theirs, name in names if ours.get(name) is not None}


@with_gradients
def test_gradients_agree(case, gradients) -> None:
    recorded = case.training["grad_norms"]
    found = {name: gradients[name].norm().item() for name in recorded}
    assert found == {name: pytest.approx(norms["l2"], rel=GRADIENTS) for name, norms in recorded.items()}


@with_gradients
def test_every_parameter_of_the_reference_has_a_gradient(case, gradients) -> None:
    assert len(gradients) == case.training["n_params_with_grad"]
    total = math.sqrt(sum(gradient.double().square().sum().item() for gradient in gradients.values()))
    assert total == pytest.approx(case.training["total_grad_norm"], rel=GRADIENTS)
