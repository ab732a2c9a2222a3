"""Test-time augmentation against detectron2's, written out here: only the network's own pieces are shared.

Sizes, resizing, mirroring, padding, the way of boxes and back, merging, the mean of the masks and their pasting are
done again with Pillow, NumPy and loops, after detectron2's `GeneralizedRCNNWithTTA` and what that calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

import maskwright as mw
from maskwright.config import load_recipe
from maskwright.models.segmenter import Selected
from maskwright.predict.views import views_of
from maskwright.structures import ImageBatch

FPN = "detectron2/mask_rcnn_R_50_FPN_3x"
C4 = "detectron2/mask_rcnn_R_50_C4_3x"


@dataclass
class Reference:
    """detectron2's scheme on the pieces of a network.

    Attributes:
        predictor: whose network it is; of its recipe only numbers are taken.
        pixels: (H, W, 3) uint8 RGB.
        short_sides, long_side, multiple: of the views, and what their batches are padded to.
    """

    predictor: mw.Predictor
    pixels: np.ndarray
    short_sides: tuple[int, ...]
    long_side: int
    multiple: int

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[:2]

    @cached_property
    def views(self) -> list[tuple[tuple[int, int], bool]]:
        sizes = [shortest_edge(self.size, side, self.long_side) for side in self.short_sides]
        return [(size, is_mirrored) for size in sizes for is_mirrored in (False, True)]

    @cached_property
    def batches(self) -> list[ImageBatch]:
        """Threes of views, in their order; the last may be smaller."""
        pixels = self.predictor.recipe.pixels
        inputs = []
        for (height, width), is_mirrored in self.views:
            bgr = Image.fromarray(np.ascontiguousarray(self.pixels[:, :, ::-1]))
            view = np.asarray(bgr.resize((width, height), Image.Resampling.BILINEAR))
            view = view[:, ::-1] if is_mirrored else view
            values = torch.from_numpy(view.transpose(2, 0, 1).copy()).float()
            inputs.append((values - torch.tensor(pixels.mean)[:, None, None]) / torch.tensor(pixels.std)[:, None, None])
        batches = []
        for first in range(0, len(inputs), 3):
            some = inputs[first : first + 3]
            sides = [max(image.shape[axis] for image in some) for axis in (1, 2)]
            height, width = ((side + self.multiple - 1) // self.multiple * self.multiple for side in sides)
            padded = torch.zeros(len(some), 3, height, width)
            for canvas, image in zip(padded, some, strict=True):
                canvas[:, : image.shape[1], : image.shape[2]] = image
            sizes = tuple((image.shape[1], image.shape[2]) for image in some)
            batches.append(ImageBatch(padded, sizes, (0,) * len(some)))
        return batches

    @cached_property
    @torch.inference_mode()
    def union(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes, scores and labels of all views."""
        model = self.predictor.model
        found = [some for batch in self.batches for some in model.find(model.encode(batch), batch)]
        boxes = [
            resized(flipped(some.boxes.numpy(), size[1]) if is_mirrored else some.boxes.numpy(), size, self.size)
            for some, (size, is_mirrored) in zip(found, self.views, strict=True)
        ]
        scores = np.concatenate([some.scores.numpy() for some in found])
        return np.concatenate(boxes), scores, np.concatenate([some.labels.numpy() for some in found])

    @cached_property
    def merged(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Clipped first, then filtered, then suppressed, then cut to the limit."""
        boxes, scores, labels = self.union
        limits = np.array([self.size[1], self.size[0]] * 2, dtype=np.float32)
        boxes = np.clip(boxes, 0, limits)
        detect = self.predictor.recipe.detect
        indices = suppressed(boxes, scores, labels, detect.nms_iou)[: detect.max_detections]
        return boxes[indices], scores[indices], labels[indices]

    @cached_property
    def final(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Boxes, scores, labels and mask probabilities of what has an area."""
        boxes, scores, labels = self.merged
        probabilities = self.mask_probabilities if "mask_head" in self.predictor.model.heads else None
        has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        soft = None if probabilities is None else probabilities[has_area]
        return boxes[has_area], scores[has_area], labels[has_area], soft

    @cached_property
    @torch.inference_mode()
    def mask_probabilities(self) -> np.ndarray:
        """(N, M, M) of the merged boxes, which are not clipped to the views."""
        model, (boxes, scores, labels) = self.predictor.model, self.merged
        views, total = iter(self.views), 0.0
        for batch in self.batches:
            asked, mirrored = [], []
            for _ in range(len(batch)):
                size, is_mirrored = next(views)
                seen = resized(boxes, self.size, size)
                seen = flipped(seen, size[1]) if is_mirrored else seen
                asked.append(Selected(torch.from_numpy(seen), torch.from_numpy(labels), torch.from_numpy(scores)))
                mirrored.append(is_mirrored)
            found = model.complete(model.encode(batch), batch, asked)
            for some, is_mirrored in zip(found, mirrored, strict=True):
                soft = some.masks.probabilities.numpy().astype(np.float64)
                total = total + (soft[:, :, ::-1] if is_mirrored else soft)
        return (total / len(self.views)).astype(np.float32)

    def masks(self, probabilities: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """(N, H, W) bool: soft values at the centres of pixels, nothing outside, one half included."""
        height, width = self.size
        masks = np.zeros((len(boxes), height, width), dtype=bool)
        for mask, soft, (x1, y1, x2, y2) in zip(masks, probabilities, boxes, strict=True):
            x = (np.arange(width, dtype=np.float32) + 0.5 - x1) / (x2 - x1) * 2 - 1
            y = (np.arange(height, dtype=np.float32) + 0.5 - y1) / (y2 - y1) * 2 - 1
            grid = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1).astype(np.float32))
            values = F.grid_sample(torch.from_numpy(soft)[None, None], grid[None], align_corners=False)[0, 0]
            mask[:] = values.numpy() >= 0.5
        return masks


def shortest_edge(size: tuple[int, int], side: int, limit: int) -> tuple[int, int]:
    """(height, width): the shorter becomes `side`, unless the longer would exceed the limit; rounded at the end."""
    height, width = size
    scale = side / min(size)
    new = (side, scale * width) if height < width else (scale * height, side)
    if max(new) > limit:
        shrink = limit / max(new)
        new = (new[0] * shrink, new[1] * shrink)
    return int(new[0] + 0.5), int(new[1] + 0.5)


def resized(boxes: np.ndarray, size: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    x, y = new[1] * 1.0 / size[1], new[0] * 1.0 / size[0]
    return np.stack([boxes[:, 0] * x, boxes[:, 1] * y, boxes[:, 2] * x, boxes[:, 3] * y], axis=1)


def flipped(boxes: np.ndarray, width: int) -> np.ndarray:
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def suppressed(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, limit: float) -> list[int]:
    """Indices of what is left, best first; equal scores in their order."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        rivals = [other for other in kept if labels[other] == labels[index]]
        if scores[index] > 1e-8 and all(overlap(boxes[other], boxes[index]) <= limit for other in rivals):
            kept.append(index)
    return kept


def overlap(box: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    both = float(np.prod(np.maximum(sides, 0)))
    return both / (float(np.prod(box[2:] - box[:2])) + float(np.prod(other[2:] - other[:2])) - both or 1.0)


@dataclass
class Scene:
    """A network and an image, as both schemes see them."""

    predictor: mw.Predictor
    reference: Reference

    def __post_init__(self) -> None:
        self.image = self.predictor.preprocess.read(self.reference.pixels)
        self.detector = self.predictor.augmented().detector
        self.union = self.detector.union(self.image)
        self.final = self.predictor.augmented()(self.reference.pixels)


def recorded_scene(case, folder, recipe: str, **overrides: Any) -> Scene:
    """A recorded case in four small views, the second size shortened by its longer side."""
    pixels = np.array(Image.open(case.image).convert("RGB"))
    long_side = round(320 * max(pixels.shape) / min(pixels.shape[:2])) - 31
    torch.save(case.weights(), folder / "reference.pth")
    overrides = {"augmented.short_sides": [240, 320], "augmented.long_side": long_side, **overrides}
    predictor = mw.load(recipe, folder / "reference.pth", device="cpu", overrides=overrides)
    multiple = 1 if "c4" in recipe else 32
    return Scene(predictor, Reference(predictor, pixels, (240, 320), long_side, multiple))


def tiny_scene(network: dict[str, Any], recipe: str, **overrides: Any) -> Scene:
    """A tiny network with drawn weights, in four views of noise."""
    torch.manual_seed(0)
    changes = {"augmented.short_sides": [64, 96], "augmented.long_side": 150}
    predictor = mw.load(recipe, "random", "cpu", {**network, **changes, **overrides})
    pixels = np.random.default_rng(0).integers(0, 256, size=(50, 93, 3), dtype=np.uint8)
    calibrate(predictor, pixels)
    return Scene(predictor, Reference(predictor, pixels, (64, 96), 150, 32))


def calibrate(predictor: mw.Predictor, pixels: np.ndarray) -> None:
    """Scale the last layers so that this image has scores, boxes and masks of every kind."""

    def scale(layer: torch.nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        factor = 2 / output.std()
        layer.weight.mul_(factor)
        return output * factor

    last = (".class_logits", "box_head.deltas", "mask_head.logits")
    layers = [layer for name, layer in predictor.model.named_modules() if name.endswith(last)]
    hooks = [layer.register_forward_hook(scale) for layer in layers]
    with torch.no_grad():
        predictor(pixels, score_threshold=0.0)
    for hook in hooks:
        hook.remove()


TINY = {
    "agnostic": ("detectron2/mask_rcnn_r50_fpn_1x_agnostic", {}),
    "cascade": ("detectron2/cascade_mask_rcnn_r50_fpn_1x", {}),
    "views without anything": ("detectron2/mask_rcnn_r50_fpn_1x_agnostic", {"detect.score_threshold": 0.3}),
    "no masks": ("detectron2/faster_rcnn_r50_fpn_1x", {}),
    "nothing found": ("detectron2/mask_rcnn_r50_fpn_1x", {"detect.score_threshold": 1.0}),
}


@pytest.fixture(
    scope="module", params=[*TINY, pytest.param(FPN, marks=pytest.mark.slow), pytest.param(C4, marks=pytest.mark.slow)]
)
def scene(request, case_of, tiny_network, tmp_path_factory) -> Scene:
    if request.param in TINY:
        recipe, changes = TINY[request.param]
        return tiny_scene(tiny_network, recipe, **changes)
    folder = tmp_path_factory.mktemp("weights")
    if request.param == FPN:
        return recorded_scene(case_of(FPN), folder, "detectron2/mask_rcnn_r50_fpn")
    few = {"rpn.test_proposals_after_nms": 60, "detect.max_detections": 20}
    return recorded_scene(case_of(C4), folder, "detectron2/mask_rcnn_r50_c4", **few)


@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    side=st.integers(1, 1500),
    limit=st.integers(1, 4000),
)
def test_sizes_of_views_are_those_of_detectron2(height, width, side, limit):
    recipe = load_recipe("detectron2/mask_rcnn_r50_fpn")
    config = recipe.augmented.model_copy(update={"short_sides": (side,), "long_side": limit, "flips": False})
    (view,) = views_of((height, width), recipe.resize, config)
    assert view.size == tuple(max(1, new) for new in shortest_edge((height, width), side, limit))


class TestDetectron2sScheme:
    def test_there_is_something_to_join(self, scene, request):
        left = len(scene.final)
        assert len(scene.union.boxes) >= left > 3 or ("nothing found" in request.node.name and left == 0)

    def test_views_have_its_sizes_in_its_order(self, scene):
        assert scene.detector.views(scene.reference.size) == scene.reference.views

    def test_the_network_sees_the_same_numbers(self, scene):
        ours = [look.batch(scene.predictor.preprocess) for look in scene.detector.groups(scene.image)]
        theirs = scene.reference.batches
        assert [batch.sizes for batch in ours] == [batch.sizes for batch in theirs]
        assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(ours, theirs, strict=True))

    def test_the_union_of_all_views_agrees(self, scene):
        boxes, scores, labels = scene.reference.union
        assert scene.union.labels.tolist() == labels.tolist()
        np.testing.assert_allclose(scene.union.boxes, boxes, rtol=0, atol=1e-3)
        np.testing.assert_allclose(scene.union.scores, scores, rtol=0, atol=1e-5)

    def test_what_is_left_of_it_agrees(self, scene):
        boxes, scores, labels = scene.reference.final[:3]
        assert scene.final.labels.tolist() == labels.tolist()
        np.testing.assert_allclose(scene.final.boxes, boxes, rtol=0, atol=1e-3)
        np.testing.assert_allclose(scene.final.scores, scores, rtol=0, atol=1e-5)

    def test_mask_probabilities_and_masks_agree(self, scene):
        boxes, _, _, probabilities = scene.reference.final
        if probabilities is None:
            assert scene.final.masks is None
            return
        np.testing.assert_allclose(scene.final.masks.probabilities, probabilities, rtol=0, atol=1e-4)
        masks = scene.reference.masks(probabilities, boxes)
        different = (scene.final.masks.bitmaps() != masks).sum(axis=(1, 2))
        assert different.max(initial=0) <= 3
