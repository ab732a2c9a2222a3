"""`maskwright predict` on videos and cameras, as processes where they are stopped midway."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from maskwright.images.video import read_frames


@pytest.fixture
def predict(here, tiny, tmp_path):
    def command(*arguments, output=tmp_path / "out"):
        return here("predict", *arguments, "--model", tiny.recipe, "--weights", "random", "--output", output)

    return command


@pytest.fixture
def started(tiny, tmp_path, write_video):
    """A process that predicts a video which takes it far longer than any test waits; ended with the test."""
    video = write_video(tmp_path / "long.mp4", 5_000, size=(32, 32))
    words = [
        "predict", video, "--model", tiny.recipe, "--weights", "random", "--output", tmp_path / "out",
        "--score-threshold", "0", "--max-detections", "3", "--device", "cpu",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "maskwright", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        preexec_fn=hear_interrupts,  # noqa: PLW1509 - before any thread of its own
    )
    yield process
    process.kill()
    process.wait()


def hear_interrupts() -> None:
    """Tests that run in the background of a shell have SIGINT ignored, and so have their processes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(happens: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not happens():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_fragments(path: Path, num_bytes: int = 6_000) -> bool:
    return path.exists() and path.stat().st_size > num_bytes


def test_a_video_becomes_a_dataset_and_an_annotated_video(process, tiny, write_video, tmp_path) -> None:
    video = write_video(tmp_path / "clip.mp4", 6, size=(47, 63), pixel_format="yuv444p")
    outcome = process(
        "predict", video, tiny.images / "1.png", "--model", tiny.recipe, "--weights", "random", "--device", "cpu",
        "--output", tmp_path / "out", "--score-threshold", 0, "--max-detections", 4,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert re.search(r"images and frames: 7 of 7, \d+\.\d a second", outcome.err)
    assert "in 7 images and frames" in outcome.out
    predictions = COCO(tmp_path / "out" / "predictions.json")
    frames = [image for image in predictions.loadImgs(predictions.getImgIds()) if "frame" in image]
    assert [(image["frame"], image["seconds"]) for image in frames] == [(index, index / 10) for index in range(6)]
    assert frames[2]["file_name"].endswith("clip.mp4#000002")
    assert {(image["height"], image["width"]) for image in frames} == {(47, 63)}
    for annotation in predictions.loadAnns(predictions.getAnnIds()):
        assert predictions.annToMask(annotation).sum() == annotation["area"]
    played = list(read_frames(tmp_path / "out" / "overlays" / "clip.mp4"))
    assert [tuple(frame.pixels.shape) for frame in played] == [(3, 48, 64)] * 6


def test_ctrl_c_leaves_a_playable_video_and_whole_predictions_of_the_same_frames(started, tmp_path) -> None:
    overlay = tmp_path / "out" / "overlays" / "long.mp4"
    wait_until(lambda: has_fragments(overlay), started)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=30)
    assert started.returncode == 130, err
    assert "Traceback" not in err
    told = re.search(r"interrupted: the predictions of (\d+) of 5000 frames are in ", err)
    images = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    played = list(read_frames(overlay))
    assert len(played) >= 10
    # the interruption may come between noting a frame here and noting it there
    assert abs(len(images) - len(played)) <= 1 and abs(len(images) - int(told[1])) <= 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["overlays", "predictions.json"]


def test_a_killed_process_leaves_a_playable_video_and_no_obstacle(started, predict, tmp_path, tiny) -> None:
    overlay = tmp_path / "out" / "overlays" / "long.mp4"
    wait_until(lambda: has_fragments(overlay), started)
    started.kill()
    started.wait()
    assert len(list(read_frames(overlay))) >= 10
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["overlays", "predictions.json.unfinished"]
    assert predict(tiny.images).status == 0
    assert [path.name for path in sorted((tmp_path / "out" / "overlays").iterdir())] == ["1.png", "2.png", "3.png"]


def test_frames_can_be_limited_and_the_video_left_out(predict, write_video, tmp_path) -> None:
    outcome = predict(write_video(tmp_path / "clip.mp4"), "--frames", 5, "--no-overlays")
    assert outcome.status == 0
    assert "frames: 5 of 5" in outcome.err
    assert "in 5 frames" in outcome.out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.json"]


def test_a_cut_off_video_gives_its_first_frames_and_status_2(predict, write_video, tmp_path) -> None:
    video = write_video(tmp_path / "clip.mp4", 40, options={"movflags": "faststart"})
    video.write_bytes(video.read_bytes()[:-200])
    outcome = predict(video)
    assert outcome.status == 2
    assert "clip.mp4 is damaged or cut off near frame" in outcome.err
    assert "; 1 could not be used to the end" in outcome.out
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]


def test_a_camera_that_is_not_there_is_reported_in_one_line(predict) -> None:
    outcome = predict("camera:9876")
    assert outcome.status == 2
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: camera:9876 cannot be opened")


def test_without_pyav_the_extra_is_named_before_any_work(predict, monkeypatch, tmp_path) -> None:
    (tmp_path / "clip.mp4").touch()
    monkeypatch.setitem(sys.modules, "av", None)
    outcome = predict(tmp_path / "clip.mp4")
    assert outcome.status == 2
    assert outcome.err.startswith("error: this needs the optional library 'av'")
