"""Recipes: what ships loads, is frozen, survives YAML, and says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from maskwright.config import MaskRcnnRecipe, Recipe, YolactRecipe, load_recipe, recipe_from_table, recipe_names
from maskwright.config.backbone import DarkNetConfig
from maskwright.config.categories import UNUSED, named_categories
from maskwright.config.overrides import dotted_keys
from maskwright.errors import ConfigError


@pytest.fixture(params=recipe_names())
def shipped(request: pytest.FixtureRequest) -> Recipe:
    return load_recipe(request.param)


def test_recipes_ship_with_the_package() -> None:
    assert {"torchvision/mask_rcnn_r50_fpn", "torchvision/mask_rcnn_r50_fpn_v2"} <= set(recipe_names())
    assert recipe_names() == sorted(recipe_names())


def test_shipped_recipe_has_its_own_name_and_a_summary(shipped: Recipe) -> None:
    assert shipped.name in recipe_names()
    assert shipped.summary
    assert shipped.default_weights is None or shipped.default_weights in shipped.weights


def test_recipe_survives_yaml(shipped: Recipe) -> None:
    text = yaml.safe_dump(shipped.model_dump(mode="json"))
    assert recipe_from_table(yaml.safe_load(text), "round trip") == shipped


def test_recipe_survives_a_table_of_python_values(shipped: Recipe) -> None:
    assert recipe_from_table(shipped.model_dump(), "round trip") == shipped


def test_recipe_is_frozen(shipped: Recipe) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        shipped.detect.nms_iou = 0.1  # type: ignore[misc]  # frozen is what is tested


def test_shipped_file_holds_only_what_differs(shipped: Recipe) -> None:
    folder = Path(str(__import__("maskwright").__file__)).parent / "recipes"
    table = yaml.safe_load((folder / f"{shipped.name}.yaml").read_text(encoding="utf-8"))
    inherited = load_recipe(table["base"]) if "base" in table else type(shipped)()
    repeated = [
        f"{name}.{key}"
        for name, values in table.items()
        if isinstance(values, dict) and isinstance(getattr(inherited, name), BaseModel)
        for key, value in values.items()
        if getattr(getattr(inherited, name), key) == value
    ]
    assert repeated == []


def _tables(annotation: object) -> list[type[BaseModel]]:
    """The tables that a field may hold: one, or any of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables(part)]


def _fields_without_meaning(model: type[BaseModel]) -> list[str]:
    silent = []
    for name, field in model.model_fields.items():
        tables = _tables(field.annotation)
        silent += [entry for table in tables for entry in _fields_without_meaning(table)]
        if not (field.description or tables or name == "family"):
            silent.append(f"{model.__name__}.{name}")
    return silent


@pytest.mark.parametrize("family", [MaskRcnnRecipe, YolactRecipe])
def test_every_setting_says_what_it_means(family: type[Recipe]) -> None:
    assert _fields_without_meaning(family) == []


@pytest.mark.parametrize(
    ("key", "torchvisions"),
    [
        ("resize.short_side", 800),
        ("resize.long_side", 1333),
        ("pixels.mean", (0.485, 0.456, 0.406)),
        ("pixels.std", (0.229, 0.224, 0.225)),
        ("anchors.sizes_px", ((32,), (64,), (128,), (256,), (512,))),
        ("anchors.ratios", (0.5, 1.0, 2.0)),
        ("rpn.train_proposals_before_nms", 2000),
        ("rpn.test_proposals_before_nms", 1000),
        ("rpn.train_proposals_after_nms", 2000),
        ("rpn.test_proposals_after_nms", 1000),
        ("rpn.nms_iou", 0.7),
        ("rpn.positive_iou", 0.7),
        ("rpn.negative_iou", 0.3),
        ("rpn.anchors_per_image", 256),
        ("rpn.positive_share", 0.5),
        ("roi.positive_iou", 0.5),
        ("roi.negative_iou", 0.5),
        ("roi.rois_per_image", 512),
        ("roi.positive_share", 0.25),
        ("box_head.box_weights", (10.0, 10.0, 5.0, 5.0)),
        ("box_head.fc_channels", 1024),
        ("box_head.pool_px", 7),
        ("mask_head.pool_px", 14),
        ("detect.score_threshold", 0.05),
        ("detect.nms_iou", 0.5),
        ("detect.max_detections", 100),
    ],
)
def test_family_defaults_are_those_torchvision_documents(key: str, torchvisions: object) -> None:
    table, _, name = key.partition(".")
    assert getattr(getattr(MaskRcnnRecipe(), table), name) == torchvisions


YOLACT = "yolact/r101"
PLUS_SIZES = tuple(tuple(size * 2 ** (third / 3) for third in range(3)) for size in (24, 48, 96, 192, 384))


@pytest.mark.parametrize(
    ("name", "key", "originals"),
    [
        (YOLACT, "resize.size", 550),
        (YOLACT, "backbone.depth", 101),
        (YOLACT, "backbone.norm", "batch"),
        (YOLACT, "backbone.frozen_stages", 0),
        (YOLACT, "pixels.mean", (123.68, 116.78, 103.94)),
        (YOLACT, "pixels.std", (58.40, 57.12, 57.38)),
        (YOLACT, "pixels.divisor", 1),
        (YOLACT, "anchors.sizes_px", ((24,), (48,), (96,), (192,), (384,))),
        (YOLACT, "anchors.is_square", True),
        (YOLACT, "losses.masks_per_image", 100),
        (YOLACT, "rescoring.is_on", False),
        (YOLACT, "detect.score_threshold", 0.05),
        (YOLACT, "detect.nms_iou", 0.5),
        (YOLACT, "detect.candidates", 200),
        (YOLACT, "detect.max_detections", 100),
        (YOLACT, "train.optimiser", "sgd"),
        (YOLACT, "train.learning_rate", 1e-3),
        (YOLACT, "train.momentum", 0.9),
        (YOLACT, "train.weight_decay", 5e-4),
        (YOLACT, "train.norm_weight_decay", 5e-4),
        (YOLACT, "train.batch_size", 8),
        (YOLACT, "train.iterations", 800_000),
        (YOLACT, "train.steps", (280_000, 600_000, 700_000, 750_000)),
        (YOLACT, "train.warmup_iterations", 500),
        (YOLACT, "train.warmup_factor", 0.1),
        (YOLACT, "train.freezes_norms_below", 6),
        (YOLACT, "data.groups_by_aspect", False),
        ("yolact/r50", "backbone.depth", 50),
        ("yolact/r50", "backbone.norm", "batch"),
        ("yolact/darknet53", "backbone.kind", "darknet53"),
        ("yolact/darknet53", "pixels.divisor", 255),
        ("yolact/darknet53", "pixels.mean", (0, 0, 0)),
        ("yolact/darknet53", "pixels.std", (1, 1, 1)),
        ("yolact/r101_400", "resize.size", 400),
        ("yolact/r101_400", "anchors.sizes_px", tuple((int(s / 550 * 400),) for s in (24, 48, 96, 192, 384))),
        ("yolact/r101_700", "resize.size", 700),
        ("yolact/r101_700", "anchors.sizes_px", tuple((int(s / 550 * 700),) for s in (24, 48, 96, 192, 384))),
        ("yolact/r101_700", "losses.masks_per_image", 300),
        ("yolact/plus_r101", "backbone.depth", 101),
        ("yolact/plus_r101", "backbone.deformable_from", 3),
        ("yolact/plus_r101", "backbone.deformable_every", 3),
        ("yolact/plus_r50", "backbone.depth", 50),
        ("yolact/plus_r50", "backbone.deformable_every", 1),
        ("yolact/plus_r50", "anchors.sizes_px", PLUS_SIZES),
        ("yolact/plus_r50", "anchors.is_square", False),
        ("yolact/plus_r50", "rescoring.is_on", True),
        ("yolact/r50_pascal", "anchors.sizes_px", ((32,), (64,), (128,), (256,), (512,))),
        ("yolact/r50_pascal", "anchors.is_square", False),
        ("yolact/r50_pascal", "train.iterations", 120_000),
        ("yolact/r50_pascal", "train.steps", (60_000, 100_000)),
    ],
)
def test_yolacts_recipes_have_the_numbers_of_the_released_configurations(
    name: str, key: str, originals: object
) -> None:
    table, _, last = key.partition(".")
    assert getattr(getattr(load_recipe(name), table), last) == originals


def valued(recipe: Recipe, key: str) -> object:
    """What a recipe says at a dotted key."""
    value: object = recipe
    for name in key.split("."):
        value = getattr(value, name)
    return value


FPN, C4, DC5 = ("detectron2/mask_rcnn_r50_fpn", "detectron2/mask_rcnn_r50_c4", "detectron2/mask_rcnn_r50_dc5")
POINTREND = "detectron2/pointrend_mask_rcnn_r50_fpn"
SIMPLE, MATTERPORT = "simple/mask_rcnn_r50", "matterport/mask_rcnn_r101"


@pytest.mark.parametrize(
    ("name", "key", "originals"),
    [
        ("torchvision/mask_rcnn_r50_fpn", "backbone.norm_eps", 0),
        ("torchvision/mask_rcnn_r50_fpn", "train.iterations", 26 * (117_266 // 16)),
        ("torchvision/mask_rcnn_r50_fpn", "train.steps", (16 * (117_266 // 16), 22 * (117_266 // 16))),
        ("torchvision/mask_rcnn_r50_fpn_v2", "train.iterations", 400 * (117_266 // 64)),
        ("torchvision/faster_rcnn_r50_fpn_v2", "mask_head.is_on", False),
        ("torchvision/faster_rcnn_r50_fpn_v2", "rpn.num_convs", 2),
        ("torchvision/keypoint_rcnn_r50_fpn", "keypoint_head.is_on", True),
        ("torchvision/keypoint_rcnn_r50_fpn", "keypoint_head.min_keypoints", 10),
        ("torchvision/keypoint_rcnn_r50_fpn", "data.augment.short_sides", (640, 672, 704, 736, 768, 800)),
        (FPN, "train.iterations", 270_000),
        (FPN, "train.steps", (210_000, 250_000)),
        (FPN + "_3x", "train.steps", (210_000, 250_000)),
        (FPN + "_1x", "train.steps", (60_000, 80_000)),
        (FPN, "train.batch_size", 16),
        (FPN, "train.learning_rate", 0.02),
        (FPN, "train.warmup_iterations", 1000),
        (FPN, "train.warmup_factor", 0.001),
        (FPN, "train.weight_decay", 1e-4),
        (FPN, "data.augment.short_sides", (640, 672, 704, 736, 768, 800)),
        (FPN, "data.augment.horizontal_flip", 0.5),
        (FPN, "data.uses_empty_images", False),
        (FPN, "resize.pad_multiple", 32),
        (C4, "resize.pad_multiple", 1),
        (DC5, "resize.pad_multiple", 1),
        (DC5, "rpn.train_proposals_before_nms", 12_000),
        (DC5, "rpn.test_proposals_before_nms", 6000),
        (DC5, "box_head.num_fcs", 2),
        (DC5, "backbone.res5_dilation", 2),
        ("detectron2/mask_rcnn_x101_fpn", "backbone.groups", 32),
        ("detectron2/mask_rcnn_x101_fpn", "backbone.width_per_group", 8),
        ("detectron2/mask_rcnn_x101_fpn", "backbone.stride_in_1x1", False),
        ("detectron2/mask_rcnn_x101_fpn", "pixels.std", (57.375, 57.12, 58.395)),
        ("detectron2/keypoint_rcnn_r101_fpn_3x", "rpn.train_proposals_after_nms", 1500),
        ("detectron2/keypoint_rcnn_r101_fpn_3x", "box_head.box_beta", 0.5),
        ("detectron2/keypoint_rcnn_r101_fpn_3x", "keypoint_head.score", "share"),
        ("detectron2/cascade_mask_rcnn_r50_fpn_1x", "rpn.train_proposals_after_nms", 2000),
        ("detectron2/cascade_mask_rcnn_r50_fpn_1x", "cascade.ious", (0.6, 0.7)),
        ("detectron2/cascade_mask_rcnn_x152_fpn_gn_dconv", "mask_head.num_convs", 8),
        ("detectron2/mask_rcnn_r50_fpn_3x_gn", "backbone.frozen_stages", 2),
        ("detectron2/mask_rcnn_r50_fpn_3x_gn_scratch", "backbone.frozen_stages", 0),
        ("detectron2/mask_rcnn_r50_fpn_9x_syncbn_scratch", "train.learning_rate", 0.08),
        ("detectron2/mask_rcnn_r101_fpn_1x_lvis", "detect.score_threshold", 1e-4),
        ("detectron2/mask_rcnn_r101_fpn_1x_lvis", "detect.max_detections", 300),
        ("detectron2/mask_rcnn_r50_fpn_cityscapes", "resize.long_side", 2048),
        ("detectron2/mask_rcnn_r50_fpn_cityscapes", "train.steps", (18_000,)),
        ("detectron2/faster_rcnn_r50_c4_pascal", "train.warmup_iterations", 100),
        ("detectron2/panoptic_fpn_r50_1x", "data.uses_empty_images", True),
        (SIMPLE, "rpn.anchors_per_image", 256),
        (SIMPLE, "rpn.min_side_px", 1),
        (SIMPLE, "roi.rois_per_image", 512),
        (SIMPLE, "roi.positive_share", 0.25),
        (SIMPLE, "box_head.box_beta", 1),
        (SIMPLE, "backbone.frozen_stages", 2),
        (SIMPLE, "train.learning_rate", 0.02 / 16),
        (MATTERPORT, "roi.rois_per_image", 200),
        (MATTERPORT, "roi.positive_share", 0.33),
        (MATTERPORT, "rpn.anchors_per_image", 256),
        (POINTREND, "mask_px", 224),
        (POINTREND, "mask_head.points.coarse_px", 7),
        (POINTREND, "mask_head.points.num_coarse_fcs", 2),
        (POINTREND, "mask_head.points.coarse_fc_channels", 1024),
        (POINTREND, "mask_head.points.num_fcs", 3),
        (POINTREND, "mask_head.points.fc_channels", 256),
        (POINTREND, "mask_head.points.points_per_roi", 14 * 14),
        (POINTREND, "mask_head.points.oversampling", 3),
        (POINTREND, "mask_head.points.uncertain_share", 0.75),
        (POINTREND, "mask_head.points.subdivisions", 5),
        (POINTREND, "mask_head.points.points_per_step", 28 * 28),
        (POINTREND, "mask_head.pool_px", 14),
        (POINTREND, "mask_head.channels", 256),
        (POINTREND, "mask_head.targets", "bitmaps"),
        (POINTREND, "roi.refines_for_heads", True),
        ("detectron2/pointrend_mask_rcnn_x101_fpn", "backbone.groups", 32),
        (MATTERPORT, "rpn.channels", 512),
        (MATTERPORT, "rpn.train_proposals_after_nms", 2000),
        (MATTERPORT, "mask_head.mini_mask_px", 56),
        (MATTERPORT, "train.clip_norm", 5),
        (MATTERPORT, "train.learning_rate", 1e-3),
        ("matterport/mask_rcnn_r50", "backbone.depth", 50),
    ],
)
def test_two_stage_recipes_have_the_numbers_of_their_originals(name: str, key: str, originals: object) -> None:
    assert valued(load_recipe(name), key) == originals


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("torchvision/mask_rcnn_r50_fpn", 90),
        ("torchvision/keypoint_rcnn_r50_fpn", 1),
        (FPN, 80),
        ("detectron2/keypoint_rcnn_x101_fpn", 1),
        ("detectron2/mask_rcnn_x101_fpn_1x_lvis", 1230),
        ("detectron2/mask_rcnn_r50_fpn_cityscapes", 8),
        ("detectron2/faster_rcnn_r50_c4_pascal", 20),
        ("detectron2/pointrend_mask_rcnn_x101_fpn_3x", 80),
        ("detectron2/pointrend_mask_rcnn_r50_fpn_cityscapes", 8),
        (SIMPLE, 90),
        (MATTERPORT, 80),
    ],
)
def test_published_weights_have_as_many_classes_as_their_recipe(name: str, classes: int) -> None:
    assert len(load_recipe(name).categories) == classes


def test_every_system_of_the_model_zoo_has_its_recipes() -> None:
    systems = ("mask_rcnn", "faster_rcnn")
    schedules = {"r50_fpn": "13", "r50_c4": "13", "r50_dc5": "13", "r101_fpn": "3", "r101_c4": "3", "r101_dc5": "3"}
    zoo = {f"detectron2/{system}_{net}" for system in systems for net in (*schedules, "x101_fpn")}
    zoo |= {f"detectron2/{s}_{net}_{x}x" for s in systems for net, xs in schedules.items() for x in xs}
    zoo |= {f"detectron2/keypoint_rcnn_{net}_fpn" for net in ("r50", "r101", "x101")}
    zoo |= {f"detectron2/{name}" for name in ("cascade_mask_rcnn_r50_fpn", "panoptic_fpn_r50", "panoptic_fpn_r101")}
    zoo |= {"detectron2/semantic_fpn_r50", "detectron2/pointrend_mask_rcnn_r50_fpn_cityscapes"}
    zoo |= {f"detectron2/pointrend_mask_rcnn_{x}" for x in ("r50_fpn_1x", "r50_fpn_3x", "r101_fpn_3x", "x101_fpn_3x")}
    assert zoo <= set(recipe_names())


def test_schedules_of_a_model_differ_in_training_and_weights_only() -> None:
    for name in recipe_names():
        if name.endswith(("_1x", "_3x")):
            recipe, base = load_recipe(name), load_recipe(name[:-3])
            same = {"name": base.name, "summary": base.summary, "weights": base.weights, "train": base.train}
            assert recipe.model_copy(update=same) == base
            is_3x = name.endswith("_3x")
            assert recipe.weights["coco"] == base.weights["coco" if is_3x else "coco_1x"]
            assert (recipe.train == base.train) == is_3x


OVERRIDDEN = {
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "detect.score_threshold",
    "INPUT.MIN_SIZE_TEST": "resize.short_side",
    "INPUT.MAX_SIZE_TEST": "resize.long_side",
}
NORMS = {"FrozenBN": "frozen_batch", "": "none", "GN": "group"}


def detectron2s_numbers(config: dict[str, Any]) -> dict[str, object]:
    """detectron2's effective configuration at our keys."""
    model, size = config["MODEL"], config["INPUT"]
    net, rpn, roi = model["RESNETS"], model["RPN"], model["ROI_HEADS"]
    box, mask = model["ROI_BOX_HEAD"], model["ROI_MASK_HEAD"]
    deformed = [stage for stage, is_deformed in enumerate(net["DEFORM_ON_PER_STAGE"], start=2) if is_deformed]
    return {
        "pixels.channel_order": size["FORMAT"].lower(),
        "pixels.mean": tuple(model["PIXEL_MEAN"]),
        "pixels.std": tuple(model["PIXEL_STD"]),
        "resize.short_side": size["MIN_SIZE_TEST"],
        "resize.long_side": size["MAX_SIZE_TEST"],
        "backbone.depth": net["DEPTH"],
        "backbone.norm": NORMS[net["NORM"]],
        "backbone.groups": net["NUM_GROUPS"],
        "backbone.frozen_stages": model["BACKBONE"]["FREEZE_AT"],
        "backbone.res5_dilation": net["RES5_DILATION"],
        "backbone.stride_in_1x1": net["STRIDE_IN_1X1"],
        "backbone.deformable_from": deformed[0] if deformed else None,
        "anchors.sizes_px": tuple(map(tuple, model["ANCHOR_GENERATOR"]["SIZES"])),
        "anchors.ratios": tuple(model["ANCHOR_GENERATOR"]["ASPECT_RATIOS"][0]),
        "rpn.anchors_per_image": rpn["BATCH_SIZE_PER_IMAGE"],
        "rpn.box_weights": tuple(rpn["BBOX_REG_WEIGHTS"]),
        "rpn.box_beta": rpn["SMOOTH_L1_BETA"],
        "rpn.negative_iou": rpn["IOU_THRESHOLDS"][0],
        "rpn.positive_iou": rpn["IOU_THRESHOLDS"][1],
        "rpn.nms_iou": rpn["NMS_THRESH"],
        "rpn.positive_share": rpn["POSITIVE_FRACTION"],
        "rpn.test_proposals_before_nms": rpn["PRE_NMS_TOPK_TEST"],
        "rpn.test_proposals_after_nms": rpn["POST_NMS_TOPK_TEST"],
        "rpn.train_proposals_before_nms": rpn["PRE_NMS_TOPK_TRAIN"],
        "rpn.train_proposals_after_nms": rpn["POST_NMS_TOPK_TRAIN"],
        "roi.rois_per_image": roi["BATCH_SIZE_PER_IMAGE"],
        "roi.positive_iou": roi["IOU_THRESHOLDS"][0],
        "roi.negative_iou": roi["IOU_THRESHOLDS"][0],
        "roi.positive_share": roi["POSITIVE_FRACTION"],
        "roi.adds_true_boxes": roi["PROPOSAL_APPEND_GT"],
        "roi.samples": box["POOLER_SAMPLING_RATIO"],
        "roi.is_aligned": box["POOLER_TYPE"] == "ROIAlignV2",
        "box_head.pool_px": box["POOLER_RESOLUTION"],
        "box_head.num_convs": box["NUM_CONV"],
        "box_head.num_fcs": box["NUM_FC"],
        "box_head.fc_channels": box["FC_DIM"],
        "box_head.norm": NORMS[box["NORM"]],
        "box_head.is_class_agnostic": box["CLS_AGNOSTIC_BBOX_REG"],
        "box_head.box_weights": tuple(box["BBOX_REG_WEIGHTS"]),
        "box_head.box_beta": box["SMOOTH_L1_BETA"],
        "mask_head.is_on": model["MASK_ON"],
        "mask_head.pool_px": mask["POOLER_RESOLUTION"],
        "mask_head.num_convs": mask["NUM_CONV"],
        "mask_head.channels": mask["CONV_DIM"],
        "mask_head.norm": NORMS[mask["NORM"]],
        "mask_head.is_class_agnostic": mask["CLS_AGNOSTIC_MASK"],
        "keypoint_head.is_on": model["KEYPOINT_ON"],
        "detect.score_threshold": roi["SCORE_THRESH_TEST"],
        "detect.nms_iou": roi["NMS_THRESH_TEST"],
        "detect.max_detections": config["TEST"]["DETECTIONS_PER_IMAGE"],
    }


def panoptic_numbers(model: dict[str, Any]) -> dict[str, object]:
    """The same for the semantic head, where there is one."""
    if "SEM_SEG_HEAD" not in model:
        return {"semantic_head.is_on": False}
    head, combine = model["SEM_SEG_HEAD"], model["PANOPTIC_FPN"]["COMBINE"]
    return {
        "semantic_head.is_on": True,
        "semantic_head.channels": head["CONVS_DIM"],
        "semantic_head.norm": NORMS[head["NORM"]],
        "semantic_head.loss_weight": head["LOSS_WEIGHT"],
        "panoptic.score_threshold": combine["INSTANCES_CONFIDENCE_THRESH"],
        "panoptic.overlap_share": combine["OVERLAP_THRESH"],
        "panoptic.min_stuff_px": combine["STUFF_AREA_LIMIT"],
    }


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("mask_rcnn_R_50_FPN_3x", "detectron2/mask_rcnn_r50_fpn_3x"),
        ("mask_rcnn_R_50_C4_3x", "detectron2/mask_rcnn_r50_c4_3x"),
        ("mask_rcnn_R_50_FPN_3x_dconv_c3-c5", "detectron2/mask_rcnn_r50_fpn_3x_dconv"),
        ("panoptic_fpn_R_50_3x", "detectron2/panoptic_fpn_r50_3x"),
    ],
)
def test_detectron2s_recorded_configuration_is_the_recipe(shared: Path, case: str, name: str) -> None:
    recorded = json.loads((shared / "parity" / "detectron2" / case / "input.json").read_text(encoding="utf-8"))[
        "config"
    ]
    changes = recorded["overrides"]
    overrides = {OVERRIDDEN[key]: value for key, value in zip(changes[::2], changes[1::2], strict=True)}
    recipe, model = load_recipe(name, overrides), recorded["effective"]["MODEL"]
    numbers = detectron2s_numbers(recorded["effective"]) | panoptic_numbers(model)
    assert {key: valued(recipe, key) for key in numbers} == numbers
    assert len(recipe.categories) == model["ROI_HEADS"]["NUM_CLASSES"]
    if "SEM_SEG_HEAD" in model:
        assert isinstance(recipe, MaskRcnnRecipe)
        assert len(recipe.semantic_head.categories) + 1 == model["SEM_SEG_HEAD"]["NUM_CLASSES"]


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("torchvision/maskrcnn_resnet50_fpn", "torchvision/mask_rcnn_r50_fpn"),
        ("torchvision/maskrcnn_resnet50_fpn_v2", "torchvision/mask_rcnn_r50_fpn_v2"),
        ("torchvision/keypointrcnn_resnet50_fpn", "torchvision/keypoint_rcnn_r50_fpn"),
        ("simple_maskrcnn/resnet50_stride32", SIMPLE),
    ],
)
def test_torchvisions_and_simples_recorded_configuration_is_the_recipe(shared: Path, case: str, name: str) -> None:
    recorded = json.loads((shared / "parity" / case / "input.json").read_text(encoding="utf-8"))["config"]
    defaults, given = recorded["defaults"], recorded.get("kwargs", {})
    keys = {
        "min_size": "resize.short_side",
        "max_size": "resize.long_side",
        "image_mean": "pixels.mean",
        "image_std": "pixels.std",
        "size_divisible": "resize.pad_multiple",
        "stride": "resize.pad_multiple",
        "rpn_pre_nms_top_n_test": "rpn.test_proposals_before_nms",
        "rpn_post_nms_top_n_test": "rpn.test_proposals_after_nms",
        "rpn_nms_thresh": "rpn.nms_iou",
        "box_score_thresh": "detect.score_threshold",
        "box_nms_thresh": "detect.nms_iou",
        "box_detections_per_img": "detect.max_detections",
        "box_num_detections_per_class": "detect.max_per_class",
        "anchor_ratios": "anchors.ratios",
    }
    recipe = load_recipe(name, {keys[key]: value for key, value in given.items()})
    numbers = {keys[key]: value for key, value in defaults.items() if key in keys}
    found = {key: valued(recipe, key) for key in numbers}
    assert {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()} == numbers
    assert valued(recipe, "backbone.norm_eps") == (1e-5 if recorded["frozen_bn_eps"] is None else 0)
    assert len(recipe.categories) + 1 == recorded["num_classes"]
    if name == SIMPLE:
        assert valued(recipe, "anchors.sizes_px") == (tuple(defaults["anchor_sizes"]),)
        assert valued(recipe, "detect.score_threshold") == recorded["box_score_thresh"]


def test_matterports_recorded_configuration_is_the_recipe(shared: Path) -> None:
    folder = shared / "parity" / "matterport" / "resnet101_coco"
    config = json.loads((folder / "input.json").read_text(encoding="utf-8"))["config"]
    training = json.loads((folder / "train.json").read_text(encoding="utf-8"))["config"]
    deviations = tuple(round(1 / deviation, 6) for deviation in config["BBOX_STD_DEV"])
    numbers = {
        "resize.short_side": config["IMAGE_MIN_DIM"],
        "resize.long_side": config["IMAGE_MAX_DIM"],
        "pixels.mean": tuple(config["MEAN_PIXEL"]),
        "backbone.norm_eps": config["batch_norm_eps"],
        "anchors.sizes_px": tuple((size,) for size in config["RPN_ANCHOR_SCALES"]),
        "anchors.ratios": tuple(1 / ratio for ratio in config["RPN_ANCHOR_RATIOS"]),
        "rpn.box_weights": deviations,
        "rpn.nms_iou": config["RPN_NMS_THRESHOLD"],
        "rpn.test_proposals_before_nms": config["pre_nms_limit"],
        "rpn.test_proposals_after_nms": config["POST_NMS_ROIS_INFERENCE"],
        "rpn.train_proposals_after_nms": training["POST_NMS_ROIS_TRAINING"],
        "rpn.anchors_per_image": training["RPN_TRAIN_ANCHORS_PER_IMAGE"],
        "roi.rois_per_image": training["TRAIN_ROIS_PER_IMAGE"],
        "roi.positive_share": training["ROI_POSITIVE_RATIO"],
        "box_head.pool_px": config["POOL_SIZE"],
        "box_head.box_weights": deviations,
        "mask_head.pool_px": config["MASK_POOL_SIZE"],
        "mask_head.mini_mask_px": training["MINI_MASK_SHAPE"][0],
        "detect.score_threshold": config["DETECTION_MIN_CONFIDENCE"],
        "detect.nms_iou": config["DETECTION_NMS_THRESHOLD"],
        "detect.max_detections": config["DETECTION_MAX_INSTANCES"],
    }
    recipe = load_recipe(MATTERPORT)
    assert {key: valued(recipe, key) for key in numbers} == numbers
    assert len(recipe.categories) + 1 == config["NUM_CLASSES"]


def test_class_lists_are_whole_and_without_repetition() -> None:
    sizes = {"cityscapes": 8, "lvis_v0_5": 1230, "lvis_v1": 1203}
    for name, size in sizes.items():
        categories = named_categories(name)
        assert len(categories) == len({category.name for category in categories}) == size
        assert len({category.id for category in categories}) == size
    lvis = named_categories("lvis_v1")
    assert (lvis[0].id, lvis[0].name, lvis[-1].id, lvis[-1].name) == (1, "aerosol_can", 1203, "zucchini")


def test_pascals_classes_are_in_the_order_of_the_alphabet() -> None:
    pascal = named_categories("pascal")
    assert [category.id for category in pascal] == list(range(1, 21))
    assert [category.name for category in pascal] == sorted(category.name for category in pascal)


def test_contract_keys_are_answered_to() -> None:
    promised = [
        "resize.short_side",
        "resize.long_side",
        "detect.score_threshold",
        "detect.nms_iou",
        "detect.max_detections",
        "train.seed",
        "train.iterations",
        "train.batch_size",
        "train.learning_rate",
        "train.checkpoint_every",
        "data.train.images",
        "data.train.annotations",
        "data.val.images",
        "data.val.annotations",
        "data.workers",
    ]
    assert set(promised) <= set(dotted_keys(MaskRcnnRecipe))


def test_coco_has_eighty_classes_and_ninety_ids() -> None:
    coco, with_holes = named_categories("coco"), named_categories("coco_with_holes")
    assert (len(coco), len(with_holes)) == (80, 90)
    assert [category.id for category in with_holes] == list(range(1, 91))
    assert [category for category in with_holes if category.name != UNUSED] == list(coco)
    assert (coco[0].name, coco[-1].id, coco[-1].name) == ("person", 90, "toothbrush")


def test_categories_are_given_by_list_name_by_names_or_by_ids() -> None:
    def pairs(categories: object) -> list[tuple[int, str]]:
        recipe = recipe_from_table({"categories": categories}, "test")
        return [(category.id, category.name) for category in recipe.categories]

    assert len(pairs("coco")) == 80
    assert pairs(["cat", "dog"]) == [(1, "cat"), (2, "dog")]
    assert pairs([{"id": 7, "name": "cat"}]) == [(7, "cat")]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"categories": "cocoo"}, "no class list called 'cocoo'.*coco"),
        ({"family": "yolo"}, "no family called 'yolo'.*mask_rcnn"),
        ({"rpn": {"nms_iou": 5}}, r"here: rpn\.nms_iou: .*less than or equal to 1, got 5"),
        ({"rpn": {"negative_iou": 0.9}}, r"rpn\.negative_iou is above rpn\.positive_iou"),
        ({"anchors": {"sizes_px": [[32]]}}, "5 levels"),
        ({"anchors": {"sizes_px": [[8, 16], [32], [64], [128], [256]]}}, "same number of sizes"),
        ({"resize": {"short_side": 800, "long_side": 400}}, "resize.long_side is below"),
        ({"train": {"batch_size": 3, "accumulate": 2}}, "does not divide"),
        ({"train": {"optimiser": "adam"}}, "train.optimiser.*'sgd' or 'adamw'"),
    ],
)
def test_value_that_does_not_fit_is_named(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_from_table(table, "here")


def test_errors_are_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        recipe_from_table({"rpn": {"nms_iou": 5, "num_conv": 2}, "resiz": {}}, "here")
    assert "\n" not in str(caught.value)
    assert "rpn.nms_iou" in str(caught.value)
    assert "did you mean rpn.num_convs" in str(caught.value)
    assert "did you mean resize" in str(caught.value)


def test_misspelt_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean .*torchvision/mask_rcnn_r50_fpn"):
        load_recipe("torchvision/mask_rcn_r50_fpn")


def test_recipe_like_no_other_is_answered_with_where_to_look() -> None:
    with pytest.raises(ConfigError, match="maskwright recipes"):
        load_recipe("zzz")


class TestFiles:
    """Recipes in files of the user's own."""

    @pytest.fixture(autouse=True)
    def _in_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def test_file_is_laid_over_its_base(self) -> None:
        Path("mine.yaml").write_text("base: torchvision/mask_rcnn_r50_fpn_v2\nrpn: {nms_iou: 0.6}\n", encoding="utf-8")
        recipe = load_recipe("mine.yaml")
        assert isinstance(recipe, MaskRcnnRecipe)
        assert (recipe.name, recipe.rpn.nms_iou, recipe.rpn.num_convs) == ("mine.yaml", 0.6, 2)

    def test_chain_of_bases_is_followed_to_its_end(self) -> None:
        Path("a.yaml").write_text("rpn: {nms_iou: 0.1, num_convs: 3}\ndetect: {nms_iou: 0.2}\n", encoding="utf-8")
        Path("b.yaml").write_text("base: a.yaml\nrpn: {nms_iou: 0.4}\n", encoding="utf-8")
        Path("c.yaml").write_text("base: b.yaml\ndetect: {max_detections: 7}\n", encoding="utf-8")
        recipe = load_recipe("c.yaml", {"rpn.num_convs": 4})
        assert isinstance(recipe, MaskRcnnRecipe)
        assert (recipe.rpn.nms_iou, recipe.rpn.num_convs) == (0.4, 4)
        assert (recipe.detect.nms_iou, recipe.detect.max_detections) == (0.2, 7)

    def test_weights_and_summary_are_not_inherited(self) -> None:
        published = "weights: {w: {source: 'package://w', licence: CC0}}\ndefault_weights: w\nsummary: a\n"
        Path("a.yaml").write_text(published, encoding="utf-8")
        Path("b.yaml").write_text("base: a.yaml\n", encoding="utf-8")
        assert load_recipe("a.yaml").default_weights == "w"
        inherited = load_recipe("b.yaml")
        assert (inherited.weights, inherited.default_weights, inherited.summary) == ({}, None, "")

    def test_circle_of_bases_is_shown(self) -> None:
        Path("a.yaml").write_text("base: b.yaml\n", encoding="utf-8")
        Path("b.yaml").write_text("base: a.yaml\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"circle: a\.yaml → b\.yaml → a\.yaml"):
            load_recipe("a.yaml")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"a: [1", "mine.yaml.*not valid YAML"),
            (b"- 1\n", "mine.yaml.*expected a table.*list"),
            (b"", "mine.yaml.*expected a table"),
            (b"\xff\xfe", "mine.yaml.*not valid YAML"),
            (b"bas: torchvision/mask_rcnn_r50_fpn\n", "mine.yaml: unknown key 'bas'"),
        ],
    )
    def test_file_that_is_no_recipe_is_named(self, content: bytes, message: str) -> None:
        Path("mine.yaml").write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            load_recipe("mine.yaml")

    def test_missing_file_is_named(self) -> None:
        with pytest.raises(ConfigError, match=r"absent\.yaml.*cannot be read"):
            load_recipe("absent.yaml")


def test_a_table_given_in_part_changes_the_default_of_its_family_in_that_part_only() -> None:
    recipe = recipe_from_table(
        {"family": "yolact", "backbone": {"depth": 50}, "pixels": {"channel_order": "bgr"}}, "part"
    )
    default = YolactRecipe()
    assert recipe.backbone == default.backbone.model_copy(update={"depth": 50})
    assert recipe.pixels == default.pixels.model_copy(update={"channel_order": "bgr"})


def test_a_table_of_another_kind_starts_anew() -> None:
    recipe = recipe_from_table({"family": "yolact"}, "kind", {"backbone.kind": "darknet53"})
    assert recipe.backbone == DarkNetConfig(kind="darknet53")
    kept = recipe_from_table({"family": "yolact"}, "kind", {"backbone.kind": "resnet", "backbone.depth": 50})
    assert kept.backbone == YolactRecipe().backbone.model_copy(update={"depth": 50})
