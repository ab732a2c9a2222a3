"""What a training begins with where its recipe leaves that open: weights trained on COCO, or random ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_runs import TINY, Arguments

import maskwright as mw
from maskwright.checkpoints.fitting import compare_weights
from maskwright.config import MaskRcnnRecipe, YolactRecipe, load_recipe
from maskwright.config.images import PixelsConfig
from maskwright.errors import CheckpointError
from maskwright.models.build import build_model
from maskwright.training import beginning
from maskwright.training.beginning import on_other_pixels, put_initial_weights, recipe_with_backbone_of
from maskwright.training.distributed import World

Training = Callable[..., Arguments]
ALONE = World(0, 1, 0)
STEM = "backbone.stem.conv.weight"


@pytest.fixture
def source(training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe file with weights called coco, the only one that trainings may start from unasked."""
    last = mw.train(**training(tmp_path / "first", {"train.iterations": 1, "train.seed": 5})).last
    coco = {"source": str(last), "licence": "CC0"}
    path = tmp_path / "source.yaml"
    path.write_text(yaml.safe_dump({**TINY, "name": "source", "weights": {"coco": coco}}))
    for family in (MaskRcnnRecipe, YolactRecipe):
        monkeypatch.setattr(family, "coco_sources", (str(path),))
    return path


def begin(recipe_name: str, changes: dict[str, Any]) -> tuple[torch.nn.Module, dict[str, Any]]:
    recipe = load_recipe(recipe_name, {"train.initial_weights": "auto", **changes})
    model = build_model(recipe)
    return model, put_initial_weights(model, recipe, ALONE)


def test_weights_trained_on_coco_are_the_start_where_they_can_be_had(tiny: Path, source: Path, tmp_path: Path) -> None:
    model, reported = begin(str(tiny), {"categories": ["egg", "brick"]})
    wanted = mw.load(tmp_path / "first" / "checkpoints" / "best.safetensors", device="cpu").model.state_dict()
    assert reported["initial_weights"] == "source, trained on COCO (CC0)"
    assert reported["taken"] == "model"
    assert torch.equal(model.state_dict()[STEM], wanted[STEM])
    logits = "box_head.class_logits.weight"
    assert torch.equal(model.state_dict()[logits], wanted[logits][[1, 0, 2]])


def test_another_family_takes_the_backbone_alone(source: Path, tmp_path: Path, tiny_yolact: dict[str, Any]) -> None:
    backbone = {"backbone.depth": 18, "backbone.width": 8, "backbone.norm": "batch"}
    model, reported = begin("yolact", {**tiny_yolact, **backbone})
    wanted = mw.load(tmp_path / "first" / "checkpoints" / "best.safetensors", device="cpu").model.state_dict()
    assert reported["taken"] == "backbone"
    name = "backbone.stages.3.1.conv2.conv.weight"
    assert torch.equal(model.state_dict()[name], wanted[name])


def test_what_cannot_be_fetched_is_reported_and_the_start_is_random(
    tiny: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object) -> Path:
        raise CheckpointError("https://… cannot be fetched (no route); is there a network?")

    monkeypatch.setattr(beginning, "locate_weights", offline)
    model, reported = begin(str(tiny), {"categories": ["egg"]})
    random = build_model(load_recipe(str(tiny), {"categories": ["egg"]})).state_dict()
    assert all(torch.equal(value, random[name]) for name, value in model.state_dict().items())
    assert reported["initial_weights"] is None
    assert "cannot be fetched (no route)" in reported["random_because"]


def test_a_backbone_without_known_weights_asks_no_network(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginning, "locate_weights", lambda *_: pytest.fail("asks for a file"))
    reported = begin(str(tiny), {"categories": ["egg"]})[1]
    assert reported == {
        "initial_weights": None,
        "frozen_stages": 0,
        "random_because": "no weights trained on COCO are known for this backbone",
    }


def test_the_recipes_for_peoples_own_data_start_from_weights_that_fit_them() -> None:
    for name, changes in (("mask_rcnn", {}), ("yolact", {}), ("mask_rcnn", {"backbone.frozen_stages": 2})):
        recipe = load_recipe(name, {**changes, "categories": "coco"})
        assert recipe.train.initial_weights == "auto"
        source = recipe_with_backbone_of(recipe)
        assert source is not None and source.name == "detectron2/mask_rcnn_r50_fpn_3x_gn"
        with torch.device("meta"):
            theirs, model = build_model(source).state_dict(), build_model(recipe)
        if name == "mask_rcnn":
            assert compare_weights(theirs, model).is_exact
        else:
            mine = {name: value.shape for name, value in model.state_dict().items() if name.startswith("backbone.")}
            assert mine == {name: value.shape for name, value in theirs.items() if name.startswith("backbone.")}


@pytest.mark.parametrize("change", [{"backbone.depth": 18}, {"backbone.norm": "frozen_batch"}])
def test_another_backbone_starts_from_none_of_them(change: dict[str, Any]) -> None:
    source = recipe_with_backbone_of(load_recipe("mask_rcnn", change))
    assert source is None or source.name.startswith("torchvision/")


def test_the_first_layer_answers_alike_on_other_pixels() -> None:
    old = PixelsConfig(channel_order="bgr", divisor=1.0, mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0))
    new = PixelsConfig()
    image = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(1)) * 255
    kernels = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(2))

    def seen(pixels: PixelsConfig) -> torch.Tensor:
        values = image.flip(1) if pixels.is_bgr else image
        mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (pixels.mean, pixels.std))
        return (values / pixels.divisor - mean) / std

    moved = on_other_pixels({STEM: kernels}, old, new)[STEM]
    convolve = torch.nn.functional.conv2d
    torch.testing.assert_close(convolve(seen(new), moved), convolve(seen(old), kernels), rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(on_other_pixels({STEM: moved}, new, old)[STEM], kernels)
