"""One optimiser step: what accumulation leaves the same, and what stops a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Arguments, log_of, steps_of, tensors_of
from torch import Tensor

import maskwright as mw
from maskwright.cli import main
from maskwright.config import load_recipe
from maskwright.data.samplers import SampleRequest
from maskwright.errors import TrainingError
from maskwright.models.mask_rcnn.box_head import BoxHead
from maskwright.ops.losses import LossSum
from maskwright.training.distributed import World
from maskwright.training.setup import Run, prepare_run

Training = Callable[..., Arguments]
BY_GROUP = {"backbone.norm": "group", "mask_head.norm": "group"}


def prepared(arguments: Arguments) -> Run:
    recipe = load_recipe(arguments["recipe"], arguments["overrides"])
    return prepare_run(recipe, Path(arguments["output"]), World(0, 1, 0), torch.device("cpu"), resume=False)


def step_of(run: Run, requests: list[SampleRequest]) -> tuple[dict[str, float], dict[str, Tensor]]:
    """The losses and the gradients of one step."""
    losses = run.stepper.step(1, [run.training_set[request] for request in requests])
    return losses, {name: parameter.grad for name, parameter in run.state.model.named_parameters()}


# one batch and its parts


def test_parts_with_the_same_counts_are_the_same_as_one_batch(training: Training, tmp_path: Path) -> None:
    # each part has the same two images, so the same number of anchors, RoIs and masks
    one, other = SampleRequest(0, 5), SampleRequest(2, 6)
    requests = [one, other, other, one]
    whole = step_of(prepared(training(tmp_path / "1", {**BY_GROUP, "train.batch_size": 4})), requests)
    settings = {**BY_GROUP, "train.batch_size": 4, "train.accumulate": 2}
    parts = step_of(prepared(training(tmp_path / "2", settings)), requests)
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert all(torch.allclose(parts[1][name], whole[1][name], atol=1e-6, rtol=1e-4) for name in whole[1])


def test_otherwise_a_step_is_the_mean_of_its_parts(training: Training, tmp_path: Path) -> None:
    requests = [SampleRequest(0, 5), SampleRequest(9, 6)]  # the second has no object
    settings = {**BY_GROUP, "train.accumulate": 2}
    together = step_of(prepared(training(tmp_path / "both", settings)), requests)
    alone = [
        step_of(prepared(training(tmp_path / str(place), {**BY_GROUP, "train.batch_size": 1})), [request])
        for place, request in enumerate(requests)
    ]
    names = [name for name in together[0] if name != "gradient_norm"]
    means = {name: (alone[0][0][name] + alone[1][0][name]) / 2 for name in names}
    assert {name: together[0][name] for name in names} == pytest.approx(means, rel=1e-5)
    for name, gradient in together[1].items():
        assert torch.allclose(gradient, (alone[0][1][name] + alone[1][1][name]) / 2, atol=1e-6, rtol=1e-4)


def test_the_loss_is_the_weighted_sum_of_the_losses(training: Training, tmp_path: Path) -> None:
    run = prepared(training(tmp_path / "run", {"train.loss_weights": {"mask": 3.0, "rpn_box": 0.5}}))
    losses, _ = step_of(run, [SampleRequest(0, 5), SampleRequest(2, 6)])
    plain = [losses[name] for name in ("rpn_objectness", "class", "box")]
    assert losses["loss"] == pytest.approx(sum(plain) + 3 * losses["mask"] + 0.5 * losses["rpn_box"], rel=1e-5)


def test_a_long_gradient_is_clipped_and_its_length_logged_as_it_was(training: Training, tmp_path: Path) -> None:
    requests = [SampleRequest(0, 5), SampleRequest(2, 6)]
    free, free_gradients = step_of(prepared(training(tmp_path / "free", BY_GROUP)), requests)
    clipped, gradients = step_of(
        prepared(training(tmp_path / "clipped", {**BY_GROUP, "train.clip_norm": 0.1})), requests
    )
    norm = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm().item()
    assert norm == pytest.approx(0.1, rel=1e-3)
    assert clipped["gradient_norm"] == pytest.approx(free["gradient_norm"])
    assert free["gradient_norm"] > 0.1
    assert gradients.keys() == free_gradients.keys()


# what is not finite


def spoil(monkeypatch: pytest.MonkeyPatch, call: int, how: Callable[[LossSum], LossSum]) -> None:
    """Change the box loss of the `call`-th step."""
    original, calls = BoxHead.losses, []

    def losses(self: BoxHead, *arguments: Any) -> dict[str, LossSum]:
        calls.append(1)
        found = original(self, *arguments)
        return {**found, "box": how(found["box"])} if len(calls) == call else found

    monkeypatch.setattr(BoxHead, "losses", losses)


def to_nan(loss: LossSum) -> LossSum:
    return LossSum(loss.total * float("nan"), loss.count)


def to_infinite_slope(loss: LossSum) -> LossSum:
    """The same value; the slope of the root at zero is infinite."""
    return LossSum(loss.total + (loss.total - loss.total.detach()).sqrt(), loss.count)


def all_finite(output: Path) -> bool:
    return all(value.isfinite().all() for value in tensors_of(output).values() if value.is_floating_point())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (to_nan, r"step 4: loss term 'box' is nan; the images of this part of the step are "),
        (to_infinite_slope, r"step 4: the gradient's norm is nan although every loss is finite; the images "),
    ],
)
def test_a_run_stops_before_anything_non_finite_gets_into_the_weights(
    how: Callable[[LossSum], LossSum], message: str, training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 4, how)
    with pytest.raises(TrainingError, match=message) as caught:
        mw.train(**training(tmp_path / "run", {"train.checkpoint_every": 1}))
    assert str(caught.value).count(".png") == 2
    assert "\n" not in str(caught.value)
    assert steps_of(tmp_path / "run") == 3
    assert all_finite(tmp_path / "run")
    assert [line["step"] for line in log_of(tmp_path / "run")] == [1, 2, 3]


def test_only_the_images_of_the_guilty_part_are_named(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 4, to_nan)  # two calls a step: the second part of the second
    with pytest.raises(TrainingError, match=r"^step 2: loss term 'box'") as caught:
        mw.train(**training(tmp_path / "run", {"train.accumulate": 2}))
    assert str(caught.value).count(".png") == 1


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_far_too_high_learning_rate_leaves_no_broken_file(optimiser: str, training: Training, tmp_path: Path) -> None:
    settings = {
        "train.optimiser": optimiser,
        "train.learning_rate": 1e38,
        "train.warmup_iterations": 0,
        "train.checkpoint_every": 1,
    }
    with pytest.raises(TrainingError, match=r"^step \d: .*(non-finite|is nan|is inf)"):
        mw.train(**training(tmp_path / "run", settings))
    if (tmp_path / "run" / "checkpoints" / "last.safetensors").exists():
        assert all_finite(tmp_path / "run")


def test_a_stopped_run_can_be_taken_up(training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        spoil(patched, 4, to_nan)
        with pytest.raises(TrainingError):
            mw.train(**training(tmp_path / "run"))
    assert mw.train(**training(tmp_path / "run"), resume=True).steps == 7


def test_the_command_says_so_in_one_line_and_exits_with_1(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(monkeypatch, 2, to_nan)
    arguments = training(tmp_path / "run")
    overrides = [f"{key}={value}" for key, value in arguments["overrides"].items()]
    command = ["maskwright", "train", arguments["recipe"], *overrides, "--output", arguments["output"]]
    monkeypatch.setattr("sys.argv", [*command, "--device", "cpu"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: step 2: loss term 'box' is nan")
