from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from maskwright.checkpoints.native import NativeCheckpoint, read_native, write_native
from maskwright.config import MaskRcnnRecipe
from maskwright.errors import CheckpointError, OutputError, TrainingError
from maskwright.training.checkpointing import Progress, TrainingState
from maskwright.training.ema import AveragedWeights

RECIPE = MaskRcnnRecipe()


def a_checkpoint(value: float) -> NativeCheckpoint:
    return NativeCheckpoint({"weight": torch.full((50,), value)}, {"name": "a"}, {}, {"step": int(value)})


def a_state(optimiser: str = "adamw", *, is_averaged: bool = True) -> TrainingState:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    makers = {
        "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1),
        "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        "plain": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    }
    average = AveragedWeights(model, 0.9) if is_averaged else None
    return TrainingState(model, makers[optimiser](model.parameters()), average)


def take_a_step(state: TrainingState) -> None:
    generator = torch.Generator().manual_seed(state.progress.step)
    state.optimiser.zero_grad()
    state.model(torch.randn(2, 3, 6, 6, generator=generator)).pow(3).sum().backward()
    state.optimiser.step()
    if state.average is not None:
        state.average.update_(state.model, state.progress.step)
    state.advance()


@pytest.mark.parametrize("is_averaged", [True, False])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "plain"])
def test_a_restored_state_goes_on_bit_for_bit(optimiser: str, is_averaged: bool, tmp_path: Path) -> None:
    state = a_state(optimiser, is_averaged=is_averaged)
    take_a_step(state)
    take_a_step(state)
    state.write(tmp_path / "last.safetensors", RECIPE)
    restored = a_state(optimiser, is_averaged=is_averaged)
    restored.restore(tmp_path / "last.safetensors")
    assert restored.progress == state.progress
    for one in (state, restored):
        take_a_step(one)
        one.write(tmp_path / f"{one is state}.safetensors", RECIPE)
    assert (tmp_path / "True.safetensors").read_bytes() == (tmp_path / "False.safetensors").read_bytes()


def test_restored_weights_keep_their_memory_layout(tmp_path: Path) -> None:
    state, restored = a_state(), a_state()
    take_a_step(state)
    state.write(tmp_path / "last.safetensors", RECIPE)
    restored.restore(tmp_path / "last.safetensors")
    weight = restored.model[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert restored.optimiser.state[weight]["exp_avg"].is_contiguous(memory_format=torch.channels_last)


def test_the_weights_of_a_checkpoint_are_the_averaged_ones(tmp_path: Path) -> None:
    state = a_state()
    take_a_step(state)
    state.write(tmp_path / "last.safetensors", RECIPE)
    weights = read_native(tmp_path / "last.safetensors").weights
    assert torch.equal(weights["0.weight"], state.average.state["0.weight"])
    assert not torch.equal(weights["0.weight"], state.model[0].weight)


def test_weights_alone_cannot_be_resumed_from(tmp_path: Path) -> None:
    state = a_state()
    state.write_weights(tmp_path / "best.safetensors", RECIPE)
    assert read_native(tmp_path / "best.safetensors", with_training=True).training == {}
    with pytest.raises(CheckpointError, match=r"best\.safetensors holds a model but no state of a run"):
        state.restore(tmp_path / "best.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["weight", "moment", "average"])
def test_what_is_not_finite_never_reaches_a_file(place: str, value: float, tmp_path: Path) -> None:
    path, state = tmp_path / "last.safetensors", a_state()
    take_a_step(state)
    state.write(path, RECIPE)
    before = path.read_bytes()
    weight = state.model[0].weight
    tensors = {"weight": weight.data, "moment": state.optimiser.state[weight]["exp_avg_sq"]}
    {**tensors, "average": state.average.state["0.weight"]}[place][0, 0, 0, 0] = value
    with pytest.raises(TrainingError, match=r"step 1: its update made .*0\.weight non-finite"):
        state.write(path, RECIPE)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# the file itself


def test_a_write_that_dies_halfway_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.safetensors"
    write_native(path, a_checkpoint(1))

    class Killed(BaseException):
        pass

    def dies(*_: object) -> None:
        raise Killed

    for target, name in ((os, "fsync"), (Path, "replace")):
        with monkeypatch.context() as patched:
            patched.setattr(target, name, dies)
            with pytest.raises(Killed):
                write_native(path, a_checkpoint(2))
        assert read_native(path).progress == {"step": 1}


def test_what_a_killed_write_left_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    write_native(path, a_checkpoint(1))
    (tmp_path / "last.safetensors.unfinished").write_bytes(path.read_bytes()[:100])
    assert read_native(path).progress == {"step": 1}
    write_native(path, a_checkpoint(2))
    assert read_native(path).progress == {"step": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: calls.append("fsync") or fsync(file))
    monkeypatch.setattr(Path, "replace", lambda self, target: calls.append("replace") or replace(self, target))
    write_native(tmp_path / "last.safetensors", a_checkpoint(1))
    assert calls == ["fsync", "replace"]


def test_a_full_disk_is_an_output_error_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.safetensors"
    write_native(path, a_checkpoint(1))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"last\.safetensors cannot be written \(No space left on device\)"):
        write_native(path, a_checkpoint(2))
    assert read_native(path).progress == {"step": 1}


def test_a_checkpoint_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    a_state().write(path, RECIPE)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"last\.safetensors cannot be read"):
        a_state().restore(path)


# the best value so far

VALUES = st.lists(st.one_of(st.none(), st.just(float("nan")), st.floats(0, 1)), max_size=12)


@given(VALUES)
def test_the_best_value_is_the_largest_and_stale_counts_since_it_was_first_reached(values: list[float | None]) -> None:
    progress = Progress()
    for value in values:
        progress = progress.after_evaluation(value)
    known = [value for value in values if value is not None and value == value]  # noqa: PLR0124 - NaN differs from itself
    assert progress.best == (max(known) if known else None)
    assert progress.stale == (len(values) - 1 - values.index(max(known)) if known else len(values))


def test_an_evaluation_with_the_lowest_loss_so_far_is_not_stale() -> None:
    progress = Progress(step=4)
    for value, loss in ((0.3, 1.0), (0.2, 0.9), (0.2, 0.95), (0.1, 0.8), (0.1, float("nan"))):
        progress = progress.after_evaluation(value, loss)
    assert (progress.best, progress.best_step, progress.stale, progress.lowest_loss) == (0.3, 4, 2, 0.8)


def test_progress_of_an_older_checkpoint_is_read() -> None:
    assert not Progress(step=3, best=0.2, stale=1).is_best


def damaged(path: Path, change: Callable[[NativeCheckpoint], None]) -> str:
    """What a run that is resumed from a changed checkpoint says."""
    state = a_state()
    take_a_step(state)
    state.data = {"train": {"images": 3, "objects": 5, "digest": "a"}}
    state.write(path, RECIPE)
    checkpoint = read_native(path, with_training=True)
    change(checkpoint)
    write_native(path, checkpoint)
    fresh = a_state()
    fresh.data = state.data
    before = {name: value.clone() for name, value in fresh.model.state_dict().items()}
    with pytest.raises(CheckpointError) as raised:
        fresh.restore(path)
    assert all(torch.equal(value, before[name]) for name, value in fresh.model.state_dict().items())
    assert fresh.progress == Progress()
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(f"checkpoint {path}: ")
    assert message.endswith(f"train.initial_weights={path}")
    return message


@pytest.mark.parametrize("part", ["weights", "training"])
def test_a_missing_weight_is_refused_in_words(part: str, tmp_path: Path) -> None:
    name = "0.bias" if part == "weights" else "weights/0.bias"
    message = damaged(tmp_path / "last.safetensors", lambda found: getattr(found, part).pop(name))
    assert "1 weights are missing, first 0.bias" in message


def test_an_unknown_weight_and_one_of_another_shape_are_refused_in_words(tmp_path: Path) -> None:
    def widened(found: NativeCheckpoint) -> None:
        found.training["weights/0.bias"] = torch.zeros(9)

    path = tmp_path / "last.safetensors"
    assert "the model has no weight 2.bias" in damaged(
        path, lambda found: found.weights.update({"2.bias": torch.ones(1)})
    )
    assert "0.bias is (9,), expected (4,)" in damaged(path, widened)


def test_missing_moments_are_refused_in_words(tmp_path: Path) -> None:
    def without(*names: str) -> Callable[[NativeCheckpoint], None]:
        return lambda found: [found.training.pop(f"optimiser/{name}") for name in names]

    path = tmp_path / "last.safetensors"
    message = damaged(path, without("exp_avg_sq/1.weight"))
    assert "the optimiser's exp_avg_sq is missing for 1 parameters, first 1.weight" in message
    message = damaged(path, without(*(f"{moment}/0.bias" for moment in ("step", "exp_avg", "exp_avg_sq"))))
    assert "3 tensors of the run's state are missing, perhaps those of 0.bias" in message


def test_moments_of_something_else_are_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    message = damaged(path, lambda found: found.training.update({"optimiser/exp_avg/7.bias": torch.zeros(4)}))
    assert "is of '7.bias', which is no parameter of the model" in message
    message = damaged(path, lambda found: found.training.update({"optimiser/exp_avg/0.bias": torch.zeros(9)}))
    assert "the optimiser's exp_avg of 0.bias is (9,), unlike the parameter" in message


@pytest.mark.parametrize(
    ("name", "value"), [("step", None), ("step", -1), ("step", True), ("step", "3"), ("best", "good"), ("stale", [])]
)
def test_progress_that_is_no_number_is_refused_in_words(name: str, value: object, tmp_path: Path) -> None:
    message = damaged(tmp_path / "last.safetensors", lambda found: found.progress.update({name: value}))
    assert f"its progress has {name} = " in message


def test_other_data_than_the_run_began_with_are_refused_in_words(tmp_path: Path) -> None:
    def reported(**before: object) -> str:
        change = {"data": {"train": {"images": 3, "objects": 5, **before}}}
        return damaged(tmp_path / "last.safetensors", lambda found: found.progress.update(change))

    message = reported(images=4)
    assert "data.train has changed since the run began: 4 images with 5 objects then, 3 images with 5 obj" in message
    assert "3 images with 5 objects then, as many, but other ones; put the old annotations back" in reported(digest="b")
