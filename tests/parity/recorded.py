"""Recorded reference cases: weights replayed from their recipe, inputs, and comparison with what was recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import maskwright as mw
from maskwright.checkpoints.detectron2 import from_detectron2
from maskwright.checkpoints.matterport import from_matterport
from maskwright.checkpoints.simple import from_simple
from maskwright.checkpoints.torchvision import from_torchvision

SHIPPED = Path(__file__).parent / "cases"
State = Mapping[str, Tensor]
RENAMINGS: dict[str, Callable[[State], dict[str, Tensor]]] = {
    "detectron2": from_detectron2,
    "matterport": from_matterport,
    "simple_maskrcnn": from_simple,
    "torchvision": from_torchvision,
}

# the reference's name of a loss → ours
LOSS_NAMES = {
    "loss_objectness": "rpn_objectness",
    "loss_rpn_box_reg": "rpn_box",
    "loss_classifier": "class",
    "loss_box_reg": "box",
    "loss_mask": "mask",
    "loss_rpn_cls": "rpn_objectness",
    "loss_rpn_loc": "rpn_box",
    "loss_cls": "class",
    "rpn_objectness_loss": "rpn_objectness",
    "rpn_box_loss": "rpn_box",
    "roi_classifier_loss": "class",
    "roi_box_loss": "box",
    "roi_mask_loss": "mask",
    "rpn_class_loss": "rpn_objectness",
    "rpn_bbox_loss": "rpn_box",
    "mrcnn_class_loss": "class",
    "mrcnn_bbox_loss": "box",
    "mrcnn_mask_loss": "mask",
}

MASK_RCNN_RECIPES = {
    "torchvision/maskrcnn_resnet50_fpn": "torchvision/mask_rcnn_r50_fpn",
    "torchvision/maskrcnn_resnet50_fpn_v2": "torchvision/mask_rcnn_r50_fpn_v2",
    "detectron2/mask_rcnn_R_50_FPN_3x": "detectron2/mask_rcnn_r50_fpn",
    "detectron2/mask_rcnn_R_50_C4_3x": "detectron2/mask_rcnn_r50_c4",
    "detectron2/mask_rcnn_R_50_FPN_3x_dconv_c3-c5": "detectron2/mask_rcnn_r50_fpn_3x_dconv",
    "simple_maskrcnn/resnet50_stride32": "simple/mask_rcnn_r50",
}

# the reference's name of a setting that a case changes → our key
SETTINGS = {
    "detectron2": {
        "INPUT.MIN_SIZE_TEST": "resize.short_side",
        "INPUT.MAX_SIZE_TEST": "resize.long_side",
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "detect.score_threshold",
        "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "rpn.anchors_per_image",
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "roi.rois_per_image",
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": "rpn.train_proposals_after_nms",
    },
    "torchvision": {
        "box_score_thresh": "detect.score_threshold",
        "rpn_batch_size_per_image": "rpn.anchors_per_image",
        "box_batch_size_per_image": "roi.rois_per_image",
        "rpn_post_nms_top_n_train": "rpn.train_proposals_after_nms",
    },
    "simple_maskrcnn": {
        "box_score_thresh": "detect.score_threshold",
        "rpn_num_samples": "rpn.anchors_per_image",
        "box_num_samples": "roi.rois_per_image",
        "rpn_pre_nms_top_n_train": "rpn.train_proposals_before_nms",
        "rpn_post_nms_top_n_train": "rpn.train_proposals_after_nms",
    },
}
# stages that the references trained, though our recipes freeze some or more
FROZEN_STAGES = {"torchvision": 0, "simple_maskrcnn": 2}

# names of the recorded maps of each stage and level
STAGES = {
    "torchvision": ("body_0", "body_1", "body_2", "body_3"),
    "detectron2": ("res2", "res3", "res4", "res5"),
    "simple_maskrcnn": ("layer1", "layer2", "layer3", "layer4"),
}
LEVELS = {
    "torchvision": ("fpn_0", "fpn_1", "fpn_2", "fpn_3", "fpn_pool"),
    "detectron2": ("p2", "p3", "p4", "p5", "p6"),
    "simple_maskrcnn": ("backbone_out",),
}


@dataclass(frozen=True)
class Recorded:
    """What every recorded case has.

    Attributes:
        folder: with `weights.json`, `input.json`, `expected.npz` and `train.json`.
    """

    folder: Path

    @property
    def lineage(self) -> str:
        return self.folder.parent.name

    @cached_property
    def expected(self) -> dict[str, Any]:
        with np.load(self.folder / "expected.npz") as arrays:
            return dict(arrays)

    @cached_property
    def training(self) -> dict[str, Any]:
        return self._json("train.json")

    @cached_property
    def config(self) -> dict[str, Any]:
        return self._json("input.json")["config"]

    def weights(self) -> dict[str, Tensor]:
        """The reference's state dict, drawn as the recipe says."""
        return {key: draw_weights(rule) for key, rule in self._json("weights.json")["keys"].items()}

    def in_their_order(self, ours: State) -> dict[str, Tensor]:
        """Tensors by our names of weights as the reference has them; (n,) each, zero where we have no such weight."""
        shapes = {key: rule["shape"] for key, rule in self._json("weights.json")["keys"].items()}
        places = {key: torch.arange(int(np.prod(shape))).reshape(shape) for key, shape in shapes.items()}
        renamed = RENAMINGS[self.lineage](places)
        return {
            key: torch.zeros(places[key].numel()).index_put((place.flatten(),), ours[name].flatten())
            for key, (name, place) in zip(shapes, renamed.items(), strict=True)
            if name in ours
        }

    def _json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Case(Recorded):
    """A recorded case of torchvision, detectron2 or Simple Mask R-CNN, which has `masks.json` too.

    Attributes:
        images: folder of the PNG images that the cases name.
    """

    images: Path

    @cached_property
    def expected(self) -> dict[str, Any]:
        """By the names of torchvision's and detectron2's cases; those of Simple Mask R-CNN begin with the image."""
        with np.load(self.folder / "expected.npz") as arrays:
            return {_common_name(key): value for key, value in arrays.items()}

    @cached_property
    def mask_rles(self) -> list[dict[str, Any]]:
        return self._json("masks.json")["0"]

    @cached_property
    def segments(self) -> list[dict[str, Any]]:
        """Of the panoptic map, where there is one."""
        return self._json("masks.json")["segments_info_0"]["segments"]

    @property
    def image(self) -> Path:
        return self.images / self.config["images"][0]

    @property
    def recipe(self) -> str:
        return MASK_RCNN_RECIPES[f"{self.lineage}/{self.folder.name}"]

    @property
    def has_training(self) -> bool:
        return (self.folder / "train.json").exists()

    @property
    def overrides(self) -> dict[str, Any]:
        """What the case changes; samplers so large that they take all candidates, so no chance is left in losses."""
        given = {**self.config, **self.config.get("defaults", {})}
        if "overrides" in self.config:
            given |= zip(self.config["overrides"][::2], self.config["overrides"][1::2], strict=True)
        given |= self.training["train_config"] if self.has_training else {}
        names = SETTINGS[self.lineage]
        frozen = FROZEN_STAGES.get(self.lineage)
        return {names[name]: value for name, value in given.items() if name in names} | (
            {} if frozen is None else {"backbone.frozen_stages": frozen}
        )

    def tensor(self, key: str) -> Tensor:
        return torch.from_numpy(self.expected[key])

    def labels(self, key: str) -> Tensor:
        """Recorded labels as ours: all but detectron2 begin with background."""
        return self.tensor(key) - int(self.lineage != "detectron2")

    def class_rows(self, class_logits: Tensor) -> Tensor:
        """Our class logits, whose background is last, with it where the reference has it."""
        return class_logits if self.lineage == "detectron2" else class_logits.roll(1, dims=1)

    def recorded_deltas(self, key: str) -> Tensor:
        """Recorded deltas of every class; all but detectron2 predict them for background too, which nothing reads."""
        return self.tensor(key)[:, 0 if self.lineage == "detectron2" else 4 :]

    def targets(self, categories: Any) -> mw.Targets:
        """The recorded objects of the training image."""
        target = self.training["targets"][0]
        if self.lineage == "detectron2":
            size, masks, boxes = (target["height"], target["width"]), target["segmentation"], target["boxes_xywh"]
            ids, is_crowd = [categories.ids[label] for label in target["labels"]], target["iscrowd"]
        else:
            masks, ids = target["masks_rle"], target["labels"]
            boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in target["boxes"]]
            size, is_crowd = tuple(masks[0]["size"]), [0] * len(boxes)
        keys = ("bbox", "category_id", "segmentation", "iscrowd")
        rows = zip(boxes, ids, masks, is_crowd, strict=True)
        return mw.Targets.from_coco([dict(zip(keys, row, strict=True)) for row in rows], size, categories)

    def largest_difference(self, key: str, values: Tensor) -> float:
        """Between a tensor, in its logical order, and the samples recorded of the reference's; shapes must agree."""
        assert tuple(values.shape) == tuple(self.expected[f"{key}/shape"])
        whole = values.double()
        summary = torch.stack([whole.mean(), whole.std(correction=0), whole.abs().max()])
        recorded = np.array([self.expected[f"{key}/{name}"] for name in ("mean", "std", "absmax")])
        samples = differ(values.flatten()[self.expected[f"{key}/idx"]], self.expected[f"{key}/val"])
        return max(samples, differ(summary, recorded))

    def map_differences(self, stages: Sequence[Tensor], levels: Sequence[Tensor]) -> dict[str, float]:
        """The largest difference of every recorded feature map, by its name."""
        names = STAGES[self.lineage], LEVELS[self.lineage]
        maps = [*zip(names[0], stages, strict=False), *zip(names[1], levels, strict=False)]
        recorded = {key.split("/")[1] for key in self.expected if key.startswith("feat/")}
        differences = {name: self.largest_difference(f"feat/{name}", map_) for name, map_ in maps if name in recorded}
        assert differences.keys() == recorded
        return differences

    def largest_row_difference(self, key: str, rows: Tensor) -> float:
        """Between a table and the whole rows recorded of the reference's."""
        assert len(rows) == self.expected[f"{key}/n_rows"].item()
        return differ(rows[self.expected[f"{key}/rows_idx"]], self.expected[f"{key}/rows"])


YOLACT_RECIPES = {
    "yolact_base": "yolact/r101",
    "yolact_resnet50": "yolact/r50",
    "yolact_plus_resnet50": "yolact/plus_r50",
}


@dataclass(frozen=True)
class DottedCase(Recorded):
    """A recorded case of YOLACT's authors' code or of matterport's port, where names of samples have dots."""

    @property
    def recipe(self) -> str:
        return {"resnet101_coco": "matterport/mask_rcnn_r101", **YOLACT_RECIPES}[self.folder.name]

    @property
    def images(self) -> Path:
        return self.folder.parents[1] / "images"

    @property
    def image(self) -> Path:
        return self.folder.parents[1] / self._json("input.json")["image"]

    def difference(self, key: str, values: Tensor) -> float:
        """Largest difference at the recorded indices of a large array, whose shapes must agree."""
        assert tuple(values.shape) == tuple(self.expected[f"{key}.shape"])
        return self.apart(values.flatten()[self.expected[f"{key}.index"]], self.expected[f"{key}.value"])

    @staticmethod
    def apart(values: Tensor, recorded: Any) -> float:
        return differ(values, recorded)


def differ(values: Tensor, recorded: Any) -> float:
    """The largest difference."""
    return float((values - torch.as_tensor(recorded)).abs().max())


def draw_weights(rule: dict[str, Any]) -> Tensor:
    """One tensor: constant, or from numpy's PCG64, multiplied first and added second, each rounded to float32."""
    shape, kind, single = tuple(rule["shape"]), rule["kind"], np.float32
    if kind in ("zeros", "const"):
        dtype = torch.int64 if rule["dtype"] == "int64" else torch.float32
        return torch.full(shape, rule.get("value", 0), dtype=dtype)
    generator = np.random.Generator(np.random.PCG64(rule["seed"]))
    if kind == "normal":
        values = generator.standard_normal(shape, dtype=single) * single(rule["std"]) + single(rule["mean"])
    else:
        width = single(rule["high"] - rule["low"])
        values = generator.random(shape, dtype=single) * width + single(rule["low"])
    return torch.from_numpy(np.asarray(values))


def _common_name(key: str) -> str:
    key = re.sub(r"^0/(proposals|roi|final)/", r"\1/0/", key)
    key = re.sub(r"^0/rpn/", "rpn/level0/", key)
    return key.removeprefix("0/")
