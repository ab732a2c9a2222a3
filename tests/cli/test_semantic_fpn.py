"""A semantic FPN through the commands: trained, told, predicted with, and measured."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

NETWORK = (
    "rpn.is_on=false", "mask_head.is_on=false", "semantic_head.is_on=true", "semantic_head.channels=32",
    "panoptic.min_stuff_px=1", "train.best_metric=semantic.mIoU",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(here, tiny, tmp_path_factory):
    """The folder of a finished run on images that are wall above and floor below, and what the command said."""
    folder = tmp_path_factory.mktemp("semantic")
    (folder / "pictures").mkdir()
    content = json.loads(tiny.annotations.read_text())
    annotations = []
    for image in content["images"]:
        pixels = np.zeros((64, 64, 3), dtype=np.uint8)
        pixels[:40, :, 0], pixels[40:, :, 0] = 1, 2
        Image.fromarray(pixels).save(folder / "pictures" / image["file_name"])
        segments = [{"id": 1, "category_id": 8}, {"id": 2, "category_id": 9}]
        annotations.append({"image_id": image["id"], "file_name": image["file_name"], "segments_info": segments})
    categories = [{**entry, "isthing": 1} for entry in content["categories"]]
    categories += [{"id": 8, "name": "wall", "isthing": 0}, {"id": 9, "name": "floor", "isthing": 0}]
    document = {"images": content["images"], "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(document))
    data = [
        f"data.{part}.panoptic_{key}={folder / name}"
        for part in ("train", "val")
        for key, name in (("annotations", "panoptic.json"), ("images", "pictures"))
    ]
    run = folder / "run"
    return run, here("train", tiny.recipe, *tiny.overrides, *data, *NETWORK, "--output", run)


def test_a_training_is_validated_by_the_classes_of_pixels(trained):
    run, outcome = trained
    assert (outcome.status, outcome.err) == (0, "")
    (line,) = [line for line in outcome.out.splitlines() if "validation" in line]
    assert line.startswith("step 2/2  validation  loss ") and "  semantic mIoU 0." in line
    assert (run / "checkpoints" / "best.safetensors").exists()
    assert 0 <= json.loads((run / "metrics.json").read_text())["semantic"]["mIoU"] <= 1


def test_its_checkpoint_is_reported_as_a_semantic_fpn(here, trained):
    outcome = here("inspect", trained[0] / "checkpoints" / "best.safetensors")
    lines = dict(line.split(maxsplit=1) for line in outcome.out.splitlines())
    assert lines["architecture"].startswith("Semantic FPN, ResNet-18")
    assert lines["architecture"].endswith("FPN of 16 channels, semantic head of 3 outputs")
    assert (lines["categories"], lines["stuff"]) == ("square (1)", "wall (8), floor (9)")
    assert lines["fit"] == "every weight fits"


def test_a_prediction_writes_its_stuff(here, tiny, trained, tmp_path):
    model = trained[0] / "checkpoints" / "best.safetensors"
    outcome = here("predict", tiny.images, "--model", model, "--output", tmp_path / "out", "--device", "cpu")
    assert (outcome.status, json.loads((tmp_path / "out" / "predictions.json").read_text())["annotations"]) == (0, [])
    panoptic = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert [(entry["id"], entry["isthing"]) for entry in panoptic["categories"]] == [(1, 1), (8, 0), (9, 0)]
    for folder in ("panoptic", "overlays"):
        assert sorted(path.name for path in (tmp_path / "out" / folder).iterdir()) == ["1.png", "2.png", "3.png"]


def test_measuring_it_needs_segments(here, tiny, trained):
    model = trained[0] / "checkpoints" / "best.safetensors"
    outcome = here("evaluate", "--model", model, "--images", tiny.images, "--annotations", tiny.annotations)
    assert outcome.status == 2
    assert outcome.err.startswith("error: recipe ") and "has no segments to compare these with" in outcome.err


def test_it_is_measured_on_panoptic_annotations(here, tiny, trained, tmp_path):
    run, _ = trained
    (run.parent / "panoptic").symlink_to(run.parent / "pictures")
    model = run / "checkpoints" / "best.safetensors"
    files = ("--images", tiny.images, "--annotations", run.parent / "panoptic.json", "--format", "coco_panoptic")
    outcome = here("evaluate", "--model", model, *files, "--output", tmp_path / "out", "--device", "cpu")
    assert outcome.status == 0, outcome.err
    assert "mIoU" in outcome.out
    measured = json.loads((tmp_path / "out" / "metrics.json").read_text())["semantic"]
    assert measured == json.loads((run / "metrics.json").read_text())["semantic"]
    assert measured["per_category"].keys() == {"things", "wall", "floor"}


def test_the_help_of_predict_names_panoptic_files(here):
    assert "panoptic.json" in here("predict", "--help").out
