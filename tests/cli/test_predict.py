"""`maskwright predict`, first as a process, then its refusals."""

from __future__ import annotations

import json
import shutil

import pytest
from pycocotools.coco import COCO


def test_images_that_cannot_be_read_are_named_and_the_others_predicted(process, tiny, tmp_path):
    shutil.copytree(tiny.images, tmp_path / "images")
    whole = (tmp_path / "images" / "1.png").read_bytes()
    (tmp_path / "images" / "1-cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "images" / "2-text.png").write_text("no image")
    outcome = process(
        "predict", tmp_path / "images", "--model", tiny.recipe, "--weights", "random", "--score-threshold", 0,
        "--output", tmp_path / "out", "--max-detections", 5, "--device", "cpu", "--set", "detect.nms_iou=0.4",
    )  # fmt: skip
    assert outcome.status == 2
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert [name in line for name, line in zip(("1-cut.png", "2-text.png"), errors, strict=True)] == [True, True]
    assert "Traceback" not in outcome.err
    assert "images: 5 of 5" in outcome.err
    assert "in 3 images; 2 could not be used" in outcome.out

    predictions = COCO(tmp_path / "out" / "predictions.json")
    assert [image["file_name"] for image in predictions.loadImgs([1, 2, 3])] == ["1.png", "2.png", "3.png"]
    assert predictions.getAnnIds()
    for annotation in predictions.loadAnns(predictions.getAnnIds()):
        assert annotation.keys() >= {"image_id", "category_id", "bbox", "area", "segmentation", "score", "iscrowd"}
        assert predictions.annToMask(annotation).sum() == annotation["area"]
    assert sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir()) == ["1.png", "2.png", "3.png"]


@pytest.fixture
def predict(here, tiny, tmp_path):
    def command(*options, images=tiny.images, output=tmp_path / "out"):
        return here(
            "predict", images, "--model", tiny.recipe, "--weights", "random", "--output", output, *options
        )  # fmt: skip

    return command


def test_earlier_predictions_are_replaced_with_their_pictures(predict, tiny, tmp_path):
    assert predict().status == 0
    assert predict(images=tiny.images / "2.png").status == 0
    assert [image["file_name"] for image in _read(tmp_path)["images"]] == ["2.png"]
    assert [path.name for path in (tmp_path / "out" / "overlays").iterdir()] == ["2.png"]


def test_folder_with_other_files_is_refused_and_keeps_them(predict, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    outcome = predict()
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: output folder {tmp_path / 'out'} has other files in it")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_unwritable_folder_is_refused_before_any_work(here, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = here("predict", "nowhere.png", "--model", "no_recipe", "--output", tmp_path / "file" / "below")
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: output {tmp_path / 'file' / 'below'} cannot be written")


def test_pictures_can_be_left_out(predict, tmp_path):
    assert predict("--no-overlays").status == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.json"]


def test_random_weights_without_being_asked_for_are_warned_of(here, tiny, tmp_path):
    outcome = here("predict", tiny.images / "1.png", "--model", tiny.recipe, "--output", tmp_path / "out")
    assert outcome.status == 0
    assert "warning: recipe" in outcome.err
    assert "give --weights" in outcome.err


def test_weights_for_another_number_of_classes_are_refused(here, tiny, trained, tmp_path):
    weights = trained[0] / "checkpoints" / "best.safetensors"
    outcome = here(
        "predict", tiny.images, "--model", tiny.recipe, "--weights", weights, "--set", "categories=[a, b]",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert outcome.status == 2
    assert "it was trained for 1 classes, the recipe has 2 categories" in outcome.err


def _read(folder):
    return json.loads((folder / "out" / "predictions.json").read_text())
