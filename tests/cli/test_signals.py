"""Real processes that are stopped: they end soon, with the usual status, whole files and no process left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc to see the processes"),
]

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def hear_interrupts() -> None:
    """Tests that run in the background of a shell have SIGINT ignored, and so have their processes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "maskwright", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        preexec_fn=hear_interrupts,  # noqa: PLW1509 - before any thread of its own
        start_new_session=True,  # so that a signal to all its processes does not reach those of the tests
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def stop(process: subprocess.Popen[str], number: signal.Signals, *, reaches_workers: bool = False) -> str:
    """Send the signal; returns what the process said on stderr, and insists on its end and its workers'."""
    workers = children_of(process.pid)
    os.killpg(process.pid, number) if reaches_workers else process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == STATUS[number], said
    assert "Traceback" not in said
    deadline = time.monotonic() + 3
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.05)
    return said


@pytest.fixture(scope="module")
def many_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for index in range(2000):
        pixels = np.random.default_rng(index).integers(0, 255, (64, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:04}.png", compress_level=1)
    return folder


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("at", [0, 7])
def test_a_stopped_prediction_leaves_whole_pictures_and_the_results_so_far(
    number: signal.Signals, at: int, many_images: Path, trained, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    model = trained[0] / "checkpoints" / "best.safetensors"
    process = start("predict", many_images, "--model", model, "--output", output)
    overlays = output / "overlays"
    wait_for(lambda: overlays.is_dir() and len(list(overlays.iterdir())) >= at, process)
    said = stop(process, number)
    content = json.loads((output / "predictions.json").read_text())
    assert at <= len(content["images"]) < 2000
    counts = [len(content["images"]), len(content["images"]) - 1]  # the last may be written, but not counted yet
    assert any(f"interrupted: the predictions of {count} of 2000 images are in {output}" in said for count in counts)
    assert sorted(path.name for path in output.iterdir()) == ["overlays", "predictions.json"]
    for path in overlays.iterdir():
        Image.open(path).load()
    names = {Path(image["file_name"]).name for image in content["images"]}
    assert {path.name for path in overlays.iterdir()} <= names


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("delay_s", [0.0, 0.003, 0.02])
def test_a_stopped_training_ends_soon_with_its_workers_and_can_be_resumed(
    number: signal.Signals, delay_s: float, tiny, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    words = ["train", tiny.recipe, *tiny.overrides, "train.iterations=100000", "data.workers=2", "--output", output]
    process = start(*words, "train.evaluate_every=3")
    log = output / "log.jsonl"
    wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") >= 3, process)
    time.sleep(delay_s)
    said = stop(process, number)
    assert said.splitlines()[-1].startswith("interrupted: the run up to its last checkpoint is in ")
    left = [path.name for path in output.rglob("*") if path.name.endswith(".unfinished")]
    assert left == []
    assert all(json.loads(line) for line in log.read_text().splitlines())


def test_a_second_run_in_the_same_folder_is_refused_at_its_start_until_the_first_is_killed(
    here, tiny, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    words = ["train", tiny.recipe, *tiny.overrides, "data.workers=2", "train.iterations=100000", "--output", output]
    process = start(*words)
    log = output / "log.jsonl"
    wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") >= 2, process)
    for resume in ([], ["--resume"]):
        outcome = here(*words, *resume)
        assert outcome.status == 2
        assert outcome.err.startswith(f"error: output folder {output} is in use: another maskwright writes into it")
    process.kill()
    process.communicate()
    outcome = here(*words)
    assert "belongs to another run" in outcome.err
    assert "is in use" not in outcome.err


def test_a_second_prediction_into_the_same_folder_is_refused_at_its_start(
    here, many_images: Path, trained, tmp_path: Path
) -> None:
    words = ["predict", many_images, "--model", trained[0] / "checkpoints" / "best.safetensors", "--output", tmp_path]
    process = start(*words)
    wait_for((tmp_path / "overlays").is_dir, process)
    outcome = here(*words)
    assert (outcome.status, "is in use" in outcome.err) == (2, True)
    stop(process, signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_a_training_whose_worker_is_killed_says_so_in_one_line(number: signal.Signals, tiny, tmp_path: Path) -> None:
    words = ["train", tiny.recipe, *tiny.overrides, "data.workers=2", "train.iterations=100000"]
    process = start(*words, "--output", tmp_path / "run")
    log = tmp_path / "run" / "log.jsonl"
    wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") >= 2, process)
    os.kill(children_of(process.pid)[0], number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert "error: a worker that reads images has ended" in said.splitlines()[-1]
    assert "lower data.workers" in said.splitlines()[-1]


@pytest.mark.parametrize("number", STATUS)
def test_a_signal_to_all_processes_of_a_training_is_for_the_main_one_only(
    number: signal.Signals, tiny, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    words = ["train", tiny.recipe, *tiny.overrides, "train.iterations=100000", "data.workers=2", "--output", output]
    process = start(*words)
    log = output / "log.jsonl"
    wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") >= 3, process)
    assert "Exception ignored" not in stop(process, number, reaches_workers=True)
