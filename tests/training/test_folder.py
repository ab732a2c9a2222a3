from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from maskwright.config import Recipe, load_recipe
from maskwright.errors import OutputError
from maskwright.files import FolderLock, replace_file
from maskwright.training.folder import claim_run_folder


@pytest.fixture
def recipe(tiny: Path) -> Recipe:
    return load_recipe(str(tiny))


def changed(tiny: Path, overrides: dict[str, Any]) -> Recipe:
    return load_recipe(str(tiny), overrides)


def test_a_new_folder_is_made_and_keeps_the_resolved_recipe(recipe: Recipe, tmp_path: Path) -> None:
    folder = claim_run_folder(tmp_path / "a" / "b", recipe, resume=False)
    assert load_recipe(str(folder.recipe)) == recipe
    assert folder.last.parent.is_dir()
    assert sorted(path.name for path in folder.root.iterdir()) == ["checkpoints", "recipe.yaml"]


def test_the_folder_of_a_run_is_refused_to_another(recipe: Recipe, tmp_path: Path) -> None:
    claim_run_folder(tmp_path, recipe, resume=False)
    with pytest.raises(OutputError, match=r"belongs to another run; choose another, or resume that run with --resume"):
        claim_run_folder(tmp_path, recipe, resume=False)


def test_a_run_is_taken_up_with_the_same_recipe(recipe: Recipe, tmp_path: Path) -> None:
    assert claim_run_folder(tmp_path, recipe, resume=False) == claim_run_folder(tmp_path, recipe, resume=True)


def test_in_a_folder_without_a_run_there_is_nothing_to_resume(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=r"has no run to resume: it holds no recipe\.yaml; give the folder of the run"
    ):
        claim_run_folder(tmp_path, recipe, resume=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resume", [True, False])
def test_a_checkpoint_whose_recipe_is_gone_is_not_overwritten(resume: bool, recipe: Recipe, tmp_path: Path) -> None:
    folder = claim_run_folder(tmp_path, recipe, resume=False)
    folder.last.write_bytes(b"weights")
    folder.recipe.unlink()
    reason = (
        r"recipe\.yaml is missing.*train\.initial_weights=.*last\.safetensors" if resume else "belongs to another run"
    )
    with pytest.raises(OutputError, match=reason):
        claim_run_folder(tmp_path, recipe, resume=resume)
    assert folder.last.read_bytes() == b"weights"


def test_a_folder_that_is_in_use_is_refused_until_its_run_has_ended(recipe: Recipe, tmp_path: Path) -> None:
    with FolderLock(tmp_path) as first, FolderLock(tmp_path) as second:
        claim_run_folder(tmp_path, recipe, resume=False, lock=first)
        with pytest.raises(OutputError, match="is in use: another maskwright writes into it just now"):
            claim_run_folder(tmp_path, recipe, resume=True, lock=second)
        first.close()
        claim_run_folder(tmp_path, recipe, resume=True, lock=second)


def test_a_refused_change_names_the_way_to_go_on_with_the_weights(recipe: Recipe, tiny: Path, tmp_path: Path) -> None:
    claim_run_folder(tmp_path, recipe, resume=False).last.write_bytes(b"")
    with pytest.raises(OutputError, match=r"into a new folder, .*: train\.initial_weights=.*/last\.safetensors"):
        claim_run_folder(tmp_path, changed(tiny, {"train.iterations": 9}), resume=True)


def test_a_setting_that_is_newer_than_a_run_has_its_default_there(recipe: Recipe, tmp_path: Path) -> None:
    folder = claim_run_folder(tmp_path, recipe, resume=False)
    begun = yaml.safe_load(folder.recipe.read_text())
    del begun["train"]["class_rows"]
    folder.recipe.write_text(yaml.safe_dump(begun))
    claim_run_folder(tmp_path, recipe, resume=True)


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ({"train.learning_rate": 0.5}, "train.learning_rate"),
        ({"train.iterations": 9}, "train.iterations"),
        ({"rpn.nms_iou": 0.5}, "rpn.nms_iou"),
        ({"data.augment.crop_px": [32, 32]}, "data.augment.crop_px"),
        ({"train.loss_weights": {"mask": 2.0}}, "train.loss_weights.mask"),
        ({"categories": ["a"]}, "categories"),
        ({"train.seed": 3, "train.batch_size": 4}, "train.seed, train.batch_size"),
    ],
)
def test_a_run_is_not_taken_up_with_another_recipe(
    overrides: dict[str, Any], key: str, recipe: Recipe, tiny: Path, tmp_path: Path
) -> None:
    claim_run_folder(tmp_path, recipe, resume=False)
    with pytest.raises(OutputError, match=rf"its run began with another {key};"):
        claim_run_folder(tmp_path, changed(tiny, overrides), resume=True)


def test_what_does_not_change_the_result_may_change(recipe: Recipe, tiny: Path, tmp_path: Path) -> None:
    claim_run_folder(tmp_path, recipe, resume=False)
    free = {"data.workers": 7, "train.log_every": 3, "train.checkpoint_every": 50, "name": "as/called/from/elsewhere"}
    claim_run_folder(tmp_path, changed(tiny, free), resume=True)


def test_a_folder_that_cannot_be_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"output .*file.* cannot be written"):
            claim_run_folder(root, recipe, resume=False)


def test_a_folder_that_may_not_be_written_is_refused(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(OutputError, match=r"cannot be written \(Permission denied\); .*choose another"):
        claim_run_folder(tmp_path, recipe, resume=False)
    assert not (tmp_path / "recipe.yaml").exists()


@pytest.mark.parametrize(
    "text", ["- [", "just words", "", "\x00", "family: boat", "train: {iterations: many}", "[" * 5000]
)
def test_a_recipe_file_that_is_none_is_refused(text: str, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(OutputError, match=r"recipe\.yaml is not the recipe of a run"):
        claim_run_folder(tmp_path, recipe, resume=True)


def test_a_text_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.json"
    replace_file(path, "old")

    def killed(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            replace_file(path, "new")
    assert path.read_text() == "old"
    replace_file(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_whose_recipe_has_old_names_is_taken_up(recipe: Recipe, tmp_path: Path) -> None:
    claim_run_folder(tmp_path, recipe, resume=False)
    table = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    table["rpn"]["loss_divisor"] = {"sampled_anchors": "sampled"}[table["rpn"].pop("normalizer")]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(table))
    assert claim_run_folder(tmp_path, recipe, resume=True).root == tmp_path
