"""`maskwright data check` and the refusals of the commands that read datasets."""

from __future__ import annotations

import json
import re

import pytest

from maskwright.data.readers import READERS


@pytest.fixture
def defective(tiny, tmp_path):
    """An annotation file with a box without area and an image that is not there."""
    content = json.loads(tiny.annotations.read_text())
    content["annotations"][0]["bbox"] = [5, 5, 0, 0]
    content["images"][1]["file_name"] = "gone.png"
    path = tmp_path / "defective.json"
    path.write_text(json.dumps(content))
    return path


def test_clean_dataset_is_reported_so_with_status_0(here, tiny):
    outcome = here("data", "check", tiny.images, tiny.annotations)
    assert outcome.status == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "no defects"
    assert "images: 3 of 3" in outcome.err


def test_all_defects_are_listed_with_status_2(here, tiny, defective):
    outcome = here("data", "check", tiny.images, defective, "--no-pixels")
    assert outcome.status == 2
    assert "gone.png" in outcome.out
    assert "box-without-area" in outcome.out
    assert outcome.err == ""


def test_broken_json_is_named(here, tiny, tmp_path):
    (tmp_path / "broken.json").write_text('{"images": [')
    outcome = here("data", "check", tiny.images, tmp_path / "broken.json")
    assert outcome.status == 2
    assert outcome.err.startswith("error: ")
    assert "broken.json" in outcome.err
    assert outcome.err.count("\n") == 1


def test_defective_dataset_is_evaluated_only_if_asked(here, tiny, defective):
    words = [
        "evaluate", "--model", tiny.recipe, "--weights", "random", "--images", tiny.images, "--annotations", defective,
    ]  # fmt: skip
    refused = here(*words)
    assert refused.status == 2
    assert "defects" in refused.err
    allowed = here(*words, "--skip-bad")
    assert allowed.status == 0, allowed.err
    assert "warning: left out of " in allowed.err
    assert "missing-image: image 2 ('gone.png')" in allowed.err


def test_the_way_out_is_named_as_it_is_typed_there(here, tiny, defective, tmp_path):
    model = ["evaluate", "--model", tiny.recipe, "--weights", "random"]
    evaluated = here(*model, "--images", tiny.images, "--annotations", defective)
    assert evaluated.err.count("leave them out with --skip-bad; --only-present uses") == 1
    converted = here("data", "convert", tiny.images, defective, tmp_path / "target", "--to", "yolo")
    assert converted.err.count("leave them out with --skip-bad; --only-present uses") == 1
    words = ["train", tiny.recipe, "--output", tmp_path / "run", *tiny.overrides[:2]]
    trained = here(*words, f"data.train.annotations={defective}")
    assert "leave them out with data.train.skip_bad=true; data.train.only_present=true uses" in trained.err
    tables = [f"{{images: {tiny.images}, annotations: {path}}}" for path in (tiny.annotations, defective)]
    validated = here(*words, f"data.val=[{', '.join(tables)}]")
    assert "leave them out with data.val.1.skip_bad=true; " in validated.err


def test_a_recipe_says_what_it_would_lose(here, tiny):
    sizes = ["--set", "resize.short_side=2", "--set", "resize.long_side=2"]
    outcome = here("data", "check", tiny.images, tiny.annotations, "--recipe", tiny.recipe, *sizes)
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    (summary,) = [line for line in lines if line.startswith("recipe       ")]
    assert "3 objects, their shorter side 1 pixels at the network's size" in summary
    assert "in the median; 3 thinner than a pixel, " in summary
    assert any("3 of 3 objects (100%) are thinner than a pixel" in line for line in lines)


def test_data_that_a_training_refuses_are_refused_in_its_words(here, tiny, tmp_path):
    content = json.loads(tiny.annotations.read_text())
    for annotation in content["annotations"]:
        annotation.update(iscrowd=1)
    (tmp_path / "crowds.json").write_text(json.dumps(content))
    changes = [f"data.train.images={tiny.images}", f"data.train.annotations={tmp_path / 'crowds.json'}"]
    checked = here("data", "check", tiny.recipe, *changes, "--no-pixels")
    trained = here("train", tiny.recipe, "--output", tmp_path / "run", *changes)
    assert (checked.status, checked.err) == (trained.status, trained.err) == (2, checked.err)
    assert "data.train.crowds=objects" in checked.err
    allowed = here("data", "check", tiny.recipe, *changes, "data.train.crowds=objects", "--no-pixels")
    assert allowed.status == 0, allowed.err
    assert ": 3 objects" in allowed.out


def test_the_data_of_a_recipe_are_checked_both_parts(here, tiny, defective):
    words = [*tiny.overrides[:3], f"data.val.annotations={defective}"]
    outcome = here("data", "check", tiny.recipe, *words, "--no-pixels")
    assert outcome.status == 2
    lines = outcome.out.splitlines()
    assert lines[0] == "data.train:"
    assert lines.index(str(tiny.annotations)) < lines.index("data.val:") < lines.index(str(defective))
    assert sum(line.startswith("recipe       ") for line in lines) == 1
    assert "names no data" in here("data", "check", "mask_rcnn").err
    assert "data.train needs both" in here("data", "check", "mask_rcnn", "data.train.images=photos").err


def test_words_that_are_neither_are_refused(here, tiny):
    assert "IMAGES is followed by one argument, ANNOTATIONS, but 0" in here("data", "check", tiny.images).err
    assert "--set changes a recipe" in here("data", "check", tiny.images, tiny.annotations, "--set", "a=1").err


@pytest.mark.parametrize("command", [("data", "check"), ("predict",)])
def test_help_shows_no_default_of_what_is_switched_off(command, here):
    outcome = here(*command, "--help")
    assert "--no-" in outcome.out
    assert "[default: True]" not in " ".join(outcome.out.replace("│", " ").split())


def test_help_names_every_format(process):
    outcome = process("data", "check", "--help")
    assert outcome.status == 0
    assert all(name in re.split(r"[\s,.│]+", outcome.out) for name in READERS)


def test_equal_defects_are_reported_a_few_times_unless_all_are_asked_for(here, tiny, tmp_path):
    content = json.loads(tiny.annotations.read_text())
    content["annotations"] = [{**content["annotations"][0], "id": id_, "bbox": [5, 5, 0, 0]} for id_ in range(1, 31)]
    (tmp_path / "many.json").write_text(json.dumps(content))
    few = here("data", "check", tiny.images, tmp_path / "many.json", "--no-pixels")
    assert few.out.count("has no area") == 10
    assert "and 20 more" in few.out
    every = here("data", "check", tiny.images, tmp_path / "many.json", "--no-pixels", "--all")
    assert every.out.count("has no area") == 30


def test_choices_are_named_as_they_are_typed_here(here, tiny, defective):
    checked = here("data", "check", tiny.images, defective, "--no-pixels")
    assert checked.out.splitlines()[-1].strip() == "--only-present uses the images that are there"
    present = here("data", "check", tiny.images, defective, "--no-pixels", "--only-present")
    assert "missing-image" not in present.out
    refused = here("data", "convert", tiny.images, defective, defective.parent / "out", "--to", "yolo")
    assert "leave them out with --skip-bad; --only-present uses the images that are there" in refused.err
