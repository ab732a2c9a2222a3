"""A family that the package does not know: a recipe, a network and three rows are all it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml
from PIL import Image
from tiny_runs import TINY, Arguments
from torch import Tensor, nn
from torch.nn import functional as F
from typer.testing import CliRunner

import maskwright as mw
from maskwright.checkpoints import class_rows
from maskwright.checkpoints.roi_heads import Layout
from maskwright.cli.app import app
from maskwright.config import Recipe, loading
from maskwright.config.images import ShortSideResize
from maskwright.models import build
from maskwright.models.backbones.build import build_backbone
from maskwright.models.segmenter import AS_RECIPE, Limits, Segmenter
from maskwright.ops.losses import LossSum, loss_sum
from maskwright.structures import Categories, CropMasks, ImageBatch, Instances, Targets
from maskwright.structures.masks.crop import Crop


class WholeRecipe(Recipe):
    """The recipe of the family."""

    title = "Whole"
    family: Literal["whole"] = "whole"
    resize: ShortSideResize = ShortSideResize()


class Whole(Segmenter):
    """Every class fills the whole image, with the probability that it is in it."""

    def __init__(self, recipe: WholeRecipe) -> None:
        super().__init__()
        self.backbone = build_backbone(recipe.backbone)
        self.categories = Categories.of([category.model_dump() for category in recipe.categories])
        self.logits = nn.Linear(self.backbone.channels[-1], len(self.categories))
        self.threshold, self.count = recipe.detect.score_threshold, recipe.detect.max_detections

    def losses(self, batch: ImageBatch, targets: Sequence[Targets]) -> dict[str, LossSum]:
        logits = self._logits(batch)
        wanted = torch.zeros_like(logits)
        for row, target in zip(wanted, targets, strict=True):
            row[target.labels] = 1
        return {"presence": loss_sum(F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum"), len(logits))}

    def detect(self, batch: ImageBatch, limits: Limits = AS_RECIPE) -> list[Instances]:
        pairs = zip(self._logits(batch).sigmoid(), batch.sizes, strict=True)
        return [self._of_image(scores, size, limits) for scores, size in pairs]

    def _of_image(self, scores: Tensor, size: tuple[int, int], limits: Limits) -> Instances:
        best = scores.argsort(descending=True)
        best = best[scores[best] > limits.score_or(self.threshold)][: limits.count_or(self.count)]
        whole = Crop(torch.ones(size, dtype=torch.bool).numpy(), 0, 0)
        boxes = scores.new_tensor([[0, 0, size[1], size[0]]]).repeat(len(best), 1)
        masks = CropMasks.from_crops([whole] * len(best), size)
        return Instances(size, boxes, best, scores[best], masks, self.categories)

    def _logits(self, batch: ImageBatch) -> Tensor:
        logits: Tensor = self.logits(self.backbone(batch.pixels)[-1].mean(dim=(2, 3)))
        return logits


def rows_of(recipe: Recipe, layer: str, classes: tuple[str, ...]) -> Any:
    return Layout("class", classes) if layer == "logits" else None


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A recipe file of the family, whose three rows are entered."""
    monkeypatch.setitem(loading.FAMILIES, "whole", WholeRecipe)
    monkeypatch.setitem(build.FAMILIES, "whole", Whole)
    monkeypatch.setitem(class_rows.LAYOUTS, "whole", rows_of)
    path = tmp_path / "whole.yaml"
    common = {key: TINY[key] for key in ("resize", "backbone", "data", "train")}
    path.write_text(yaml.safe_dump({"family": "whole", **common}))
    return path


def test_it_is_trained_resumed_evaluated_and_started_from(
    whole: Path, training: Callable[..., Arguments], tmp_path: Path
) -> None:
    arguments = training(tmp_path / "run", {"train.iterations": 2}, validates=True) | {"recipe": str(whole)}
    run = mw.train(**arguments)
    assert run.metrics is not None and 0 <= run.metrics["mask"]["AP"] <= 1
    assert mw.train(**arguments, resume=True).steps == run.steps == 2
    start = {"train.iterations": 1, "train.initial_weights": str(run.last), "categories": ["egg", "brick", "tree"]}
    changed = training(tmp_path / "next", start) | {"recipe": str(whole)}
    assert mw.train(**changed).last.exists()


def test_it_predicts_whole_in_views_and_in_tiles(whole: Path) -> None:
    changes = {"categories": ["egg", "brick"], "detect.score_threshold": 0.0, "augmented.short_sides": [32, 48]}
    predictor = mw.load(whole, "random", "cpu", changes)
    image = Image.new("RGB", (90, 60), "red")
    for looking in (predictor, predictor.augmented(), predictor.tiled(40), predictor.augmented().tiled(40)):
        found = looking(image)
        assert set(found.labels.tolist()) == {0, 1} and found.masks is not None
        assert found.masks.areas().tolist() == [90 * 60] * len(found)
    assert len(predictor(image, max_detections=1)) == 1


def test_its_checkpoint_and_its_recipe_are_shown(
    whole: Path, training: Callable[..., Arguments], tmp_path: Path
) -> None:
    last = mw.train(**training(tmp_path / "run", {"train.iterations": 1}) | {"recipe": str(whole)}).last
    shown = CliRunner().invoke(app, ["inspect", str(last)])
    assert shown.exit_code == 0 and "Whole, ResNet-18" in shown.output, shown.output
    resolved = CliRunner().invoke(app, ["recipes", str(whole)])
    assert resolved.exit_code == 0 and "family: whole" in resolved.output, resolved.output
