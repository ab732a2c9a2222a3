"""Heads on RoIs as the network sees them: a name, losses, and columns of `Instances`."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from maskwright.models.mask_rcnn.model import MaskRcnn
from maskwright.models.mask_rcnn.roi_head import Columns, RoiHead
from maskwright.ops.losses import loss_sum


class MeanHead(RoiHead):
    """One number for each RoI: a linear layer on the mean of its features."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Linear(16, 1)

    def losses(self, features, samples, truth, keys):
        assert len(samples) == len(truth) == len(keys) == len(features.levels[0])
        values = self(features, [sample.positives().rois for sample in samples])
        return {"quality": loss_sum((values - 1).square().sum(), len(values))}

    def detect(self, features, selected, batch) -> Columns:
        values = self(features, [found.boxes for found in selected])
        assert len(batch.sizes) == len(selected)
        return {"mask_scores": values.split([len(found.boxes) for found in selected])}

    def forward(self, features, rois):
        return self.value(features.pool(rois, 3).mean(dim=(2, 3)))[:, 0]


def with_head(model: MaskRcnn, head: RoiHead) -> MaskRcnn:
    """The same network with a head more."""
    return MaskRcnn(
        backbone=model.backbone,
        fpn=model.fpn,
        strides_px=model.strides_px,
        rpn=model.rpn,
        shared=model.res5,
        boxes=model.boxes,
        heads={**model.heads, "mean_head": head},
        semantic_head=model.semantic_head,
        roi=model.roi,
        train_proposals=model.train_proposals,
        test_proposals=model.test_proposals,
        detection=model.detection,
        categories=model.categories,
    ).eval()


def test_a_further_head_adds_its_weights_its_loss_and_its_column(build, batch, targets) -> None:
    plain = build()
    model = with_head(plain, MeanHead())
    assert list(model.heads) == ["mask_head", "mean_head"]
    assert model.state_dict().keys() - plain.state_dict().keys() == {"mean_head.value.weight", "mean_head.value.bias"}
    assert list(model.losses(batch, targets)) == [*plain.losses(batch, targets), "quality"]
    for found, before in zip(model.detect(batch), plain.detect(batch), strict=True):
        assert len(found) > 0 and torch.equal(found.boxes, before.boxes)
        assert found.mask_scores is not None and found.mask_scores.shape == (len(found),)
        assert found.masks is not None and before.mask_scores is None


def test_without_heads_there_are_boxes_only(build, batch, targets) -> None:
    model = build(mask_head__is_on=False)
    assert model.heads == {}
    assert set(model.losses(batch, targets)) == {"rpn_objectness", "rpn_box", "class", "box"}
    assert model.segment(model.encode(batch), batch, model.find(model.encode(batch), batch)) == [None, None]
    assert all(found.masks is None and found.keypoints is None for found in model.detect(batch))


def test_the_heads_of_a_copy_are_its_own(build) -> None:
    model = build(cascade__is_on=True, box_head__is_class_agnostic=True)
    copy = deepcopy(model)
    assert copy.boxes.heads == (copy.box_head, *copy.cascade)
    assert copy.boxes.first is not model.boxes.first and copy.heads["mask_head"] is not model.heads["mask_head"]
    names = {name.split(".")[0] for name in model.state_dict()}
    assert names == {"backbone", "fpn", "rpn", "box_head", "cascade", "mask_head"}
