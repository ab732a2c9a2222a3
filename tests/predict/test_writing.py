"""Predictions on disk: always whole, whatever happens."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from maskwright.config import load_recipe
from maskwright.data.readers import read_dataset
from maskwright.data.readers.panoptic import read_panoptic
from maskwright.errors import OutputError
from maskwright.images.preprocess import Preprocess
from maskwright.predict.coco_file import PredictionsFile
from maskwright.predict.writing import PREDICTIONS, claim_output, predict_files, write_json
from maskwright.structures import Categories, CropMasks, Instances, SemanticMap
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.rle import rle_to_crop
from maskwright.structures.semantic_map import PanopticRule

CATEGORIES = Categories(("cell",), (7,))


def found_in(size, num_objects):
    boxes = torch.tensor([[1.0, 2.0, 5.0, 10.0]]).repeat(num_objects, 1)
    return Instances(
        size=size,
        boxes=boxes,
        labels=torch.zeros(num_objects, dtype=torch.int64),
        scores=torch.full((num_objects,), 0.9),
        masks=None,
        categories=CATEGORIES,
    )


class TwoBoxes:
    """Stands for a predictor: finds two objects everywhere."""

    categories = CATEGORIES
    preprocess = Preprocess.of(load_recipe("mask_rcnn"))

    def __call__(self, image, *_):
        return found_in(tuple(image.shape[1:]), 2)


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / folder / f"{name}.png" for folder, name in (("a", 1), ("b", 1), ("b", 2))]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def output(tmp_path):
    claim_output(tmp_path / "out" / "deep", PREDICTIONS)
    return tmp_path / "out" / "deep"


def test_file_without_images_is_an_empty_dataset(tmp_path):
    with PredictionsFile(tmp_path / PREDICTIONS, CATEGORIES):
        pass
    expected = {"categories": [{"id": 7, "name": "cell"}], "annotations": [], "images": []}
    assert json.loads((tmp_path / PREDICTIONS).read_text()) == expected


def test_ids_count_through_and_areas_of_boxes_are_theirs(tmp_path):
    with PredictionsFile(tmp_path / PREDICTIONS, CATEGORIES) as file:
        for name, num_objects in (("a.png", 2), ("b.png", 0), ("c.png", 1)):
            file.add(name, found_in((20, 30), num_objects))
    content = json.loads((tmp_path / PREDICTIONS).read_text())
    assert [(entry["id"], entry["image_id"]) for entry in content["annotations"]] == [(1, 1), (2, 1), (3, 3)]
    assert [entry["area"] for entry in content["annotations"]] == [32.0] * 3
    assert content["images"][1] == {"id": 2, "file_name": "b.png", "height": 20, "width": 30}


def test_further_facts_stand_with_the_image(tmp_path):
    with PredictionsFile(tmp_path / PREDICTIONS, CATEGORIES) as file:
        file.add("clip.mp4#000007", found_in((20, 30), 1), {"frame": 7, "seconds": 0.28})
    (image,) = json.loads((tmp_path / PREDICTIONS).read_text())["images"]
    assert image == {
        "id": 1, "file_name": "clip.mp4#000007", "height": 20, "width": 30, "frame": 7, "seconds": 0.28,
    }  # fmt: skip


def test_images_wait_on_the_disk_where_nobody_sees_them(tmp_path):
    with PredictionsFile(tmp_path / PREDICTIONS, CATEGORIES) as file:
        for number in range(500):
            file.add(f"{number}.png", found_in((20, 30), 0))
        assert not any(isinstance(value, (list, dict)) for value in vars(file).values())
        assert [path.name for path in tmp_path.iterdir()] == [PREDICTIONS + ".unfinished"]
    images = json.loads((tmp_path / PREDICTIONS).read_text())["images"]
    assert [image["id"] for image in images] == list(range(1, 501))
    assert [path.name for path in tmp_path.iterdir()] == [PREDICTIONS]


def test_names_are_relative_to_the_common_folder_and_pictures_do_not_overwrite_each_other(images, output):
    outcomes = list(predict_files(TwoBoxes(), images, output))
    assert [(outcome.source, outcome.num_objects, outcome.error) for outcome in outcomes] == [
        (path, 2, None) for path in images
    ]
    content = json.loads((output / PREDICTIONS).read_text())
    assert [image["file_name"] for image in content["images"]] == ["a/1.png", "b/1.png", "b/2.png"]
    assert sorted(path.name for path in (output / "overlays").iterdir()) == ["2.png", "a_1.png", "b_1.png"]


def test_pixels_of_an_image_are_read_once_and_its_masks_pasted_once(images, output, monkeypatch):
    read, pasted = [], []
    crops, opened = CropMasks.crops, Preprocess.read
    monkeypatch.setattr(CropMasks, "crops", lambda self: pasted.append(len(self)) or crops(self))
    monkeypatch.setattr(Preprocess, "read", lambda self, source: read.append(source) or opened(self, source))
    list(predict_files(WithSky(), images, output))
    assert read == images
    assert pasted == [2, 2, 2]
    assert len(list((output / "overlays").iterdir())) == len(list((output / "panoptic").iterdir())) == 3


def test_areas_of_masks_are_their_pixels(images, output):
    list(predict_files(WithSky(), images, output))
    entries = json.loads((output / PREDICTIONS).read_text())["annotations"]
    assert [entry["area"] for entry in entries] == [32.0] * 6
    assert [rle_to_crop(entry["segmentation"]).area for entry in entries] == [32] * 6


@pytest.mark.parametrize("num_done", [0, 1, 2])
def test_stopping_early_leaves_a_whole_file_of_the_images_so_far(images, output, num_done):
    outcomes = predict_files(TwoBoxes(), images, output)
    for _ in range(num_done):
        next(outcomes)
    outcomes.close()
    if num_done:
        assert len(json.loads((output / PREDICTIONS).read_text())["images"]) == num_done
    assert [path for path in output.iterdir() if "unfinished" in path.name] == []


def test_interruption_while_the_network_works_leaves_a_whole_file(images, output):
    class Stopped(TwoBoxes):
        num_calls = 0

        def __call__(self, *arguments):
            self.num_calls += 1
            if self.num_calls == 3:
                raise KeyboardInterrupt
            return super().__call__(*arguments)

    with pytest.raises(KeyboardInterrupt):
        list(predict_files(Stopped(), images, output))
    content = json.loads((output / PREDICTIONS).read_text())
    assert (len(content["images"]), len(content["annotations"])) == (2, 4)


@pytest.mark.parametrize("names", [[], [PREDICTIONS, "overlays", "notes.txt"], [PREDICTIONS + ".unfinished"]])
def test_empty_folder_and_earlier_output_are_taken(tmp_path, names):
    for name in names:
        (tmp_path / name).touch()
    claim_output(tmp_path, PREDICTIONS)


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match=r"out cannot be written \(File exists\)"):
        claim_output(tmp_path / "out", PREDICTIONS)


class WithSky(TwoBoxes):
    """Stands for a panoptic predictor: all is sky but for the two objects, of which the second lies on the first."""

    def __call__(self, image, *_):
        size = tuple(image.shape[1:])
        found = found_in(size, 2)
        grid = torch.zeros((2, 6, 9))
        grid[1] = 1.0
        semantic = SemanticMap(size, grid, size, 4, Categories(("sky",), (92,)), True, PanopticRule(0.5, 0.5, 1))
        masks = CropMasks.from_crops([Crop(np.ones((8, 4), dtype=bool), 2, 1)] * 2, size)
        return replace(found, masks=masks, semantic=semantic)


def test_panoptic_maps_stand_beside_the_predictions_in_cocos_form(images, output):
    list(predict_files(WithSky(), images, output))
    content = json.loads((output / "panoptic.json").read_text())
    assert content["categories"] == [{"id": 7, "name": "cell", "isthing": 1}, {"id": 92, "name": "sky", "isthing": 0}]
    assert content["images"] == json.loads((output / PREDICTIONS).read_text())["images"]
    assert [(entry["image_id"], entry["file_name"]) for entry in content["annotations"]] == [
        (1, "a_1.png"), (2, "b_1.png"), (3, "2.png"),
    ]  # fmt: skip
    for entry in content["annotations"]:
        ids = np.array(Image.open(output / "panoptic" / entry["file_name"])) @ [1, 256, 65536]
        areas = {info["id"]: (info["category_id"], info["area"]) for info in entry["segments_info"]}
        assert areas == {1: (7, 32), 2: (92, 568)}
        assert [int((ids == id_).sum()) for id_ in (1, 2)] == [32, 568]


def test_a_panoptic_map_is_made_once_for_file_and_picture(images, output, monkeypatch):
    made = []
    panoptic = Instances.panoptic
    monkeypatch.setattr(Instances, "panoptic", lambda found: made.append(found) or panoptic(found))
    list(predict_files(WithSky(), images, output))
    assert len(made) == len(images)


def test_our_panoptic_files_can_be_trained_on(images, output):
    list(predict_files(WithSky(), images, output))
    panoptic = read_panoptic(output / "panoptic.json", output / "panoptic")
    dataset = read_dataset(images[0].parents[1], output / PREDICTIONS)
    joined = panoptic.added_to(dataset)
    outputs = panoptic.classes.outputs(panoptic.classes.stuff, has_things=True, source=panoptic.source)
    semantic = joined.records[2].targets(dataset.categories, outputs).semantic
    assert [int((semantic == output_).sum()) for output_ in (0, 1, 255)] == [32, 568, 0]


def test_a_model_without_stuff_leaves_no_panoptic_files_not_even_old_ones(images, output):
    list(predict_files(WithSky(), images, output))
    list(predict_files(TwoBoxes(), images, output))
    assert not (output / "panoptic.json").exists()
    assert not list((output / "panoptic").iterdir())


def test_stopping_early_leaves_a_whole_panoptic_file(images, output):
    outcomes = predict_files(WithSky(), images, output)
    next(outcomes)
    outcomes.close()
    assert len(json.loads((output / "panoptic.json").read_text())["annotations"]) == 1


def test_a_full_disk_keeps_the_old_file_and_no_half_of_the_new_one(tmp_path, monkeypatch):
    write_json(tmp_path / "metrics.json", {"mask": 1})

    def is_full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", is_full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_json(tmp_path / "metrics.json", {"mask": 2})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"mask": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_json_that_cannot_be_written_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_json(tmp_path / "gone" / "metrics.json", {})
