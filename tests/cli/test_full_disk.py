"""Commands on a disk without room: one line, no half file, and the run can go on once there is room."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow  # real processes, each of which imports torch


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a small disk ({mounted.stderr.strip()})")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk: Path, but: int) -> Path:
    """Fill the disk but for some bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            file.truncate(max(0, file.tell() - but))
    return filler


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(40):
        pixels = np.random.default_rng(index).integers(0, 255, (64, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return folder


@pytest.mark.parametrize("overlays", [[], ["--no-overlays"]])
def test_a_prediction_that_finds_no_room_says_so_and_keeps_the_old_file(
    overlays: list[str], here, trained, images: Path, small_disk: Path
) -> None:
    output = small_disk / "out"
    output.mkdir()
    (output / "predictions.json").write_text("{}")
    fill(small_disk, but=40_000 if not overlays else 4096)
    model = trained[0] / "checkpoints" / "best.safetensors"
    outcome = here("predict", images, "--model", model, "--output", output, *overlays, "--score-threshold", 0)
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].startswith(f"error: output {output}")
    assert outcome.err.splitlines()[-1].endswith(
        "cannot be written (No space left on device); make room or choose another folder"
    )
    assert (output / "predictions.json").read_text() == "{}"
    for path in output.rglob("*"):
        assert path.is_dir() or path.suffix in (".json", ".png")
        if path.suffix == ".png":
            Image.open(path).load()


def test_a_video_that_finds_no_room_says_so(here, trained, write_video, tmp_path: Path, small_disk: Path) -> None:
    pytest.importorskip("av")
    pictures = [np.random.default_rng(n).integers(0, 255, (96, 96, 3), dtype=np.uint8) for n in range(80)]
    video = write_video(tmp_path / "clip.mp4", pictures=pictures)
    model = trained[0] / "checkpoints" / "best.safetensors"
    outcome = here("predict", video, "--model", model, "--output", small_disk / "out")
    assert outcome.status == 2
    assert "cannot be written (No space left on device)" in outcome.err.splitlines()[-1]


@pytest.mark.parametrize("room", [0, 4096, 20_000, 60_000, 150_000])
def test_a_training_that_finds_no_room_stops_in_one_line_and_goes_on_when_there_is(
    room: int, here, tiny, small_disk: Path
) -> None:
    output = small_disk / "run"
    words = ["train", tiny.recipe, *tiny.overrides, "train.iterations=60", "train.checkpoint_every=60"]
    words += ["train.evaluate_every=null", "--output", output]
    filler = fill(small_disk, but=room)
    outcome = here(*words)
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert "No space left on device" in outcome.err
    assert not list(small_disk.rglob("*.unfinished"))
    log = output / "log.jsonl"
    assert not log.exists() or all(json.loads(line) for line in log.read_text().splitlines())
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    again = here(*words, *(["--resume"] if (output / "recipe.yaml").exists() else []))
    assert again.status == 0, again.err


def test_what_is_said_into_a_full_disk_is_an_error_of_one_line() -> None:
    import sys

    if not Path("/dev/full").exists():
        pytest.skip("needs the device that is always full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "maskwright", "recipes"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "error: the output cannot be written (No space left on device); make room\n"
