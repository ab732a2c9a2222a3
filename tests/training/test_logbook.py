from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskwright.errors import OutputError
from maskwright.training.logbook import Logbook


def written(folder: Path, opened_at: int, steps: list[int]) -> None:
    logbook = Logbook(folder, opened_at)
    for step in steps:
        logbook.write(step, {"loss": 1 / step}, "train")
    logbook.close()


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_line_is_a_json_object(tmp_path: Path) -> None:
    written(tmp_path, 0, [2])
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"step": 2, "part": "train", "loss": 0.5}


def test_a_line_can_be_read_while_the_run_goes_on(tmp_path: Path) -> None:
    logbook = Logbook(tmp_path, 0)
    logbook.write(1, {"loss": 1.0}, "train")
    assert steps(tmp_path) == [1]
    logbook.close()


def test_taken_up_at_a_step_the_log_forgets_what_came_after(tmp_path: Path) -> None:
    written(tmp_path, 0, [1, 2, 3, 4, 5])
    written(tmp_path, 3, [4, 5, 6])
    assert steps(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_begun_anew_the_log_forgets_everything(tmp_path: Path) -> None:
    written(tmp_path, 0, [1, 2, 3])
    written(tmp_path, 0, [1])
    assert steps(tmp_path) == [1]


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    written(tmp_path, 0, [1, 2])
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 3, "pa')
    written(tmp_path, 2, [3])
    assert steps(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("line", ["", "{}", "[1]", '{"step": "1"}', "\udcff", '{"step": 2, "pa', "[" * 5000])
def test_a_broken_line_in_the_middle_is_refused_in_words(line: str, tmp_path: Path) -> None:
    written(tmp_path, 0, [1, 2])
    whole = (tmp_path / "log.jsonl").read_bytes()
    (tmp_path / "log.jsonl").write_bytes(line.encode(errors="surrogateescape") + b"\n" + whole)
    with pytest.raises(OutputError, match=r"log\.jsonl, line 1 is not an entry of the log of a run") as raised:
        Logbook(tmp_path, 2)
    assert "\n" not in str(raised.value)


def write_many(logbook: Logbook) -> None:
    for step in range(1, 100):
        logbook.write(step, {"loss": 1 / step}, "train")


def test_a_log_without_room_ends_with_a_whole_line(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    logbook = Logbook(tmp_path, 0)
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # stands for the disk
    try:
        with pytest.raises(OutputError, match=r"cannot be written \(File too large\)"):
            write_many(logbook)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    logbook.close()
    assert 3 < len(steps(tmp_path)) < 40


def test_reopening_never_leaves_less_than_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, 0, [1, 2])

    def killed(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Logbook(tmp_path, 1)
    assert steps(tmp_path) == [1, 2]


def test_the_same_numbers_go_to_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    written(tmp_path, 0, [1, 2, 4])
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1.0), (2, 0.5), (4, 0.25)]
