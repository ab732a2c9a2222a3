"""The keypoint head against torchvision's own functions, and against detectron2's formulas in a few lines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection import keypoint_rcnn
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, keypointrcnn_loss

from maskwright.errors import DataError
from maskwright.models.mask_rcnn.keypoint_head import KeypointHead
from maskwright.structures import Categories, Targets

K = 5
SIZE = (100, 120)


def head(**changes: object) -> KeypointHead:
    numbers = {
        "in_channels": 6,
        "pool_px": 7,
        "num_convs": 2,
        "channels": 8,
        "num_keypoints": K,
        "score": "logit",
        "planned_rois": None,
    }
    return KeypointHead(**{**numbers, **changes})


def targets(num_objects: int, seed: int = 0, *, has_keypoints: bool = True) -> Targets:
    draws = np.random.default_rng(seed)
    annotations = []
    for _ in range(num_objects):
        x, y, w, h = (*draws.uniform(0, 60, 2), *draws.uniform(10, 40, 2))
        points = np.stack([x + draws.uniform(-0.3, 1.3, K) * w, y + draws.uniform(-0.3, 1.3, K) * h], axis=1)
        flags = draws.integers(0, 3, (K, 1))
        box = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        annotation = {"bbox": [x, y, w, h], "category_id": 1, "segmentation": box}
        keypoints = np.hstack([points * (flags > 0), flags]).ravel().tolist()
        annotations.append(annotation | ({"keypoints": keypoints} if has_keypoints else {}))
    return Targets.from_coco(annotations, SIZE, Categories.of(["person"])).in_single_precision()


def rois_of(target: Targets, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Four RoIs around each object, and one that is far from every keypoint."""
    objects = torch.arange(len(target)).repeat_interleave(4)
    moves = torch.randn(len(objects), 4, generator=torch.Generator().manual_seed(seed)) * 3
    rois = target.boxes[objects] + moves
    return torch.cat([rois, rois.new_tensor([[110.0, 90.0, 119.0, 99.0]])]), torch.cat([objects, objects[:1]])


def test_the_network_is_torchvisions() -> None:
    torch.manual_seed(0)
    ours = head(in_channels=6, channels=8, num_convs=2)
    layers, predictor = keypoint_rcnn.KeypointRCNNHeads(6, (8, 8)), keypoint_rcnn.KeypointRCNNPredictor(8, K)
    for conv, theirs in zip(ours.convs, [layers[0], layers[2]], strict=True):
        theirs.load_state_dict(conv.conv.state_dict())
    predictor.kps_score_lowres.load_state_dict(ours.upsample.state_dict())
    pooled = torch.randn(3, 6, 7, 7)
    logits = ours(pooled.clone())
    assert logits.shape == (3, K, ours.map_px, ours.map_px) == (3, K, 28, 28)
    assert torch.allclose(logits, predictor(layers(pooled)), atol=1e-6)


def test_names_of_weights_are_those_the_readers_write() -> None:
    names = {"convs.0.conv.weight", "convs.0.conv.bias", "convs.1.conv.weight", "convs.1.conv.bias"}
    assert set(head().state_dict()) == names | {"upsample.weight", "upsample.bias"}


def test_the_loss_is_torchvisions_though_useless_rois_are_left_out() -> None:
    ours = head()
    truth, generator = [targets(3, 1), targets(0), targets(2, 2)], torch.Generator().manual_seed(7)
    placed = [
        rois_of(target) if len(target) else (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)) for target in truth
    ]
    logits = [torch.randn(len(rois), K, 28, 28, generator=generator, requires_grad=True) for rois, _ in placed]
    expected = keypointrcnn_loss(
        torch.cat(logits),
        [rois for rois, _ in placed],
        [torch.zeros(0, K, 3) if t.keypoints is None else t.keypoints for t in truth],
        [objects for _, objects in placed],
    )
    chosen = [ours.select(*where, target) for where, target in zip(placed, truth, strict=True)]
    is_kept = [
        (rois[:, None] == kept[None]).all(dim=2).any(dim=1) for (rois, _), (kept, _) in zip(placed, chosen, strict=True)
    ]
    kept_logits = torch.cat([maps[kept] for maps, kept in zip(logits, is_kept, strict=True)])
    loss = ours.loss_of(kept_logits, [rois for rois, _ in chosen], [points for _, points in chosen])
    assert len(kept_logits) < sum(map(len, logits))  # the far one at least
    assert loss.mean().item() == pytest.approx(expected.item(), rel=1e-5)
    ours_first, theirs_first = (
        torch.autograd.grad(value, logits[0], retain_graph=True)[0] for value in (loss.mean(), expected)
    )
    assert torch.allclose(ours_first, theirs_first, atol=1e-6)


def test_dividing_by_all_possible_keypoints_is_detectron2s() -> None:
    truth = [targets(3, 1), targets(2, 2)]
    visible, planned = head(), head(planned_rois=128)
    chosen = [visible.select(*rois_of(target), target) for target in truth]
    rois, keypoints = [rois for rois, _ in chosen], [points for _, points in chosen]
    logits = torch.randn(sum(map(len, rois)), K, 28, 28)
    total = visible.loss_of(logits, rois, keypoints).total.item()
    assert planned.loss_of(logits, rois, keypoints).mean().item() == pytest.approx(total / (128 * K * len(truth)))


def test_without_labelled_keypoints_the_loss_is_zero_and_has_a_gradient() -> None:
    ours = head()
    for truth in (targets(0), targets(2, has_keypoints=False)):
        rois, objects = truth.boxes, torch.arange(len(truth))
        kept, keypoints = ours.select(rois, objects, truth)
        assert (kept.shape, keypoints.shape) == ((0, 4), (0, K, 3))
        loss = ours.loss_of(ours(torch.zeros(0, 6, 7, 7)), [kept], [keypoints]).mean()
        loss.backward()
        assert loss.item() == 0
        assert ours.upsample.weight.grad is not None


def test_another_number_of_keypoints_is_an_error_that_names_the_setting() -> None:
    truth = targets(1)
    with pytest.raises(DataError, match=r"5 keypoints, but the model 4.*keypoint_head\.names"):
        head(num_keypoints=4).select(truth.boxes, torch.zeros(1, dtype=torch.int64), truth)


def boxes_and_maps() -> tuple[Tensor, Tensor]:
    coarse = torch.randn(4, K, 7, 7, generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor([[3.2, 4.1, 40.7, 60.9], [0, 0, 12.5, 9.5], [50, 50, 50.3, 50.2], [5, 5, 100, 95]])
    return boxes, F.interpolate(4 * coarse, scale_factor=4, mode="bilinear")


def test_a_logit_score_is_torchvisions() -> None:
    boxes, maps = boxes_and_maps()
    expected, scores = heatmaps_to_keypoints(maps, boxes)
    found = head().locate(maps, boxes)
    assert torch.allclose(found[..., :2], expected[..., :2], atol=1e-3)
    assert torch.allclose(found[..., 2], scores, atol=1e-5)


def test_a_share_is_detectron2s() -> None:
    boxes, maps = boxes_and_maps()
    found = head(score="share").locate(maps, boxes)
    for box, box_maps, points in zip(boxes, maps, found, strict=True):
        width, height = (max(1, int(np.ceil(float(box[axis + 2] - box[axis])))) for axis in (0, 1))
        large = F.interpolate(box_maps[None], size=(height, width), mode="bicubic")[0].flatten(1).double().numpy()
        peak = large.max(axis=1)
        own = np.exp(box_maps.flatten(1).double().numpy() - peak[:, None]).sum(axis=1)
        assert points[:, 2].numpy() == pytest.approx(1 / own, rel=1e-4)


def test_shares_of_a_map_that_is_not_enlarged_are_probabilities() -> None:
    _, maps = boxes_and_maps()
    found = head(score="share").locate(maps, torch.tensor([[0.0, 0.0, 28.0, 28.0]]).repeat(4, 1))
    assert torch.allclose(found[..., 2], maps.flatten(2).softmax(dim=2).amax(dim=2), atol=1e-6)


def test_no_detections_have_no_keypoints() -> None:
    assert head().locate(torch.zeros(0, K, 28, 28), torch.zeros(0, 4)).shape == (0, K, 3)
