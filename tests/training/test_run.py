"""A training as one call: what it evaluates, keeps, leaves behind, and when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Arguments, are_equal, log_of, steps_of, tensors_of

import maskwright as mw
from maskwright.config import load_recipe
from maskwright.data.readers import read_dataset
from maskwright.errors import ConfigError, OutOfMemory
from maskwright.evaluation import Metrics
from maskwright.training.distributed import World
from maskwright.training.setup import prepare_run
from maskwright.training.validation import Validation

Training = Callable[..., Arguments]


def pretend(monkeypatch: pytest.MonkeyPatch, values: list[float | None], losses: list[float] | None = None) -> None:
    """Let the evaluations of a run find these mask APs and losses, one after the other."""
    ahead = iter(values)

    def metrics(self: Validation, predictor: mw.Predictor) -> Metrics:
        value = next(ahead)
        return Metrics({"box": {"AP": 0.5}, "mask": {"AP": value}})

    monkeypatch.setattr(Validation, "metrics", metrics)
    falling = iter(losses or [0.25] * len(values))
    monkeypatch.setattr(Validation, "losses", lambda self, predictor: {"mask": next(falling)})


EVERY_STEP = {"train.evaluate_every": 1, "train.checkpoint_every": 100}


# the call


def test_the_function_can_be_called_though_a_package_has_its_name() -> None:
    from maskwright import train  # the package, since it has been imported here
    from maskwright.training.run import train as function

    for call in (mw.train, train, function):
        with pytest.raises(ConfigError, match="no recipe called 'no-such-recipe'"):
            call("no-such-recipe")


@pytest.mark.slow
@pytest.mark.parametrize("first", ["mw.train", "import maskwright.training.ema", "from maskwright import train"])
def test_the_function_can_be_called_whatever_was_imported_before(first: str) -> None:
    code = f"import maskwright as mw\n{first}\nimport maskwright.training.fit\nmw.train('no-such-recipe')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1].startswith("maskwright.errors.ConfigError: no recipe called 'no-such-recipe'")


def test_a_run_leaves_what_the_contract_names(training: Training, tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []
    arguments = training(tmp_path / "run", {"train.iterations": 2}, validates=True)
    result = mw.train(**arguments, report=lambda step, numbers, part: seen.append((step, part)))
    names = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    events = {name for name in names if name.startswith("events.out.tfevents")}
    files = {"checkpoints/last.safetensors", "checkpoints/best.safetensors"}
    assert names - events == {*files, "recipe.yaml", "log.jsonl", "metrics.json"}
    assert events
    assert (result.steps, result.last.name, result.best.name) == (2, "last.safetensors", "best.safetensors")
    assert seen == [(0, "start"), (1, "train"), (1, "estimate"), (2, "train"), (2, "val")]
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert written == result.metrics.to_dict()
    assert {"box", "mask", "per_category", "images", "seconds"} <= written.keys()


@pytest.mark.parametrize("name", ["last", "best"])
def test_every_checkpoint_is_a_model(name: str, training: Training, dataset: Path, tmp_path: Path) -> None:
    mw.train(**training(tmp_path / "run", {"train.iterations": 1}))
    predictor = mw.load(tmp_path / "run" / "checkpoints" / f"{name}.safetensors", device="cpu")
    assert predictor.categories.names == ("brick", "egg")
    assert predictor(dataset / "images" / "1.png").size == (64, 80)


def test_the_log_is_strict_json(training: Training, tmp_path: Path) -> None:
    mw.train(**training(tmp_path / "run", {"train.iterations": 1}, validates=True))  # no object is large: AP is NaN

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    for name in ("log.jsonl", "metrics.json"):
        text = (tmp_path / "run" / name).read_text()
        for document in text.splitlines() if name == "log.jsonl" else [text]:
            json.loads(document, parse_constant=refuse)


def test_a_line_is_written_of_the_first_step_then_every_so_many_steps_and_at_the_end(
    training: Training, tmp_path: Path
) -> None:
    mw.train(**training(tmp_path / "run", {"train.iterations": 5, "train.log_every": 2}))
    lines = log_of(tmp_path / "run")
    assert [line["step"] for line in lines] == [1, 2, 4, 5]
    losses = {"rpn_objectness", "rpn_box", "class", "box", "mask"}
    assert lines[0].keys() == {"step", "part", "loss", "gradient_norm", "learning_rate", *losses}


# evaluation


def test_validation_losses_are_those_that_users_compute(training: Training, dataset: Path, tmp_path: Path) -> None:
    document = json.loads((dataset / "annotations.json").read_text())
    document["images"] = document["images"][:1]
    document["annotations"] = [entry for entry in document["annotations"] if entry["image_id"] == 1]
    path = tmp_path / "one.json"
    path.write_text(json.dumps(document))
    arguments = training(tmp_path / "run", {"data.val.annotations": str(path)}, validates=True)
    recipe = load_recipe(arguments["recipe"], arguments["overrides"])
    run = prepare_run(recipe, tmp_path / "run", World(0, 1, 0), torch.device("cpu"), resume=False)
    predictor = run.predictor()
    (record,) = read_dataset(dataset / "images", path).records
    expected = mw.losses(predictor, [record.path], [record.targets(predictor.categories)])
    assert run.validation.losses(predictor) == pytest.approx(expected, rel=1e-6)


def test_losses_over_a_set_are_those_of_its_images_weighted_by_their_counts(training: Training, tmp_path: Path) -> None:
    arguments = training(tmp_path / "run", validates=True)
    recipe = load_recipe(arguments["recipe"], arguments["overrides"])
    run = prepare_run(recipe, tmp_path / "run", World(0, 1, 0), torch.device("cpu"), resume=False)
    predictor, records = run.predictor(), run.validation.dataset.records
    targets = [record.targets(predictor.categories) for record in records]
    images = [mw.losses(predictor, [record.path], [target]) for record, target in zip(records, targets, strict=True)]
    found = run.validation.losses(predictor)
    # every image has the same number of anchors in the loss
    assert found["rpn_objectness"] == pytest.approx(sum(i["rpn_objectness"] for i in images) / len(images), rel=1e-5)


def test_evaluating_changes_nothing(training: Training, tmp_path: Path) -> None:
    settings = {"train.iterations": 3}
    mw.train(**training(tmp_path / "silent", settings))
    mw.train(**training(tmp_path / "watched", {**settings, "train.evaluate_every": 2}, validates=True))
    silent, watched = tensors_of(tmp_path / "silent"), tensors_of(tmp_path / "watched")
    assert are_equal(silent, watched)
    assert [line["step"] for line in log_of(tmp_path / "watched", "val")] == [2, 3]


def test_the_best_weights_are_kept(training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, [0.1, 0.4, 0.3, 0.4])
    settings = {**EVERY_STEP, "train.iterations": 4, "train.warmup_iterations": 1}
    result = mw.train(**training(tmp_path / "run", settings, validates=True))
    pretend(monkeypatch, [0.1, 0.2])
    # the recipe that is kept differs in the number of steps, the weights do not
    mw.train(**training(tmp_path / "half", {**settings, "train.iterations": 2}, validates=True))
    assert steps_of(tmp_path / "run", "best") == 2
    assert are_equal(tensors_of(tmp_path / "run", "best"), tensors_of(tmp_path / "half", "best"))
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["mask"]["AP"] == 0.4
    assert result.metrics["mask"]["AP"] == 0.4


def test_the_result_has_the_metrics_of_the_best_checkpoint_and_of_the_last_one(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [0.1, 0.4, 0.3])
    result = mw.train(**training(tmp_path / "run", {**EVERY_STEP, "train.iterations": 3}, validates=True))
    assert (result.best_metrics["mask"]["AP"], result.best_step) == (0.4, 2)
    assert result.metrics["mask"]["AP"] == 0.3


def test_another_metric_can_be_the_one_that_counts(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [0.1, 0.4])
    settings = {**EVERY_STEP, "train.iterations": 2, "train.best_metric": "box.AP"}  # which stays the same
    mw.train(**training(tmp_path / "run", settings, validates=True))
    assert steps_of(tmp_path / "run", "best") == 1


def test_without_a_validation_set_the_best_weights_are_the_last(training: Training, tmp_path: Path) -> None:
    result = mw.train(**training(tmp_path / "run", {"train.iterations": 2}))
    best, last = tensors_of(tmp_path / "run", "best"), tensors_of(tmp_path / "run")
    assert are_equal(best, {name: value for name, value in last.items() if not name.startswith("training/")})
    assert result.metrics is None
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(("values", "best"), [([None, None, None], 3), ([None, 0.2, None], 2), ([0.0, 0.0, 0.0], 1)])
def test_a_metric_without_ground_truth_is_never_the_best(
    values: list[float | None], best: int, training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, values)
    result = mw.train(**training(tmp_path / "run", {**EVERY_STEP, "train.iterations": 3}, validates=True))
    assert result.best.exists()
    assert steps_of(tmp_path / "run", "best") == best


# early stop


def test_a_run_stops_when_the_metric_no_longer_improves(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [0.1, 0.3, 0.2, 0.3, 0.9])
    settings = {**EVERY_STEP, "train.iterations": 7, "train.patience": 2}
    result = mw.train(**training(tmp_path / "run", settings, validates=True))
    assert result.steps == 4
    assert (steps_of(tmp_path / "run"), steps_of(tmp_path / "run", "best")) == (4, 2)


def test_a_run_that_stops_early_reports_why(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [0.1, 0.3, 0.2, 0.3])
    stops: list[dict[str, Any]] = []
    arguments = training(tmp_path / "run", {**EVERY_STEP, "train.patience": 2}, validates=True)
    mw.train(**arguments, report=lambda step, numbers, part: stops.append(dict(numbers)) if part == "stop" else None)
    why = {"reason": "patience", "evaluations": 2, "best_metric": "mask.AP", "best": 0.3, "best_step": 2}
    assert stops == [why]
    assert log_of(tmp_path / "run", "stop") == [{"step": 4, "part": "stop", **why}]
    pretend(monkeypatch, [0.3])
    mw.train(
        **arguments,
        resume=True,
        report=lambda step, numbers, part: stops.append(dict(numbers)) if part == "stop" else None,
    )
    assert stops == [why, why]
    assert len(log_of(tmp_path / "run", "stop")) == 1


def test_patience_does_not_count_while_the_loss_still_falls(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [0.3, 0.2, 0.2, 0.2, 0.2, 0.9], [1.0, 0.8, 0.9, 0.7, 0.75, 0.1])
    settings = {**EVERY_STEP, "train.iterations": 7, "train.patience": 2}
    result = mw.train(**training(tmp_path / "run", settings, validates=True))
    assert result.steps == 5  # stale were the evaluations of steps 3 and 5
    assert steps_of(tmp_path / "run", "best") == 1


def test_a_run_that_stopped_early_does_not_go_on_when_taken_up(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, [0.3, 0.1, 0.1, 0.9])
    arguments = training(tmp_path / "run", {**EVERY_STEP, "train.patience": 2}, validates=True)
    mw.train(**arguments)
    before = tensors_of(tmp_path / "run")
    assert mw.train(**arguments, resume=True).steps == 3
    assert are_equal(tensors_of(tmp_path / "run"), before)


def test_patience_goes_on_counting_where_a_run_was_taken_up(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"train.evaluate_every": 1, "train.checkpoint_every": 1, "train.patience": 3}
    arguments = training(tmp_path / "run", settings, validates=True)
    pretend(monkeypatch, [0.3, 0.1, 0.1])

    def stop_after_three(step: int, numbers: dict[str, Any], part: str) -> None:
        if (step, part) == (4, "train"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mw.train(**arguments, report=stop_after_three)
    pretend(monkeypatch, [0.2, 0.9])
    assert mw.train(**arguments, resume=True).steps == 4


# memory


def test_a_step_without_memory_names_what_needs_less(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: Any) -> dict[str, float]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("maskwright.training.step.Stepper.step", step)
    with pytest.raises(OutOfMemory, match=r"step 1 of the training .*resize\..*=…, now .*train\.precision=bf16"):
        mw.train(**training(tmp_path / "run"))
