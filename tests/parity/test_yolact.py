"""YOLACT and YOLACT++ give here the numbers that their authors' code gave, from the input to gradients.

The photographs may not ship with the project, so these tests need ../shared. Limits are a few times what another
convolution backend or thread count changes; deformable convolutions make the ++ case the noisiest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hotcoco.mask
import pytest
import torch
from torch import Tensor

import maskwright as mw
from maskwright.checkpoints.yolact import from_yolact
from maskwright.images.read import read_image
from maskwright.models.yolact.anchor_targets import match_anchors
from maskwright.predict.losses import loss_sums

INPUT = 2e-5
MAPS = 2e-4
BOXES = 3e-5
SCORES = 5e-5
COEFFICIENTS = 1e-3
MASK_PROBABILITIES = 1e-3
LOSSES = 2e-4
GRADIENTS = 2e-3

LOSS_NAMES = {"B": "box", "C": "class", "M": "mask", "S": "semantic", "I": "mask_iou"}


@dataclass(frozen=True)
class Trace:
    """One prediction with what went by inside the network."""

    batch: Any
    stages: list[Tensor]
    levels: list[Tensor]
    prototypes: Tensor
    head: Any
    in_input: mw.Instances
    in_image: mw.Instances


@pytest.fixture(scope="module")
def checkpoint(yolact, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "reference.pth"
    torch.save(yolact.weights(), path)
    return path


@pytest.fixture(scope="module")
def predictor(yolact, checkpoint) -> mw.Predictor:
    limit = yolact.training["config"]["masks_to_train"]
    return mw.load(yolact.recipe, checkpoint, device="cpu", overrides={"losses.masks_per_image": limit})


@pytest.fixture(scope="module")
def trace(yolact, predictor) -> Trace:
    """The public call, once, with hooks on the parts."""
    model, seen = predictor.model, {}
    parts = {"stages": model.backbone, "levels": model.fpn, "prototypes": model.protonet, "head": model.head}
    hooks = [
        part.register_forward_hook(lambda _module, _inputs, output, name=name: seen.__setitem__(name, output))
        for name, part in parts.items()
    ]
    found = predictor(yolact.image)
    batch = predictor.preprocess.batch([read_image(yolact.image)])
    with torch.inference_mode():
        in_input = model.detect(batch)[0]
    for hook in hooks:
        hook.remove()
    return Trace(batch=batch, in_input=in_input, in_image=found, **seen)


def test_a_checkpoint_alone_is_recognised(checkpoint, yolact, predictor) -> None:
    recognised = mw.load(checkpoint, device="cpu")
    assert recognised.recipe.name == yolact.recipe
    wanted = predictor.model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in recognised.model.state_dict().items())


def test_network_input_agrees(yolact, trace) -> None:
    assert yolact.difference("input", trace.batch.pixels) < INPUT


def test_backbone_and_pyramid_agree(yolact, trace) -> None:
    assert all(yolact.difference(f"backbone.{index}", stage) < MAPS for index, stage in enumerate(trace.stages))
    assert all(yolact.difference(f"fpn.{index}", level) < MAPS for index, level in enumerate(trace.levels))


def test_prototypes_agree(yolact, trace) -> None:
    by_pixel = trace.prototypes[0].permute(1, 2, 0)
    assert yolact.difference("proto_hwc", by_pixel) < MAPS
    channels = torch.from_numpy(yolact.expected["proto_full.channels"])
    assert yolact.apart(by_pixel[..., channels], yolact.expected["proto_full"]) < MAPS


def test_anchors_agree(yolact, trace) -> None:
    corners = trace.head.anchors
    centred = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], dim=1)
    assert len(centred) == yolact.expected["priors.count"].item()
    assert yolact.apart(centred[:12], yolact.expected["priors.first"]) < 1e-6
    assert yolact.apart(centred[-12:], yolact.expected["priors.last"]) < 1e-6
    assert yolact.difference("priors", centred) < 1e-6


def test_head_agrees(yolact, trace) -> None:
    output = trace.head
    background_first = output.logits.roll(1, dims=-1)
    assert yolact.difference("raw.loc", output.deltas) < MAPS
    assert yolact.difference("raw.conf_logits", background_first) < MAPS
    assert yolact.difference("raw.conf_softmax", background_first.softmax(dim=-1)) < SCORES
    assert yolact.difference("raw.mask_tanh", output.coefficients) < COEFFICIENTS
    over = (output.scores()[0].amax(dim=1) > 0.05).sum().item()
    assert abs(over - yolact.expected["anchors_over_conf_thresh"].item()) <= 1


def test_detections_agree_in_their_order(yolact, trace) -> None:
    found, expected = trace.in_input, yolact.expected
    assert torch.equal(found.labels, torch.from_numpy(expected["det.class"]))
    assert yolact.apart(found.scores, expected["det.score"]) < SCORES
    assert yolact.apart(found.boxes / trace.batch.padded_size[0], expected["det.box"]) < BOXES
    assert yolact.apart(found.masks.coefficients, expected["det.mask"]) < COEFFICIENTS


def test_assembled_masks_agree(yolact, trace) -> None:
    masks = trace.in_input.masks
    assert yolact.difference("mask_prob_cropped_nhw", masks.probabilities()) < MASK_PROBABILITIES
    uncropped = torch.einsum("hwk,nk->hwn", masks.prototypes, masks.coefficients).sigmoid()
    assert yolact.difference("mask_prob_uncropped_hwn", uncropped) < MASK_PROBABILITIES


def test_final_boxes_and_scores_agree(yolact, trace) -> None:
    found, expected = trace.in_image, yolact.expected
    assert torch.equal(found.labels, torch.from_numpy(expected["final.class"]))
    scores = expected["final.score_box" if "final.score_box" in expected else "final.score"]
    assert yolact.apart(found.scores, scores) < SCORES
    off = (found.boxes - torch.from_numpy(expected["final.box"])).abs()
    assert off.max() <= 1
    assert (off > 0).sum() <= 2  # coordinates that lie next to a whole number


def test_masks_are_re_scored_in_plus_models(yolact, trace, predictor) -> None:
    found, expected = trace.in_image, yolact.expected
    if "final.score_mask" not in expected:
        assert found.mask_scores is None
        return
    with torch.inference_mode():
        ious = predictor.model.rescoring.of_all_classes(found.masks.probabilities())
    assert yolact.apart(ious, expected["maskiou.all_classes"]) < 1e-3
    assert yolact.apart(found.mask_scores, expected["final.score_mask"]) < 1e-3


def test_final_masks_agree_but_for_pixels_at_the_threshold(yolact, trace) -> None:
    expected = yolact.expected
    size = [int(side) for side in expected["final.mask_size"]]
    assert list(trace.in_image.size) == size
    bitmaps = trace.in_image.masks.bitmaps()
    rles = trace.in_image.masks.rle()
    for bitmap, rle, recorded, near in zip(
        bitmaps, rles, expected["final.mask_rle"], expected["final.near_threshold_pixels"], strict=True
    ):
        wanted = hotcoco.mask.decode({"size": size, "counts": bytes(recorded)}).astype(bool)
        assert (bitmap != wanted).sum() <= near
        assert (hotcoco.mask.decode(rle).astype(bool) == bitmap).all()


@pytest.fixture(scope="module")
def batch(yolact) -> tuple[list[Path], list[dict[str, Any]]]:
    images = yolact.training["images"]
    return [yolact.images / image["file"] for image in images], images


@pytest.fixture(scope="module")
def targets(predictor, batch) -> list[mw.Targets]:
    return [
        mw.Targets.from_coco(image["annotations"], tuple(image["original_size_hw"]), predictor.categories)
        for image in batch[1]
    ]


def test_anchors_are_matched_as_recorded(yolact, predictor, trace, batch, targets) -> None:
    for image, target in zip(batch[1], targets, strict=True):
        resized = predictor.preprocess.targets(target, trace.batch.padded_size)
        matched = match_anchors(trace.head.anchors, resized, resized.size, predictor.model.matching)
        recorded = image["matching"]
        assert matched.positives().tolist() == recorded["positive_anchor_index"]
        labels = (matched.labels[matched.objects[matched.positives()]] + 1).tolist()
        assert labels == recorded["positive_class_one_based"]
        assert (matched.objects == -2).sum().item() == recorded["neutral"]
        assert (matched.objects == -1).sum().item() == recorded["negatives"]


@pytest.fixture(scope="module")
def loss_values(predictor, batch, targets) -> dict[str, float]:
    return mw.losses(predictor, batch[0], targets)


def test_every_loss_agrees(yolact, loss_values) -> None:
    recorded = yolact.training["losses"]
    assert set(loss_values) == {LOSS_NAMES[name] for name in recorded}
    for name, value in recorded.items():
        assert loss_values[LOSS_NAMES[name]] == pytest.approx(value, rel=LOSSES), name


def test_gradients_agree(yolact, predictor, batch, targets) -> None:
    model = predictor.model
    # relative noise of 1e-6 on the weights of the ++ backbone moves these gradients by 3e-2 and more
    limit = GRADIENTS if model.rescoring is None else 5e-2
    model.zero_grad()
    total = sum(loss.mean() for loss in loss_sums(predictor, batch[0], targets).values())
    assert total.item() == pytest.approx(yolact.training["total"], rel=LOSSES)
    total.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for theirs, recorded in yolact.training["grad_l2"].items():
        (ours,) = from_yolact({theirs: torch.zeros(1)})
        assert gradients[ours].norm().item() == pytest.approx(recorded["l2"], rel=limit), theirs
