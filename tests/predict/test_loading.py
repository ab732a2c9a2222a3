"""From a name, a recipe file or a checkpoint to a predictor; every mistake gets one line that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torchvision
import yaml

import maskwright as mw
from maskwright.checkpoints.native import NativeCheckpoint, write_native
from maskwright.errors import CheckpointError, ConfigError, MaskwrightError


def save(predictor: mw.Predictor, path: Path) -> Path:
    recipe = predictor.recipe.model_dump(mode="json")
    write_native(path, NativeCheckpoint(predictor.model.state_dict(), recipe, {"step": torch.ones(1)}, {"step": 1}))
    return path


@pytest.fixture(scope="module")
def predictor(tiny_network) -> mw.Predictor:
    return mw.load("mask_rcnn", weights="random", device="cpu", overrides={**tiny_network, "train.seed": 4})


@pytest.fixture(scope="module")
def checkpoint(predictor, tmp_path_factory) -> Path:
    return save(predictor, tmp_path_factory.mktemp("run") / "best.safetensors")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """A torchvision state dict of a small network with two classes."""
    backbone = torchvision.models.detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=torch.nn.BatchNorm2d
    )
    path = tmp_path_factory.mktemp("foreign") / "model.pth"
    torch.save(torchvision.models.detection.MaskRCNN(backbone, num_classes=3).state_dict(), path)
    return path


def assert_same_weights(found: mw.Predictor, wanted: mw.Predictor) -> None:
    theirs = wanted.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in found.model.state_dict().items())


def test_a_checkpoint_of_ours_brings_its_recipe_and_categories(checkpoint, predictor) -> None:
    for model in (checkpoint, str(checkpoint)):
        found = mw.load(model, device="cpu")
        assert found.recipe == predictor.recipe
        assert tuple(found.categories) == ("brick", "egg", "star")
        assert_same_weights(found, predictor)


def test_loaded_weights_give_the_same_instances(checkpoint, predictor) -> None:
    image = torch.randint(0, 256, (3, 64, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found, wanted = mw.load(checkpoint, device="cpu")(image), predictor(image)
    assert torch.equal(found.boxes, wanted.boxes) and torch.equal(found.scores, wanted.scores)


def test_overrides_change_the_test_settings_of_a_checkpoint(checkpoint) -> None:
    found = mw.load(checkpoint, device="cpu", overrides={"detect.max_detections": 7})
    assert found.max_detections == 7


def test_weights_of_a_checkpoint_go_into_a_recipe_of_its_shape(checkpoint, predictor, tiny_network) -> None:
    overrides = {**tiny_network, "detect.nms_iou": 0.3}
    found = mw.load("mask_rcnn", weights=checkpoint, device="cpu", overrides=overrides)
    assert found.recipe.detect.nms_iou == 0.3
    assert_same_weights(found, predictor)


def test_a_recipe_file_is_a_model(predictor, tiny_network, tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    nested: dict = {"base": "mask_rcnn", "train": {"seed": 4}}
    for key, value in tiny_network.items():
        *table, last = key.split(".")
        (nested.setdefault(table[0], {}) if table else nested)[last] = value
    path.write_text(yaml.safe_dump(nested))
    assert_same_weights(mw.load(path, weights="random", device="cpu"), predictor)


def test_a_recipe_without_weights_of_its_own_starts_from_random_ones(predictor, tiny_network) -> None:
    assert_same_weights(mw.load("mask_rcnn", device="cpu", overrides={**tiny_network, "train.seed": 4}), predictor)


def test_a_foreign_checkpoint_alone_is_recognised(foreign) -> None:
    found = mw.load(foreign, device="cpu")
    assert found.recipe.name == "torchvision/mask_rcnn_r50_fpn"
    assert found.recipe.backbone.depth == 18
    assert tuple(found.categories) == ("class 1", "class 2")
    wanted = torch.load(foreign, weights_only=True)
    assert torch.equal(found.model.backbone.stem.conv.weight, wanted["backbone.body.conv1.weight"])


def test_a_foreign_checkpoint_takes_the_names_it_is_given(foreign) -> None:
    overrides = {"categories": ["cat", "dog"], "backbone.depth": 18}
    assert tuple(mw.load(foreign, device="cpu", overrides=overrides).categories) == ("cat", "dog")
    found = mw.load("torchvision/mask_rcnn_r50_fpn", weights=foreign, device="cpu", overrides=overrides)
    assert tuple(found.categories) == ("cat", "dog")
    # its norms have counters, so they are BatchNorm2d's with their epsilon, whatever the recipe says
    assert (found.recipe.backbone.norm, found.recipe.backbone.norm_eps) == ("batch", 1e-5)


def test_a_foreign_checkpoint_with_other_classes_than_the_recipe_is_refused(foreign) -> None:
    with pytest.raises(CheckpointError, match="trained for 2 classes, the recipe has 90 categories"):
        mw.load("torchvision/mask_rcnn_r50_fpn", weights=foreign, device="cpu", overrides={"backbone.depth": 18})


TINY_YOLACT = {
    "resize.size": 64,
    "backbone.width": 8,
    "fpn.channels": 16,
    "protonet.channels": 8,
    "head.channels": 16,
    "categories": ["brick", "egg", "star"],
}


def in_the_authors_names(predictor: mw.Predictor) -> dict[str, torch.Tensor]:
    """Weights of a YOLACT of ours as its authors' code would save them."""
    named = {}
    for name, value in predictor.model.state_dict().items():
        for ours, theirs in (
            (r"backbone\.stem\.conv", "backbone.conv1"),
            (r"backbone\.stem\.norm", "backbone.bn1"),
            (r"backbone\.stages", "backbone.layers"),
            (r"conv(\d)\.conv\.", r"conv\1."),
            (r"conv(\d)\.norm\.", r"bn\1."),
            (r"shortcut\.conv", "downsample.0"),
            (r"shortcut\.norm", "downsample.1"),
            (r"fpn\.laterals\.(\d)\.conv", r"fpn.lat_layers.<\1>"),
            (r"fpn\.outputs\.(\d)\.conv", r"fpn.pred_layers.<\1>"),
            (r"fpn\.extra\.convs", "fpn.downsample_layers"),
            (r"protonet\.convs\.3", "proto_net.8"),
            (r"protonet\.convs\.(\d)", r"proto_net.{\1}"),
            (r"protonet\.prototypes", "proto_net.10"),
            (r"head\.convs\.0", "prediction_layers.0.upfeature.0"),
            (r"^head\.class_logits", "prediction_layers.0.conf_layer"),
            (r"^head\.deltas", "prediction_layers.0.bbox_layer"),
            (r"^head\.coefficients", "prediction_layers.0.mask_layer"),
            (r"semantic_head\.logits", "semantic_seg_conv"),
        ):
            name = re.sub(ours, theirs, name)
        name = re.sub(r"<(\d)>", lambda match: str(2 - int(match[1])), name)
        name = re.sub(r"{(\d)}", lambda match: str(2 * int(match[1])), name)
        if "conf_layer" in name:
            value = value.unflatten(0, (3, -1)).roll(1, dims=1).flatten(0, 1)
        named[name] = value
    return named


@pytest.fixture(scope="module")
def yolact(tmp_path_factory) -> tuple[mw.Predictor, Path]:
    """A small YOLACT, and its weights as a file of the authors'."""
    predictor = mw.load("yolact/r50", "random", "cpu", TINY_YOLACT)
    path = tmp_path_factory.mktemp("yolact") / "yolact_tiny_3_1000.pth"
    torch.save(in_the_authors_names(predictor), path)
    return predictor, path


@pytest.mark.parametrize("recipe", ["yolact/r50", "yolact/r50_pascal"])
def test_a_file_of_yolacts_authors_goes_into_the_recipe_that_is_named(yolact, recipe) -> None:
    predictor, path = yolact
    found = mw.load(recipe, path, "cpu", {**TINY_YOLACT, "resize.size": 96})
    assert (found.recipe.name, found.recipe.resize.size) == (recipe, 96)
    assert_same_weights(found, predictor)


def test_a_file_of_yolacts_authors_alone_is_recognised(yolact) -> None:
    predictor, path = yolact
    widths = {key: value for key, value in TINY_YOLACT.items() if key != "categories"}
    found = mw.load(path, device="cpu", overrides=widths)
    assert (found.recipe.name, tuple(found.categories)) == ("yolact/r50", ("class 1", "class 2", "class 3"))
    assert_same_weights(found, predictor)


def test_a_recipes_own_weights_may_be_a_foreign_file(yolact, tmp_path) -> None:
    predictor, path = yolact
    table = {
        "base": "yolact/r50",
        "weights": {"mine": {"source": str(path), "licence": "CC0"}},
        "default_weights": "mine",
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(table))
    for weights in (None, "mine"):
        assert_same_weights(mw.load(tmp_path / "mine.yaml", weights, "cpu", TINY_YOLACT), predictor)


def test_yolacts_classes_are_told_where_they_are_others(yolact) -> None:
    with pytest.raises(CheckpointError, match="trained for 3 classes, the recipe has 80 categories"):
        mw.load("yolact/r50", yolact[1], "cpu", {**TINY_YOLACT, "categories": "coco"})


def test_a_backbone_is_no_model(tmp_path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    for arguments in ({"model": path}, {"model": "torchvision/mask_rcnn_r50_fpn", "weights": path}):
        with pytest.raises(
            CheckpointError, match=r"resnet18\.pth holds only a backbone, .*train\.initial_weights=FILE"
        ):
            mw.load(**arguments, device="cpu")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "mask_rcn"}, ConfigError, "no recipe called 'mask_rcn'; did you mean mask_rcnn"),
        ({"model": "none.yaml"}, ConfigError, r"recipe none\.yaml: cannot be read"),
        ({"model": "none.pth"}, CheckpointError, r"none\.pth does not exist"),
        ({"model": "none.safetensors"}, CheckpointError, r"none\.safetensors does not exist"),
        ({"model": "none.ckpt"}, CheckpointError, r"none\.ckpt does not exist"),
        ({"model": "none.onnx"}, CheckpointError, r"none\.onnx does not exist"),
        ({"weights": "none.ckpt"}, CheckpointError, r"none\.ckpt does not exist"),
        ({"weights": "cocoo"}, ConfigError, "has no weights called 'cocoo'; choose one of random"),
        ({"weights": "none.pth"}, CheckpointError, r"none\.pth does not exist"),
        ({"weights": "hf://owner"}, ConfigError, "not of the form hf://owner/repo/file"),
        ({"weights": "https://host/weights"}, ConfigError, "does not end in a checkpoint's file name"),
        ({"overrides": {"rpn.nms_io": 0.5}}, ConfigError, "unknown key 'rpn.nms_io'; did you mean rpn.nms_iou"),
        ({"overrides": {"rpn.nms_iou": 5}}, ConfigError, "rpn.nms_iou: .* got 5"),
        ({"overrides": {"categories": []}}, ConfigError, "has no categories"),
        ({"device": "gpu"}, ConfigError, "device 'gpu' cannot be used"),
        ({"precision": "fp16"}, ConfigError, "no precision called 'fp16'; choose one of fp32, bf16"),
    ],
    ids=str,
)
def test_mistakes_are_told_in_one_line(tiny_network, arguments, error, message) -> None:
    overrides = {**tiny_network, **arguments.get("overrides", {})}
    with pytest.raises(error, match=message) as raised:
        mw.load(**{"model": "mask_rcnn", "device": "cpu", **arguments, "overrides": overrides})
    assert "\n" not in str(raised.value)


def test_a_checkpoint_takes_no_other_weights(checkpoint) -> None:
    with pytest.raises(ConfigError, match=r"best\.safetensors is a checkpoint and has its weights"):
        mw.load(checkpoint, weights="random", device="cpu")


def test_a_checkpoint_of_another_shape_is_refused(checkpoint) -> None:
    with pytest.raises(CheckpointError, match=r"best\.safetensors does not fit the recipe: "):
        mw.load(checkpoint, device="cpu", overrides={"fpn.channels": 32})


def test_a_checkpoint_with_other_classes_is_refused(checkpoint, tiny_network) -> None:
    overrides = {**tiny_network, "categories": ["one"]}
    with pytest.raises(CheckpointError, match="trained for 3 classes, the recipe has 1 categories"):
        mw.load("mask_rcnn", weights=checkpoint, device="cpu", overrides=overrides)


def test_loading_never_leaves_a_trace_in_the_global_generator(checkpoint) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    mw.load(checkpoint, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_all_these_errors_are_of_one_family() -> None:
    assert issubclass(ConfigError, MaskwrightError) and issubclass(CheckpointError, MaskwrightError)
    assert MaskwrightError.exit_status == 2


@pytest.mark.parametrize("name", ["x.ckpt", "x.onnx", "x.engine", "x", "x y.weights", "mask_rcn"])
def test_a_path_that_exists_is_no_recipe(tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"?")
    for arguments in ({"model": name}, {"model": "mask_rcnn", "weights": name}):
        with pytest.raises(CheckpointError, match=f"checkpoint {name} cannot be read"):
            mw.load(**arguments, device="cpu")
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match=f"checkpoint {name} is a folder"):
        mw.load(name, device="cpu")


def test_a_folder_called_as_a_recipe_hides_it_not(tmp_path, monkeypatch, tiny_network) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mask_rcnn").mkdir()
    assert mw.load("mask_rcnn", "random", "cpu", tiny_network).recipe.name == "mask_rcnn"


def test_a_name_of_any_length_is_told_in_one_short_line() -> None:
    for name in ("x" * 5000, "a/" * 3000, "\x00", "", "\x1b[31m"):
        with pytest.raises(MaskwrightError) as raised:
            mw.load(name, device="cpu")
        assert len(str(raised.value)) <= 2000 and "\n" not in str(raised.value)
