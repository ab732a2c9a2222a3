"""A semantic head learns from the panoptic annotations that the recipe names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import log_of

import maskwright as mw
from maskwright.config import load_recipe
from maskwright.data.opening import open_dataset
from maskwright.data.readers import read_dataset
from maskwright.errors import ConfigError, DataError
from maskwright.predict.evaluate import evaluate_dataset
from maskwright.training.semantic import outputs_of, with_stuff


def files_of(dataset: Path, part: str) -> dict[str, str]:
    return {
        f"data.{part}.images": str(dataset / "images"),
        f"data.{part}.annotations": str(dataset / "annotations.json"),
    }


def overrides_of(panoptic: dict[str, str], part: str = "train") -> dict[str, Any]:
    return {f"data.{part}.panoptic_{key}": value for key, value in panoptic.items()}


def read(dataset: Path) -> Any:
    return read_dataset(dataset / "images", dataset / "annotations.json")


def test_stuff_is_taken_from_the_training_annotations(dataset: Path, tiny: Path, panoptic: dict[str, str]) -> None:
    files = {**files_of(dataset, "train"), **files_of(dataset, "val"), **overrides_of(panoptic)}
    recipe = load_recipe(str(tiny), {"semantic_head.is_on": True, **files})
    train, val = (open_dataset(part, needs_masks=True) for part in (recipe.data.train, recipe.data.val))
    recipe = with_stuff(recipe, train, val)
    assert [category.name for category in recipe.semantic_head.categories] == ["sky", "grass"]
    semantic = train.records[0].targets(train.categories, outputs_of(recipe, train)).semantic
    assert semantic is not None
    assert semantic[:, 0].tolist() == [1] * 20 + [0] * 10 + [2] * (len(semantic) - 30)
    assert val is not None
    assert val.records[0].segments is None  # no panoptic annotations of these are named


def test_without_a_semantic_head_nothing_changes(dataset: Path, tiny: Path) -> None:
    recipe, train = load_recipe(str(tiny)), read(dataset)
    assert with_stuff(recipe, train, None) is recipe
    assert outputs_of(recipe, train) is None


def test_a_semantic_head_without_panoptic_annotations_is_refused(dataset: Path, tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.train\.panoptic_annotations=FILE"):
        with_stuff(load_recipe(str(tiny), {"semantic_head.is_on": True}), read(dataset), None)
    with pytest.raises(ConfigError, match="belong together"):
        load_recipe(str(tiny), {"data.train.panoptic_images": "somewhere"})


@pytest.mark.parametrize("skips", [False, True])
def test_images_without_a_map_are_refused_or_left_out(
    dataset: Path, tiny: Path, panoptic: dict[str, str], tmp_path: Path, skips: bool
) -> None:
    document = json.loads(Path(panoptic["annotations"]).read_text())
    (tmp_path / "some.json").write_text(json.dumps({**document, "annotations": document["annotations"][:4]}))
    files = {**files_of(dataset, "train"), **overrides_of({**panoptic, "annotations": str(tmp_path / "some.json")})}
    config = load_recipe(str(tiny), {"data.train.skip_bad": skips, **files}).data.train
    if skips:
        assert len(open_dataset(config, needs_masks=True).records) == 4
    else:
        with pytest.raises(DataError, match="missing-panoptic 6"):
            open_dataset(config, needs_masks=True)


SEMANTIC_FPN = {
    "rpn.is_on": False,
    "mask_head.is_on": False,
    "semantic_head.is_on": True,
    "semantic_head.channels": 32,
    "backbone.norm": "group",
    "train.best_metric": "semantic.mIoU",
}


def test_a_semantic_fpn_that_could_not_be_validated_is_refused(
    training: Any, panoptic: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"validated on data\.val\.panoptic_annotations=FILE .* or no data\.val at all"
    ):
        mw.train(**training(tmp_path / "run", {**SEMANTIC_FPN, **overrides_of(panoptic)}, validates=True))
    with pytest.raises(ConfigError, match=r"give both$"):
        mw.train(**training(tmp_path / "run", SEMANTIC_FPN))


def test_a_semantic_fpn_is_trained_and_validated_by_its_loss_and_the_classes_of_pixels(
    training: Any, panoptic: dict[str, str], dataset: Path, tmp_path: Path
) -> None:
    data = {**overrides_of(panoptic), **overrides_of(panoptic, "val")}
    settings = {"train.iterations": 8, "train.evaluate_every": 4}
    result = mw.train(**training(tmp_path / "run", {**SEMANTIC_FPN, **data, **settings}, validates=True))
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    first, second = [line for line in log if line["part"] == "val"]
    assert second["loss_semantic"] < first["loss_semantic"]
    assert result.metrics is not None
    assert set(result.metrics["semantic"]["per_category"]) == {"things", "sky", "grass"}
    assert second["semantic.mIoU"] == pytest.approx(result.metrics["semantic"]["mIoU"])
    best = json.loads((tmp_path / "run" / "metrics.json").read_text())["semantic"]["mIoU"]
    assert best == max(first["semantic.mIoU"], second["semantic.mIoU"])
    with pytest.raises(ConfigError, match="has no segments"):
        mw.evaluate(mw.load(result.best, device="cpu"), dataset / "images", dataset / "annotations.json")


def test_the_default_best_metric_is_refused_for_a_semantic_fpn_before_the_first_step(
    training: Any, panoptic: dict[str, str], tmp_path: Path
) -> None:
    settings = {
        **SEMANTIC_FPN,
        **overrides_of(panoptic),
        **overrides_of(panoptic, "val"),
        "train.best_metric": "mask.AP",
    }
    with pytest.raises(ConfigError, match=r"gives only semantic; set it to semantic\.mIoU"):
        mw.train(**training(tmp_path / "run", settings, validates=True))


def test_a_semantic_fpn_starts_from_the_weights_of_a_panoptic_one(
    training: Any, panoptic: dict[str, str], tmp_path: Path
) -> None:
    settings = {**SEMANTIC_FPN, **overrides_of(panoptic), "train.iterations": 1}
    with_objects = {**settings, "rpn.is_on": True, "mask_head.is_on": True}
    first = mw.train(**training(tmp_path / "first", with_objects))
    mw.train(**training(tmp_path / "second", {**settings, "train.initial_weights": str(first.last)}))
    start = json.loads((tmp_path / "second" / "log.jsonl").read_text().splitlines()[0])
    assert start["random"] == []
    assert not [name for name in start["skipped"] if name.startswith(("backbone.", "fpn.", "semantic_head."))]


def test_a_semantic_head_is_trained_with_the_others_and_found_again(
    training: Any, panoptic: dict[str, str], dataset: Path, tmp_path: Path
) -> None:
    settings = {"semantic_head.is_on": True, "semantic_head.channels": 32, "train.iterations": 12}
    arguments = training(tmp_path / "run", {**settings, **overrides_of(panoptic)})
    mw.train(**arguments)
    losses = [line["semantic"] for line in log_of(tmp_path / "run")]
    assert len(losses) == 12
    assert 0 < losses[-1] < losses[0]
    predictor = mw.load(tmp_path / "run" / "checkpoints" / "last.safetensors", device="cpu")
    found = predictor(dataset / "images" / "1.png")
    assert found.semantic is not None
    assert found.semantic.stuff.ids == (92, 95)
    assert found.panoptic().size == found.size
    tiled = predictor.tiled(40, 8)
    assert tiled(dataset / "images" / "1.png").semantic is None
    config = load_recipe(str(arguments["recipe"]), arguments["overrides"]).data.train
    data = open_dataset(config, needs_masks=True)
    assert {"semantic", "panoptic"} <= set(evaluate_dataset(predictor, data).metrics)
    assert not {"semantic", "panoptic"} & set(evaluate_dataset(tiled, data).metrics)
