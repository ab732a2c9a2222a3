"""The state dicts of YOLACT's authors under our names; theirs are spelt out here as tables of names and shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from maskwright.checkpoints.fitting import compare_weights
from maskwright.checkpoints.yolact import YOLACT, from_yolact, is_yolact
from maskwright.config import YolactRecipe, load_recipe
from maskwright.errors import CheckpointError
from maskwright.models.build import build_model

Shapes = dict[str, tuple[int, ...]]

RESNET_50, RESNET_101 = (3, 4, 6, 3), (3, 4, 23, 3)
DARKNET_53 = (1, 2, 8, 8, 4)


def recognise(state: dict[str, torch.Tensor]) -> tuple[str, dict[str, Any]]:
    """The recipe that keys and shapes prove, and the overrides."""
    recipe, implied, _ = YOLACT.read(state)
    assert recipe is not None
    return recipe, implied


def conv(name: str, *shape: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if bias else {})


def norm(name: str, channels: int) -> Shapes:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def resnet(num_blocks: tuple[int, ...], deformable_every: int | None = None) -> Shapes:
    shapes = conv("backbone.conv1", 64, 3, 7, 7, bias=False) | norm("backbone.bn1", 64)
    before = 64
    for stage, count in enumerate(num_blocks):
        narrow, wide = 64 * 2**stage, 256 * 2**stage
        for block in range(count):
            name = f"backbone.layers.{stage}.{block}"
            is_deformable = bool(deformable_every) and stage > 0 and block % deformable_every == 0
            shapes |= conv(f"{name}.conv1", narrow, before, 1, 1, bias=False) | norm(f"{name}.bn1", narrow)
            shapes |= conv(f"{name}.conv2", narrow, narrow, 3, 3, bias=is_deformable) | norm(f"{name}.bn2", narrow)
            shapes |= conv(f"{name}.conv2.conv_offset_mask", 27, narrow, 3, 3) if is_deformable else {}
            shapes |= conv(f"{name}.conv3", wide, narrow, 1, 1, bias=False) | norm(f"{name}.bn3", wide)
            if block == 0:
                shapes |= conv(f"{name}.downsample.0", wide, before, 1, 1, bias=False)
                shapes |= norm(f"{name}.downsample.1", wide)
            before = wide
    return shapes


def darknet() -> Shapes:
    def layer(name: str, *shape: int) -> Shapes:
        return conv(f"{name}.0", *shape, bias=False) | norm(f"{name}.1", shape[0])

    shapes = layer("backbone._preconv", 32, 3, 3, 3)
    for stage, count in enumerate(DARKNET_53):
        narrow, wide = 32 * 2**stage, 64 * 2**stage
        shapes |= layer(f"backbone.layers.{stage}.0", wide, narrow, 3, 3)
        for block in range(1, count + 1):
            shapes |= layer(f"backbone.layers.{stage}.{block}.conv1", narrow, wide, 1, 1)
            shapes |= layer(f"backbone.layers.{stage}.{block}.conv2", wide, narrow, 3, 3)
    return shapes


def rest(inputs: tuple[int, ...], num_classes: int = 80, num_anchors: int = 3, has_rescoring: bool = False) -> Shapes:
    shapes: Shapes = {}
    for place in (0, 2, 4, 8):
        shapes |= conv(f"proto_net.{place}", 256, 256, 3, 3)
    shapes |= conv("proto_net.10", 32, 256, 1, 1)
    for level, channels in enumerate(reversed(inputs)):
        shapes |= conv(f"fpn.lat_layers.{level}", 256, channels, 1, 1)
        shapes |= conv(f"fpn.pred_layers.{level}", 256, 256, 3, 3)
    for level in range(2):
        shapes |= conv(f"fpn.downsample_layers.{level}", 256, 256, 3, 3)
    head = "prediction_layers.0"
    shapes |= conv(f"{head}.upfeature.0", 256, 256, 3, 3)
    shapes |= conv(f"{head}.bbox_layer", 4 * num_anchors, 256, 3, 3)
    shapes |= conv(f"{head}.conf_layer", (num_classes + 1) * num_anchors, 256, 3, 3)
    shapes |= conv(f"{head}.mask_layer", 32 * num_anchors, 256, 3, 3)
    shapes |= conv("semantic_seg_conv", num_classes, 256, 1, 1)
    if has_rescoring:
        widths = (1, 8, 16, 32, 64, 128)
        for place, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            shapes |= conv(f"maskiou_net.maskiou_net.{2 * place}", after, before, 3, 3)
        shapes |= conv("maskiou_net.maskiou_net.10", num_classes, 128, 1, 1)
    return shapes


OF_RESNET, OF_DARKNET = (512, 1024, 2048), (256, 512, 1024)
PLUS = {"num_anchors": 9, "has_rescoring": True}
RELEASED: dict[str, Shapes] = {
    "yolact/r50": resnet(RESNET_50) | rest(OF_RESNET),
    "yolact/r101": resnet(RESNET_101) | rest(OF_RESNET),
    "yolact/darknet53": darknet() | rest(OF_DARKNET),
    "yolact/plus_r50": resnet(RESNET_50, deformable_every=1) | rest(OF_RESNET, **PLUS),
    "yolact/plus_r101": resnet(RESNET_101, deformable_every=3) | rest(OF_RESNET, **PLUS),
    "yolact/r50_pascal": resnet(RESNET_50) | rest(OF_RESNET, num_classes=20),
}


def meta(shapes: Shapes) -> dict[str, Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def recognised(state: dict[str, Tensor]) -> YolactRecipe:
    assert is_yolact(set(state))
    recipe = load_recipe(*recognise(state))
    assert isinstance(recipe, YolactRecipe)
    return recipe


def assert_fills(state: dict[str, Tensor], recipe: YolactRecipe) -> None:
    with torch.device("meta"):
        report = compare_weights(from_yolact(state), build_model(recipe))
    assert report.is_exact, report


@pytest.mark.parametrize("name", RELEASED)
def test_released_models_are_recognised_and_fill_the_network(name) -> None:
    state = meta(RELEASED[name])
    recipe = recognised(state)
    assert recipe == load_recipe(name)
    assert_fills(state, recipe)


@pytest.mark.parametrize("name", ["yolact/r101_400", "yolact/r101_700"])
def test_other_image_sizes_have_the_same_names_so_the_recipe_must_be_named(name) -> None:
    state = meta(RELEASED["yolact/r101"])
    assert recognised(state).resize.size == 550
    assert_fills(state, load_recipe(name))


def with_older_names(shapes: Shapes) -> Shapes:
    """As version 1.0 wrote them: the stages a second time, and five more levels of which none was used."""
    stages = {key: shape for key, shape in shapes.items() if key.startswith("backbone.layers")}
    twice = {
        re.sub(r"backbone\.layers\.(\d)", lambda match: f"backbone.layer{int(match[1]) + 1}", key): at
        for key, at in stages.items()
    }
    levels: Shapes = {}
    for level in range(2, 7):
        levels |= conv(f"fpn.downsample_layers.{level}", 256, 256, 3, 3)
    return twice | shapes | levels


def test_what_only_older_files_have_is_left_out() -> None:
    shapes = with_older_names(RELEASED["yolact/r50"])
    assert {"backbone.layer1.0.conv1.weight", "fpn.downsample_layers.6.bias"} <= set(shapes)
    state = meta(shapes)
    assert_fills(state, recognised(state))


@pytest.mark.parametrize("num_classes", [1, 3, 81])
def test_another_number_of_classes_gets_numbered_names(num_classes) -> None:
    state = meta(resnet(RESNET_50) | rest(OF_RESNET, num_classes))
    recipe = recognised(state)
    assert recipe.name == "yolact/r50"
    assert [category.name for category in recipe.categories] == [f"class {n}" for n in range(1, num_classes + 1)]
    assert_fills(state, recipe)


def test_twenty_classes_of_other_networks_are_not_taken_for_pascals() -> None:
    state = meta(resnet(RESNET_101) | rest(OF_RESNET, num_classes=20))
    assert [category.name for category in recognised(state).categories][:2] == ["class 1", "class 2"]


@pytest.mark.parametrize("every", [2, 5, 100])
def test_which_blocks_are_deformable_is_read_off_the_names(every) -> None:
    state = meta(resnet(RESNET_101, deformable_every=every) | rest(OF_RESNET, **PLUS))
    assert_fills(state, recognised(state))


def test_finer_anchors_without_deformable_convolutions_are_recognised() -> None:
    state = meta(resnet(RESNET_50) | rest(OF_RESNET, num_anchors=9))
    recipe = recognised(state)
    assert (recipe.backbone.deformable_from, recipe.rescoring.is_on) == (None, False)
    assert_fills(state, recipe)


def test_levels_are_turned_round() -> None:
    parts = ("lat_layers", "pred_layers")
    state = {f"fpn.{part}.{level}.bias": torch.full((2,), float(level)) for part in parts for level in range(3)}
    named = from_yolact(state)
    for ours in ("laterals", "outputs"):
        assert [named[f"fpn.{ours}.{level}.conv.bias"][0].item() for level in range(3)] == [2, 1, 0]


def test_background_goes_from_the_first_to_the_last_class_of_each_anchor() -> None:
    anchors, classes = 3, 4
    rows = torch.arange(anchors * classes)
    state = {
        "prediction_layers.0.bbox_layer.bias": torch.zeros(4 * anchors),
        "prediction_layers.0.conf_layer.bias": rows.float(),
        "prediction_layers.0.conf_layer.weight": rows.float()[:, None, None, None].expand(-1, 2, 3, 3),
    }
    named = from_yolact(state)
    wanted = [1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8]
    assert named["head.class_logits.bias"].tolist() == wanted
    assert named["head.class_logits.weight"].shape == (12, 2, 3, 3)
    assert named["head.class_logits.weight"][:, 1, 2, 0].tolist() == wanted


def test_class_scores_of_an_odd_length_are_left_for_the_report() -> None:
    state = {
        "prediction_layers.0.bbox_layer.bias": torch.zeros(12),
        "prediction_layers.0.conf_layer.bias": torch.zeros(7),
        "prediction_layers.0.conf_layer.weight": torch.zeros(()),
    }
    named = from_yolact(state)
    assert (named["head.class_logits.bias"].shape, named["head.class_logits.weight"].shape) == ((7,), ())


@pytest.mark.parametrize("key", ["backbone.layers.0.0.se.weight", "fpn.lat_layers.3.weight", "proto_net.12.weight"])
def test_a_key_without_a_rule_keeps_its_name(key) -> None:
    assert list(from_yolact({key: torch.zeros(1)})) == [key]


def test_no_two_keys_get_one_name() -> None:
    for shapes in RELEASED.values():
        assert len(from_yolact(meta(shapes))) == len(shapes)


def without(shapes: Shapes, start: str) -> Shapes:
    return {key: shape for key, shape in shapes.items() if not key.startswith(start)}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            without(RELEASED["yolact/r50"], "backbone.layers.2.5"),
            "5 blocks in layers.2 is none that YOLACT was released",
        ),
        (without(RELEASED["yolact/r50"], "prediction_layers.0.bbox_layer.bias"), "bbox_layer.bias is no list of 4"),
        (RELEASED["yolact/r50"] | {"prediction_layers.0.conf_layer.bias": ()}, "conf_layer.bias is no list of 6"),
        (RELEASED["yolact/r50"] | {"prediction_layers.0.conf_layer.bias": (4,)}, "conf_layer.bias is no list of 6"),
        (RELEASED["yolact/r50"] | {"prediction_layers.0.bbox_layer.bias": (0,)}, "bbox_layer.bias is no list of 4"),
    ],
)
def test_what_cannot_be_recognised_is_said(shapes, message) -> None:
    with pytest.raises(CheckpointError, match=message):
        recognise(meta(shapes))


def recorded(shared) -> Iterator[tuple[str, Shapes]]:
    for path in sorted((shared / "parity" / "yolact").glob("*/weights.json")):
        keys = json.loads(path.read_text(encoding="utf-8"))["keys"]
        yield path.parent.name, {key: tuple(rule["shape"]) for key, rule in keys.items()}


def test_the_tables_here_are_those_of_the_reference(shared) -> None:
    names = {"base": "r101", "resnet50": "r50", "plus_resnet50": "plus_r50"}
    found = {f"yolact/{names[case.removeprefix('yolact_')]}": shapes for case, shapes in recorded(shared)}
    assert len(found) == 3
    assert found == {name: RELEASED[name] for name in found}
