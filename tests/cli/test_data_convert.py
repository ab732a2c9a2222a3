"""`maskwright data convert`: what it writes, says and refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image


@pytest.mark.parametrize("target_format", ["coco", "coco_panoptic", "lvis", "voc", "yolo", "labelme", "masks"])
def test_a_converted_dataset_is_read_again_without_a_defect(here, tiny, tmp_path, target_format):
    made = here("data", "convert", tiny.images, tiny.annotations, tmp_path / "out", "--to", target_format)
    assert made.status == 0, made.err
    lines = dict(line.split(maxsplit=1) for line in made.out.splitlines())
    assert lines["source"].endswith("coco: 3 images, 3 annotations")
    assert lines["lost"] == "nothing"
    checked = here("data", "check", lines["images"], lines["annotations"], "--format", target_format)
    assert checked.status == 0, checked.out + checked.err
    assert "annotations  3" in checked.out


def test_as_users_start_it_and_back_again(process, tiny, tmp_path):
    there = process("data", "convert", tiny.images, tiny.annotations, tmp_path / "yolo", "--to", "yolo")
    assert there.status == 0, there.err
    assert (tmp_path / "yolo" / "labels" / "1.txt").read_text().startswith("0 0.15625 0.1875 ")
    words = [tmp_path / "yolo" / "images", tmp_path / "yolo" / "data.yaml", tmp_path / "coco", "--format", "yolo"]
    back = process("data", "convert", *words, "--to", "coco", "--images", "link")
    assert back.status == 0, back.err
    document = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    assert [one["area"] for one in document["annotations"]] == [576, 576, 576]
    assert [one["name"] for one in document["categories"]] == ["square"]
    assert (tmp_path / "coco" / "images" / "1.png").is_symlink()


def test_defects_are_refused_unless_skipped_and_then_listed(here, tiny, tmp_path):
    content = json.loads(tiny.annotations.read_text())
    content["annotations"][0]["bbox"] = [5, 5, 0, 0]
    content["images"][1]["file_name"] = "gone.png"
    (tmp_path / "bad.json").write_text(json.dumps(content))
    words = ["data", "convert", tiny.images, tmp_path / "bad.json", tmp_path / "out", "--to", "labelme"]
    refused = here(*words)
    assert refused.status == 2
    assert "2 defects" in refused.err
    assert not (tmp_path / "out").exists()
    done = here(*words, "--skip-bad")
    assert done.status == 0, done.err
    assert "gone.png" in done.err
    assert "has no area" in done.err
    assert "1 images, 1 annotations" in done.out
    assert "--keep-damaged-images keeps their other objects" in done.err


def test_losses_are_reported(here, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks" / "a" / "cell").mkdir(parents=True)
    pixels = np.zeros((30, 30), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    for number, side in enumerate((20, 10)):
        pixels[:] = 0
        pixels[5 : 5 + side, 5 : 5 + side] = 255
        Image.fromarray(pixels).save(tmp_path / "masks" / "a" / "cell" / f"{number}.png")
    words = ["data", "convert", tmp_path / "images", tmp_path / "masks", tmp_path / "out", "--format", "masks"]
    done = here(*words, "--to", "id_maps", "--images", "none")
    assert done.status == 0, done.err
    assert f"images       {tmp_path / 'images'}" in done.out
    assert "lost         100 pixels of objects, under smaller objects that overlap them" in done.out
    assert "lost         2 objects' classes, left out; they read as 'object'" in done.out


def test_boxes_only_takes_objects_without_masks(here, tiny, tmp_path):
    content = json.loads(tiny.annotations.read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    words = ["data", "convert", tiny.images, tmp_path / "boxes.json", tmp_path / "out", "--to", "yolo"]
    assert here(*words).status == 2
    assert here(*words, "--boxes-only").status == 0
    assert (tmp_path / "out" / "labels" / "1.txt").read_text() == "0 0.34375 0.375 0.375 0.375\n"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--to", "hdf5"], "no format called 'hdf5' can be written; choose one of coco"),
        (["--to", "yolo", "--format", "hdf5"], "no annotation format called 'hdf5'"),
    ],
)
def test_wrong_use_is_one_clear_line(here, tiny, tmp_path, words, part):
    outcome = here("data", "convert", tiny.images, tiny.annotations, tmp_path / "out", *words)
    assert outcome.status == 2
    assert part in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_folder_with_something_in_it_is_left_as_it_is(here, tiny, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    outcome = here("data", "convert", tiny.images, tiny.annotations, tmp_path / "out", "--to", "coco")
    assert outcome.status == 2
    assert "is not empty" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_broken_image_is_refused_before_anything_is_written_or_left_out(here, tiny, tmp_path):
    shutil.copytree(tiny.images, tmp_path / "images")
    broken = tmp_path / "images" / "2.png"
    broken.write_bytes(broken.read_bytes()[:-100])
    words = ["data", "convert", tmp_path / "images", tiny.annotations, tmp_path / "out", "--to", "yolo"]
    refused = here(*words)
    assert refused.status == 2
    assert "truncated-image" in refused.err
    assert "2.png" in refused.err
    assert "--skip-bad" in refused.err
    assert not (tmp_path / "out").exists()
    assert here(*words, "--skip-bad").status == 0
    assert not list((tmp_path / "out").rglob("2.png"))
    left = here("data", "check", tmp_path / "out" / "images", tmp_path / "out" / "labels", "--format", "yolo")
    assert left.status == 0, left.out
