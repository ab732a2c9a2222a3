"""Every lineage is one value: keys are renamed once, and the nearest recipe is the one with the fewest changes."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from maskwright.checkpoints import names
from maskwright.checkpoints.lineage import nearest_recipe
from maskwright.checkpoints.reading import LINEAGES
from maskwright.config import load_recipe
from maskwright.models.build import build_model


def test_lineages_and_their_backbones_have_names_of_their_own() -> None:
    assert len({lineage.name for lineage in LINEAGES}) == len(LINEAGES)
    backbones = [files.name for lineage in LINEAGES for files in lineage.backbones]
    assert len(set(backbones)) == len(backbones)


@pytest.mark.parametrize(
    ("lineage", "recipe"),
    [(lineage, f"{lineage.name}/mask_rcnn_r50_fpn") for lineage in LINEAGES if lineage.write is not None],
    ids=lambda value: getattr(value, "name", ""),
)
def test_each_key_is_renamed_once_and_what_is_written_is_recognised_without_renaming(
    lineage, recipe, monkeypatch
) -> None:
    with torch.device("meta"):
        weights = build_model(load_recipe(recipe)).state_dict()
    state = lineage.write(weights)
    renamed: Counter[str] = Counter()
    original = names._renamed
    monkeypatch.setattr(names, "_renamed", lambda name, pairs: [renamed.update([name]), original(name, pairs)][1])
    reading = lineage.read(state)
    assert set(renamed) == set(state)
    assert set(renamed.values()) == {1}
    assert (reading.recipe, reading.implied) == lineage.recognise(weights)
    assert set(renamed.values()) == {1}


def test_of_recipes_with_equally_few_changes_the_shortest_name_is_the_nearest() -> None:
    every = ["detectron2/mask_rcnn_r101_fpn", "detectron2/mask_rcnn_r50_fpn_3x_gn", "detectron2/mask_rcnn_r50_fpn"]
    assert nearest_recipe(every, {}) == "detectron2/mask_rcnn_r50_fpn"
    assert nearest_recipe(every, {"backbone.depth": 101}) == "detectron2/mask_rcnn_r101_fpn"
    assert nearest_recipe(every, {"backbone.depth": 18}) == "detectron2/mask_rcnn_r50_fpn"
