"""The results that a recipe expects: checked by `train` and `evaluate`, told in a table, and nothing lost by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

MISSED, MET = "0.9 ± 0.01", "0.5 +- 0.5"


@pytest.fixture
def recipe(tiny, tmp_path):
    """A recipe file that is based on the tiny one and expects something."""

    def written(**expected: str) -> Path:
        path = tmp_path / "expecting.yaml"
        path.write_text(json.dumps({"base": str(tiny.recipe), "expected": expected}), encoding="utf-8")
        return path

    return written


@pytest.fixture
def words(tiny):
    return ["--images", tiny.images, "--annotations", tiny.annotations, "--weights", "random"]


# evaluate


@pytest.mark.parametrize(("result", "status"), [(MISSED, 1), (MET, 0), ("{value: 0.0, tolerance: 0.02}", 0)])
def test_the_exit_status_of_evaluate_says_whether_results_are_as_expected(
    here, recipe, words, tmp_path, result, status
):
    changes = ["--set", f"expected.mask.AP={result}"]
    outcome = here("evaluate", "--model", recipe(), *words, *changes, "--output", tmp_path / "out")
    assert outcome.status == status, outcome.err
    assert "expected results" in outcome.out
    assert ("missed" in outcome.out) == (status == 1)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"metrics.json", "results.json", "report.html"} <= names
    if status:
        assert outcome.err.splitlines()[-1].startswith("error: 1 of 1 expected results missed: mask.AP is 0.")


def test_a_recipe_file_expects_too_and_can_be_set_not_to(here, recipe, words):
    model = recipe(**{"mask.AP": MISSED, "box.AP": MET})
    outcome = here("evaluate", "--model", model, *words)
    assert outcome.status == 1
    assert "1 of 2 expected results missed" in outcome.err
    silent = here("evaluate", "--model", model, *words, "--set", "expected={}")
    assert silent.status == 0, silent.err
    assert "expected" not in silent.out


def test_what_is_expected_of_augmented_images_is_checked_with_these_only(here, recipe, words):
    model = recipe(**{"mask.AP": MISSED, "augmented.mask.AP": MET})
    views = ["--set", "augmented.short_sides=[64]", "--set", "augmented.flips=false"]
    plain, augmented = (here("evaluate", "--model", model, *words, *views, *flags) for flags in ([], ["--tta"]))
    assert (plain.status, augmented.status) == (1, 0), augmented.err
    tiled = here("evaluate", "--model", model, *words, *views, "--tta", "--tile", 48)
    assert tiled.status == 0, tiled.err


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mask.AP5", "there are mask.AP"),
        ("voc.mAP", "a further table needs --table NAME, one of boundary"),
        ("per_category.circle.mask.AP", "per_category.square.mask.AP"),
    ],
)
def test_an_unknown_name_is_refused_before_the_first_image(here, recipe, words, tmp_path, name, hint):
    outcome = here("evaluate", "--model", recipe(**{name: MET}), *words, "--output", tmp_path / "out")
    assert outcome.status == 2
    assert f"error: expected: no metric is called '{name}'" in outcome.err
    assert hint in outcome.err
    assert "images:" not in outcome.err


def test_results_of_further_tables_can_be_expected(here, recipe, words):
    for table, name in (("boundary", "boundary.AP"), ("yolact", "yolact.mask.50")):
        wrong = here("evaluate", "--model", recipe(**{f"{name}x": MET}), *words, "--table", table)
        assert wrong.status == 2
        assert name in wrong.err, wrong.err
        outcome = here("evaluate", "--model", recipe(**{name: MET}), *words, "--table", table)
        assert outcome.status == 0, outcome.err


def test_other_data_than_the_recipes_own_is_not_held_to_what_it_expects(here, recipe, words, tiny):
    model, own = recipe(**{"mask.AP": MISSED}), f"data.val.annotations={tiny.annotations}"
    assert here("evaluate", "--model", model, *words, "--set", own).status == 1
    other = here("evaluate", "--model", model, *words, "--set", "data.val.annotations=other.json")
    assert other.status == 0, other.err
    assert "warning: what the recipe expects is of its own data.val and not checked on" in other.err
    assert '--set expected.mask.AP="0.9 ± 0.01"' in other.err
    asked = ["--set", "data.val.annotations=other.json", "--set", f"expected.mask.AP={MISSED}"]
    assert here("evaluate", "--model", model, *words, *asked).status == 1


# train


def test_training_that_misses_ends_with_1_and_keeps_all(here, recipe, tiny, tmp_path):
    words = [
        "train",
        recipe(**{"mask.AP": MISSED, "augmented.box.AP": MET}),
        *tiny.overrides,
        "--output",
        tmp_path / "run",
    ]
    words += ["train.evaluates_augmented=true", "augmented.short_sides=[64]"]
    outcome = here(*words)
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith("error: 1 of 2 expected results missed: mask.AP is ")
    assert "expected results" in outcome.out
    assert "augmented.box.AP" in outcome.out
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {
        "last.safetensors",
        "best.safetensors",
    }
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics.keys() >= {"mask", "augmented"}
    again = here(*words, "--resume")
    assert again.status == 1
    assert "2 steps done" in again.out
    assert "step 1/2" not in again.out
    relaxed = here(*words, f"expected.mask.AP={MET}", "--resume")
    assert relaxed.status == 0, relaxed.err


def test_a_checkpoint_remembers_what_its_recipe_expects(here, recipe, tiny, words, tmp_path):
    outcome = here("train", recipe(**{"mask.AP": MISSED}), *tiny.overrides, "--output", tmp_path / "run")
    assert outcome.status == 1
    best = ["evaluate", "--model", tmp_path / "run" / "checkpoints" / "best.safetensors", *words[:4]]
    assert here(*best).status == 1
    assert here(*best, "--set", "expected={}").status == 0


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"mask.APP": MET}, "expected: no metric is called 'mask.APP'; there are mask.AP"),
        ({"augmented.mask.AP": MET}, "augmented ones need train.evaluates_augmented=true"),
        ({"mask.AP": "0.36"}, "write it with its tolerance: 0.36 ± 0.02"),
        ({"mask.AP": 0.36}, "write it with its tolerance: 0.36 ± 0.02"),
        ({"mask": {"AP": MET}}, "a metric has its whole name in one, as in mask.AP: 0.36 ± 0.02"),
        ({"mask.AP": "0.3 ± -0.1"}, "greater than or equal to 0"),
    ],
)
def test_training_refuses_what_it_cannot_check_before_the_first_step(here, recipe, tiny, tmp_path, expected, message):
    outcome = here("train", recipe(**expected), *tiny.overrides, "--output", tmp_path / "run")
    assert outcome.status == 2
    assert message in outcome.err
    assert "step 1/2" not in outcome.out


def test_nothing_can_be_expected_without_validation_data(here, recipe, tiny, tmp_path):
    outcome = here("train", recipe(**{"mask.AP": MET}), *tiny.overrides[:2], "--output", tmp_path / "run")
    assert outcome.status == 2
    assert "give data.val.images and data.val.annotations" in outcome.err


def test_a_recipe_based_on_another_does_not_expect_its_results(here, recipe, tmp_path):
    base = recipe(**{"mask.AP": MISSED})
    (tmp_path / "own.yaml").write_text(f"base: {base}\ntrain: {{iterations: 3}}\n")
    assert "mask.AP" in here("recipes", base).out
    assert "mask.AP" not in here("recipes", tmp_path / "own.yaml").out.split("expected")[-1].split("\n")[0]


def test_commands_that_share_no_work_are_refused_in_several_processes(here, recipe, words, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = here("evaluate", "--model", recipe(), *words)
    assert outcome.status == 2
    assert "error: several processes (WORLD_SIZE=2) would each do all of `maskwright evaluate`" in outcome.err
