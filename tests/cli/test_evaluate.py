"""The tables of `evaluate`."""

from __future__ import annotations

import json
import shutil

import pytest

from maskwright.errors import ConfigError, DataError
from maskwright.evaluation import Comparison, Metrics, yolact_table
from maskwright.predict.evaluate import evaluate
from maskwright.predict.loading import load


@pytest.fixture
def words(tiny) -> list[object]:
    return [
        "evaluate", "--model", tiny.recipe, "--weights", "random", "--images", tiny.images,
        "--annotations", tiny.annotations, "--set", "detect.score_threshold=0",
    ]  # fmt: skip


def test_yolacts_table_is_printed_and_written_when_asked_for(here, tiny, words, tmp_path):
    outcome = here(*words, "--table", "yolact", "--output", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    assert "AP50" in outcome.out
    assert "YOLACT's table" in outcome.out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["yolact"].keys() == {"box", "mask"}
    assert Metrics(metrics["yolact"]) == yolact_table(
        Comparison.of(tmp_path / "out" / "results.json", tiny.annotations)
    )


def test_without_the_option_there_is_only_cocos_table(here, words, tmp_path):
    outcome = here(*words, "--output", tmp_path / "out")
    assert "YOLACT" not in outcome.out
    assert "yolact" not in json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_an_unknown_table_is_refused(here, tiny, words):
    assert here(*words, "--table", "pascal").status == 2
    predictor = load(str(tiny.recipe), "random", "cpu")
    with pytest.raises(ConfigError, match="no table 'pascal'; choose of boundary, cityscapes, voc, yolact"):
        evaluate(predictor, tiny.images, tiny.annotations, tables=["pascal"])


def test_without_images_the_data_of_the_recipe_are_measured_on(here, tiny, trained, tmp_path):
    best = trained[0] / "checkpoints" / "best.safetensors"
    own = here("evaluate", "--model", best, "--output", tmp_path / "own")
    assert own.status == 0, own.err
    words = ["--images", tiny.images, "--annotations", tiny.annotations]
    assert here("evaluate", "--model", best, *words, "--output", tmp_path / "given").status == 0
    found = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("own", "given")]
    assert found[0]["mask"] == found[1]["mask"]
    assert found[0]["images"] == 3


def test_data_that_the_recipe_does_not_name_and_half_of_them_are_refused(here, tiny):
    model = ["evaluate", "--model", tiny.recipe, "--weights", "random"]
    nothing = here(*model)
    assert nothing.status == 2
    assert "names no data.val; give --images DIR and --annotations PATH" in nothing.err
    assert "--annotations is missing" in here(*model, "--images", tiny.images).err
    assert "--images is missing" in here(*model, "--annotations", tiny.annotations).err
    assert "are about --images and --annotations" in here(*model, "--crowds", "objects").err


def test_data_of_the_recipe_that_have_moved_are_reported_with_the_way_out(here, trained):
    best = trained[0] / "checkpoints" / "best.safetensors"
    outcome = here("evaluate", "--model", best, "--set", "data.val.images=gone")
    assert outcome.status == 2
    assert "image folder gone does not exist" in outcome.err
    assert "(this is data.val of the recipe of " in outcome.err


@pytest.mark.parametrize("change", ["no objects", "crowds"])
def test_with_nothing_to_measure_it_says_why(change, here, tiny, words, tmp_path):
    content = json.loads(tiny.annotations.read_text())
    if change == "crowds":
        for entry in content["annotations"]:
            entry["iscrowd"] = 1
    else:
        content["annotations"] = []
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))
    words[words.index(tiny.annotations)] = path
    outcome = here(*words)
    assert outcome.status == 0, outcome.err
    assert f"warning: {path} has nothing to measure: " in outcome.err
    if change == "crowds":
        assert "each of its 3 annotations is marked as a crowd" in outcome.err
        counted = here(*words, "--crowds", "objects")
        assert "nothing to measure" not in counted.err
    else:
        assert "none of its 3 images has an object" in outcome.err


def test_classes_that_the_model_lacks_are_reported_and_a_mean_without_them_given(here, tiny, words, tmp_path):
    content = json.loads(tiny.annotations.read_text())
    content["categories"] += [{"id": 7, "name": "ghost"}, {"id": 8, "name": "never seen"}]
    content["annotations"] += [{**one, "id": 10 + one["id"], "category_id": 7} for one in content["annotations"]]
    path = tmp_path / "ghosts.json"
    path.write_text(json.dumps(content))
    outcome = here(*words[: words.index("--annotations")], "--annotations", path, "--output", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    assert "the model has no class ghost (3 objects), and finds none" in outcome.err
    assert "known" in outcome.out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["box"]["AP_known"] == pytest.approx(metrics["per_category"]["square"]["box"]["AP"])
    assert metrics["box"]["AP"] == pytest.approx(metrics["box"]["AP_known"] / 2)


def test_a_broken_image_is_left_out_where_that_is_allowed(here, tiny, words, tmp_path):
    shutil.copytree(tiny.images, tmp_path / "images")
    broken = tmp_path / "images" / "2.png"
    broken.write_bytes(broken.read_bytes()[:-100])
    words = [tmp_path / "images" if word == tiny.images else word for word in words]
    refused = here(*words)
    assert refused.status == 2
    assert "2.png" in refused.err
    allowed = here(*words, "--skip-bad", "--output", tmp_path / "out")
    assert allowed.status == 0, allowed.err
    assert "warning: left out: unreadable-image: image 2 ('2.png')" in allowed.err
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["images"] == 2


def test_choices_in_messages_are_those_of_the_function(tiny, tmp_path):
    content = json.loads(tiny.annotations.read_text())
    content["images"][1]["file_name"] = "gone.png"
    path = tmp_path / "gone.json"
    path.write_text(json.dumps(content))
    predictor = load(str(tiny.recipe), "random", "cpu")
    with pytest.raises(DataError, match="skip_bad=True; only_present=True uses the images that are there"):
        evaluate(predictor, tiny.images, path)
    assert evaluate(predictor, tiny.images, path, only_present=True)["images"] == 2
