"""Images of different sizes in one padded batch: detections and losses are those of torchvision's own Mask R-CNN."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from agreement import BOXES_PX, LOSS_NAMES, LOSSES, SCORES, matching
from torch import Tensor, nn
from torchvision.models.detection import maskrcnn_resnet50_fpn

import maskwright as mw
from maskwright.images.read import read_image
from maskwright.predict.losses import losses

SHORT_PX, LONG_PX, MANY = 192, 320, 16_384


@pytest.fixture(scope="module")
def case(case_of):
    return case_of("torchvision/maskrcnn_resnet50_fpn")


@pytest.fixture(scope="module")
def theirs(case) -> Any:
    numbers = {"rpn_batch_size_per_image": 1_000_000, "box_batch_size_per_image": MANY}
    sizes = {"min_size": SHORT_PX, "max_size": LONG_PX}
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, **sizes, **numbers)
    model.load_state_dict(case.weights())
    return model


@pytest.fixture(scope="module")
def predictor(checkpoint) -> mw.Predictor:
    overrides = {
        "resize.short_side": SHORT_PX,
        "resize.long_side": LONG_PX,
        "resize.pads_batches": True,
        "rpn.anchors_per_image": 1_000_000,
        "roi.rois_per_image": MANY,
    }
    return mw.load("torchvision/mask_rcnn_r50_fpn", checkpoint, device="cpu", overrides=overrides)


@pytest.fixture(scope="module")
def images(case) -> list[Tensor]:
    """One wide, one high."""
    image = read_image(case.image)
    return [image, image[:, 20:340, 100:300].contiguous()]


def test_detections_agree(theirs, predictor, images) -> None:
    with torch.inference_mode():
        wanted = theirs.eval()([image / 255 for image in images])
    batch = predictor.preprocess.batch(images)
    assert len(set(batch.sizes)) == 2
    assert all(size != batch.padded_size for size in batch.sizes)
    for found, reference in zip(predictor(images), wanted, strict=True):
        ours = found[matching(found.boxes, found.labels, reference["boxes"], reference["labels"] - 1)]
        assert (ours.boxes - reference["boxes"]).abs().max() < BOXES_PX
        assert (ours.scores - reference["scores"]).abs().max() < SCORES
        masks = torch.from_numpy(ours.masks.bitmaps())
        assert ((reference["masks"][:, 0] > 0.5) != masks).sum(dim=(1, 2)).max() <= 3
        assert len(ours) > 20


def test_losses_agree(case, theirs, predictor, images) -> None:
    whole = case.targets(predictor.categories)
    ours = [
        whole,
        mw.Targets.from_coco([square(60, 150, 80, 3), square(5, 20, 150, 17)], (320, 200), predictor.categories),
    ]
    reference = [
        {"boxes": one.boxes.float(), "labels": one.labels + 1, "masks": torch.from_numpy(one.masks.bitmaps()).byte()}
        for one in ours
    ]
    theirs.train()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    with torch.no_grad():
        wanted = theirs([image / 255 for image in images], reference)
    found = losses(predictor, images, ours)
    assert found == {LOSS_NAMES[name]: pytest.approx(value.item(), rel=LOSSES) for name, value in wanted.items()}


def square(x: int, y: int, side: int, category_id: int) -> dict[str, Any]:
    corners = [x, y, x + side, y, x + side, y + side, x, y + side]
    return {"bbox": [x, y, side, side], "category_id": category_id, "segmentation": [corners]}
