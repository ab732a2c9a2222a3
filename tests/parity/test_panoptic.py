"""detectron2's Panoptic FPN gives here the numbers that detectron2 gave: semantic logits, the panoptic map, the loss.

Merging is also tested by itself, on what the reference itself had before it merged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import maskwright as mw
from maskwright.checkpoints.detectron2 import from_detectron2
from maskwright.config.categories import named_categories
from maskwright.predict.losses import loss_sums
from maskwright.structures import Categories, CropMasks, PanopticMap
from maskwright.structures.panoptic_map import merge_panoptic
from maskwright.structures.semantic_map import PanopticClasses, PanopticRule

LOGITS = 5e-4
LOSSES = 1e-4
GRADIENTS = 2e-3

RULE = PanopticRule(score_threshold=0.5, overlap_share=0.5, min_stuff_px=4096)
CLASSES = PanopticClasses(
    *(Categories.of([category.model_dump() for category in named_categories(name)]) for name in ("coco", "coco_stuff")),
    has_things=True,
)


def in_words_of_the_reference(panoptic: PanopticMap) -> list[dict[str, Any]]:
    """Its segments: classes by their index, that of stuff counted from the output for things."""
    facts = {True: ("score", "instance_id"), False: ("area",)}
    return [
        {
            "id": segment["id"],
            "isthing": segment["isthing"],
            "category_id": segment["label"] + (not segment["isthing"]),
            **{key: value for key, value in segment.items() if key in facts[segment["isthing"]]},
        }
        for segment in panoptic.segments
    ]


@pytest.fixture(scope="module")
def predictor(panoptic_case, tmp_path_factory) -> mw.Predictor:
    checkpoint: Path = tmp_path_factory.mktemp("weights") / "reference.pth"
    torch.save({"model": panoptic_case.weights()}, checkpoint)
    # samplers so large that they take all candidates: no chance is left in the losses
    overrides = {
        "rpn.anchors_per_image": panoptic_case.training["train_config"]["MODEL.RPN.BATCH_SIZE_PER_IMAGE"],
        "roi.rois_per_image": panoptic_case.training["train_config"]["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE"],
    }
    return mw.load("detectron2/panoptic_fpn_r50", weights=checkpoint, device="cpu", overrides=overrides)


@pytest.fixture(scope="module")
def found(panoptic_case, predictor) -> mw.Instances:
    return predictor(panoptic_case.image)


@pytest.fixture(scope="module")
def targets(panoptic_case, predictor) -> mw.Targets:
    recorded = panoptic_case.training["targets"][0]
    rows = zip(recorded["boxes_xywh"], recorded["labels"], recorded["segmentation"], strict=True)
    annotations = [
        {"bbox": box, "category_id": predictor.categories.ids[label], "segmentation": polygons}
        for box, label, polygons in rows
    ]
    objects = mw.Targets.from_coco(annotations, (recorded["height"], recorded["width"]), predictor.categories)
    with Image.open(panoptic_case.folder / "train_sem_seg.png") as picture:
        return objects.with_semantic(np.array(picture))


def test_recorded_instances_and_classes_merge_to_the_recorded_map(panoptic_case) -> None:
    expected = panoptic_case.expected
    merged = merge_panoptic(
        CropMasks.from_rle(panoptic_case.mask_rles, expected["final/0/sem_seg_argmax"].shape),
        torch.from_numpy(expected["final/0/labels"]),
        torch.from_numpy(expected["final/0/scores"]),
        torch.from_numpy(expected["final/0/sem_seg_argmax"]),
        CLASSES,
        RULE,
    )
    assert np.array_equal(merged.ids, expected["final/0/panoptic_seg"])
    assert in_words_of_the_reference(merged) == panoptic_case.segments


def test_semantic_logits_in_the_network_input_agree(panoptic_case, found) -> None:
    semantic = found.semantic
    height, width = semantic.input_size
    fine = F.interpolate(semantic.grid[None], scale_factor=4.0, mode="bilinear", align_corners=False)
    _, num_outputs, padded_height, padded_width = panoptic_case.expected["sem_seg/logits_network/shape"].tolist()
    idx = torch.from_numpy(panoptic_case.expected["sem_seg/logits_network/idx"])
    indices = torch.unravel_index(idx, (num_outputs, padded_height, padded_width))
    is_inside = (indices[1] < height) & (indices[2] < width)
    assert is_inside.float().mean() > 0.9
    recorded = torch.from_numpy(panoptic_case.expected["sem_seg/logits_network/val"])[is_inside]
    ours = fine[0][tuple(axis[is_inside] for axis in indices)]
    assert (ours - recorded).abs().max() < LOGITS


def test_semantic_logits_and_labels_of_the_image_agree(panoptic_case, found) -> None:
    logits = found.semantic.logits()
    assert panoptic_case.largest_difference("final/0/sem_seg_logits", logits) < LOGITS
    labels = found.semantic.labels()
    assert (labels.numpy() == panoptic_case.expected["final/0/sem_seg_argmax"]).mean() > 0.9999
    assert torch.equal(labels.long(), logits.argmax(dim=0))


def test_panoptic_map_agrees_but_for_a_few_pixels(panoptic_case, found) -> None:
    panoptic = found.panoptic()
    assert (panoptic.ids == panoptic_case.expected["final/0/panoptic_seg"]).mean() > 0.9999
    ours, recorded = in_words_of_the_reference(panoptic), panoptic_case.segments
    assert [segment.keys() for segment in ours] == [segment.keys() for segment in recorded]
    for key in ("id", "isthing", "category_id", "instance_id"):
        assert [segment.get(key) for segment in ours] == [segment.get(key) for segment in recorded]
    assert [segment.get("score", 0) for segment in ours] == pytest.approx(
        [segment.get("score", 0) for segment in recorded], abs=1e-4
    )
    assert [segment.get("area", 0) for segment in ours] == pytest.approx(
        [segment.get("area", 0) for segment in recorded], abs=30
    )


def test_semantic_loss_agrees(panoptic_case, predictor, targets) -> None:
    found = mw.losses(predictor, [panoptic_case.image], [targets])
    assert found["semantic"] == pytest.approx(panoptic_case.training["losses"]["loss_sem_seg"], rel=LOSSES)
    assert sum(found.values()) == pytest.approx(panoptic_case.training["total"], rel=LOSSES)


@pytest.mark.slow
def test_gradients_agree(panoptic_case, predictor, targets) -> None:
    sums = loss_sums(predictor, [panoptic_case.image], [targets])
    torch.stack([loss.mean() for loss in sums.values()]).sum().backward()
    gradients = {
        name: parameter.grad for name, parameter in predictor.model.named_parameters() if parameter.grad is not None
    }
    predictor.model.zero_grad(set_to_none=True)
    drawn = panoptic_case.weights()
    ours = dict(zip(drawn, from_detectron2(drawn), strict=True))
    recorded = panoptic_case.training["grad_norms"]
    found = {name: gradients[ours[name]].norm().item() for name in recorded}
    assert found == {name: pytest.approx(norms["l2"], rel=GRADIENTS) for name, norms in recorded.items()}
    assert len(gradients) == panoptic_case.training["n_params_with_grad"]
