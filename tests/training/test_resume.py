"""A run that was killed and taken up again ends as if nothing had happened: every tensor, every line of the log."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from tiny_runs import MOMENTS, Arguments, are_equal, log_of, steps_of, tensors_of, train, train_until_killed

import maskwright as mw
from maskwright.checkpoints.native import read_native
from maskwright.errors import CheckpointError

Training = Callable[..., Arguments]
STEPS = 5


@pytest.fixture(scope="module")
def whole(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody killed."""
    output = tmp_path_factory.mktemp("whole") / "run"
    mw.train(**training(output, {"train.iterations": STEPS}))
    return output


def assert_same_run(output: Path, whole: Path) -> None:
    assert are_equal(tensors_of(output), tensors_of(whole))
    assert are_equal(tensors_of(output, "best"), tensors_of(whole, "best"))
    last, expected = (read_native(folder / "checkpoints" / "last.safetensors") for folder in (output, whole))
    assert last.progress == expected.progress
    assert log_of(output) == log_of(whole)
    assert log_of(output, "val") == log_of(whole, "val")


def kill(processes: ForkServerContext, moment: str, step: int, arguments: Arguments) -> None:
    process = processes.Process(target=train_until_killed, args=(moment, step, arguments))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_checkpoint_holds_weights_averages_and_moments(whole: Path) -> None:
    name = "rpn.head.objectness.weight"
    moments = {f"training/optimiser/{moment}/{name}" for moment in ("step", "exp_avg", "exp_avg_sq")}
    assert {name, f"training/weights/{name}", *moments} <= set(tensors_of(whole))


def test_the_log_has_every_step_once(whole: Path) -> None:
    assert [line["step"] for line in log_of(whole)] == list(range(1, STEPS + 1))


@pytest.mark.parametrize(
    ("moment", "step", "begins_at"),
    [
        ("between update and count", 4, 2),
        ("halfway through a checkpoint", 4, 2),
        ("before a checkpoint is in place", 2, 0),
        ("right after a checkpoint", 4, 4),
        ("within a line of the log", 3, 2),
    ],
)
def test_a_killed_run_goes_on_as_if_never_killed(
    moment: str,
    step: int,
    begins_at: int,
    processes: ForkServerContext,
    training: Training,
    whole: Path,
    tmp_path: Path,
) -> None:
    arguments = training(tmp_path / "run", {"train.iterations": STEPS})
    kill(processes, moment, step, arguments)
    begun = []
    mw.train(
        **arguments, resume=True, report=lambda step, numbers, part: begun.append(step) if part == "train" else None
    )
    assert begun[0] == begins_at + 1
    assert_same_run(tmp_path / "run", whole)


def test_every_moment_is_tried() -> None:
    mark = next(mark for mark in test_a_killed_run_goes_on_as_if_never_killed.pytestmark if mark.name == "parametrize")
    assert {moment for moment, _, _ in mark.args[1]} == set(MOMENTS)


def test_a_run_may_be_killed_again_and_again(
    processes: ForkServerContext, training: Training, whole: Path, tmp_path: Path
) -> None:
    arguments = training(tmp_path / "run", {"train.iterations": STEPS})
    kill(processes, "right after a checkpoint", 2, arguments)
    kill(processes, "halfway through a checkpoint", 4, {**arguments, "resume": True})
    kill(processes, "right after a checkpoint", 4, {**arguments, "resume": True})
    mw.train(**arguments, resume=True)
    assert_same_run(tmp_path / "run", whole)


def test_workers_do_not_change_a_run(training: Training, whole: Path, tmp_path: Path) -> None:
    mw.train(**training(tmp_path / "run", {"train.iterations": STEPS, "data.workers": 2}))
    assert_same_run(tmp_path / "run", whole)


def test_a_finished_run_taken_up_again_stays_as_it_is(training: Training, whole: Path, tmp_path: Path) -> None:
    arguments = training(tmp_path / "run", {"train.iterations": STEPS})
    mw.train(**arguments)
    result = mw.train(**arguments, resume=True)
    assert result.steps == STEPS
    assert_same_run(tmp_path / "run", whole)


def test_a_run_killed_before_its_last_file_writes_it_when_taken_up(
    training: Training, whole: Path, tmp_path: Path
) -> None:
    arguments = training(tmp_path / "run", {"train.iterations": STEPS})
    mw.train(**arguments).best.unlink()
    mw.train(**arguments, resume=True)
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.parametrize(
    "settings",
    [
        {"train.optimiser": "sgd", "train.momentum": 0.9},
        {"train.optimiser": "sgd", "train.momentum": 0.0, "train.ema_decay": None},
        {"backbone.norm": "group", "mask_head.norm": "group", "train.accumulate": 2, "train.clip_norm": 1.0},
        {"train.precision": "bf16"},
    ],
    ids=["momentum", "no state but weights", "accumulated and clipped", "bf16"],
)
def test_other_settings_resume_exactly_too(
    settings: dict[str, object], processes: ForkServerContext, training: Training, tmp_path: Path
) -> None:
    settings = {**settings, "train.iterations": 3}
    killed, whole = training(tmp_path / "killed", settings), training(tmp_path / "whole", settings)
    kill(processes, "right after a checkpoint", 2, killed)
    mw.train(**killed, resume=True)
    mw.train(**whole)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize("change", ["a polygon's corner", "an object left out"])
def test_a_run_is_not_resumed_on_changed_annotations(
    change: str, training: Training, dataset: Path, tmp_path: Path
) -> None:
    annotations = tmp_path / "annotations.json"
    content = json.loads((dataset / "annotations.json").read_text())
    annotations.write_text(json.dumps(content))
    settings = {"train.iterations": 2, "data.train.annotations": str(annotations)}
    arguments = training(tmp_path / "run", settings)
    last = mw.train(**arguments).last
    if change == "an object left out":
        content["annotations"].pop()
    else:
        content["annotations"][0]["segmentation"][0][0] += 1
    annotations.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=rf"data\.train has changed .*train\.initial_weights={last}"):
        mw.train(**arguments, resume=True)


@pytest.mark.slow
def test_a_run_with_evaluations_resumes_exactly(
    processes: ForkServerContext, training: Training, tmp_path: Path
) -> None:
    settings = {"train.iterations": 6, "train.evaluate_every": 1, "train.checkpoint_every": 3}
    killed = training(tmp_path / "killed", settings, validates=True)
    kill(processes, "between update and count", 5, killed)
    mw.train(**killed, resume=True)
    mw.train(**training(tmp_path / "whole", settings, validates=True))
    assert_same_run(tmp_path / "killed", tmp_path / "whole")
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("killed", "whole")]
    assert metrics[0]["mask"] == metrics[1]["mask"]
    assert steps_of(tmp_path / "killed", "best") == steps_of(tmp_path / "whole", "best")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("step", "later_s"), [(1, 0.0), (2, 0.0), (3, 0.02), (4, 0.0), (4, 0.03)])
def test_a_run_killed_from_outside_goes_on_as_if_never_killed(
    step: int,
    later_s: float,
    workers: int,
    processes: ForkServerContext,
    training: Training,
    whole: Path,
    tmp_path: Path,
) -> None:
    arguments = training(tmp_path / "run", {"train.iterations": STEPS, "data.workers": workers})
    process = processes.Process(target=train, args=(arguments,))
    process.start()
    wait_for_step(tmp_path / "run" / "log.jsonl", step)
    time.sleep(later_s)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    mw.train(**arguments, resume=True)
    assert_same_run(tmp_path / "run", whole)


def wait_for_step(log: Path, step: int) -> None:
    """Return as soon as the log has as many lines."""
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") >= step):
        assert time.monotonic() < deadline, "the training did not get that far"
        time.sleep(0.001)
