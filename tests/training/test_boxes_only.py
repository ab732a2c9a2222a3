"""Models without a mask branch learn from, and are measured on, annotations that have boxes and nothing more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import Arguments

import maskwright as mw
from maskwright.data.readers import read_dataset
from maskwright.data.readers.options import ReadOptions
from maskwright.errors import DataError

Training = Callable[..., Arguments]


@pytest.fixture
def boxes_only(dataset: Path, tmp_path: Path) -> Path:
    """The annotations of the tiny dataset without their masks."""
    document = json.loads((dataset / "annotations.json").read_text())
    for annotation in document["annotations"]:
        del annotation["segmentation"]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(document))
    return path


def test_faster_rcnn_trains_and_is_measured_on_boxes_alone(
    training: Training, dataset: Path, boxes_only: Path, tmp_path: Path
) -> None:
    changes = {"mask_head.is_on": False, "train.best_metric": "box.AP", "train.iterations": 1}
    data = {f"data.{part}.annotations": str(boxes_only) for part in ("train", "val")}
    result = mw.train(**training(tmp_path / "run", {**changes, **data}, validates=True))
    assert result.metrics is not None
    assert set(result.metrics.to_dict()) & {"box", "mask"} == {"box"}
    predictor = mw.load(result.last, device="cpu")
    metrics = mw.evaluate(predictor, dataset / "images", boxes_only)
    assert 0 <= metrics["box"]["AP"] <= 1


def test_a_model_with_masks_refuses_them(training: Training, dataset: Path, boxes_only: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="segmentation"):
        mw.train(**training(tmp_path / "run", {"data.train.annotations": str(boxes_only)}))


def test_an_object_has_a_box_at_least(dataset: Path, boxes_only: Path) -> None:
    document = json.loads(boxes_only.read_text())
    del document["annotations"][0]["bbox"]
    boxes_only.write_text(json.dumps(document))
    found = read_dataset(dataset / "images", boxes_only, options=ReadOptions(needs_masks=False))
    assert [defect.kind for defect in found.defects] == ["bad-box"]
