"""A video file in the making: what was added comes out again, at any moment."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import DataError, MissingDependency, OutputError
from maskwright.images import video_writer
from maskwright.images.video import Frame, read_frames
from maskwright.images.video_writer import VideoWriter

TICK = 1 / 60_000


def grey(value: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def write_all(writer: VideoWriter, pictures: np.ndarray) -> None:
    for index, picture in enumerate(pictures):
        writer.add(picture, index / 10)


def playable(path: Path) -> list[Frame]:
    """The frames up to where the file breaks off."""
    frames: list[Frame] = []
    with suppress(DataError):
        frames.extend(read_frames(path))
    return frames


@settings(max_examples=20)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    steps=st.lists(st.floats(1 / 240, 3.0), min_size=0, max_size=8),
    start=st.sampled_from([0.0, 0.08, 3.0]),
)
def test_what_was_added_comes_out_with_its_time_at_an_even_size(size, steps, start) -> None:
    times = np.cumsum([start, *steps]).tolist()
    values = [20 + 25 * index for index in range(len(times))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with VideoWriter(path) as writer:
            for value, time in zip(values, times, strict=True):
                writer.add(grey(value, size), time)
        with av.open(path) as container:
            assert [frame.time for frame in container.decode(video=0)] == pytest.approx(times, abs=TICK)
        frames = list(read_frames(path))
    even = tuple(side + side % 2 for side in size)
    assert [tuple(frame.pixels.shape) for frame in frames] == [(3, *even)] * len(times)
    assert [frame.pixels.float().mean().item() for frame in frames] == pytest.approx(values, abs=4)


def test_colours_and_the_added_edge_are_those_of_the_picture(tmp_path) -> None:
    picture = grey(0, (33, 47))
    picture[:] = (200, 60, 20)
    with VideoWriter(tmp_path / "clip.mp4") as writer:
        writer.add(picture, 0.0)
    (frame,) = read_frames(tmp_path / "clip.mp4")
    assert frame.pixels.shape == (3, 34, 48)
    assert frame.pixels[:, -1, -1].tolist() == pytest.approx([200, 60, 20], abs=5)


def test_times_that_do_not_grow_are_moved_by_a_tick(tmp_path) -> None:
    with VideoWriter(tmp_path / "clip.mp4") as writer:
        for time in (0.0, 1.0, 1.0, 0.5, 2.0):
            writer.add(grey(50), time)
    expected = [0.0, 1.0, 1.0 + TICK, 1.0 + 2 * TICK, 2.0]
    assert [frame.seconds for frame in read_frames(tmp_path / "clip.mp4")] == pytest.approx(expected, abs=TICK / 10)


def test_a_video_without_frames_leaves_no_file(tmp_path) -> None:
    with VideoWriter(tmp_path / "clip.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_file_can_be_played_while_it_grows(tmp_path) -> None:
    with VideoWriter(tmp_path / "clip.mp4") as writer:
        for index in range(50):
            writer.add(grey(index), index / 10)
        shutil.copy(tmp_path / "clip.mp4", tmp_path / "killed.mp4")  # what a killed process would have left
    assert 40 <= len(list(read_frames(tmp_path / "killed.mp4"))) <= 50
    assert len(list(read_frames(tmp_path / "clip.mp4"))) == 50


@pytest.mark.parametrize("share", [0.3, 0.55, 0.8])
def test_even_a_file_cut_anywhere_can_be_played_to_the_cut(tmp_path, share) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path) as writer:
        write_all(writer, np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])
    assert len(playable(path)) >= 60 * share - 12


def test_mpeg_4_stands_in_where_h264_is_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(video_writer, "_best_codec", lambda: "mpeg4")
    with VideoWriter(tmp_path / "clip.mp4") as writer:
        for index in range(5):
            writer.add(grey(40 * index, (47, 63)), index * 1001 / 30000)
    frames = list(read_frames(tmp_path / "clip.mp4"))
    assert [frame.seconds for frame in frames] == pytest.approx([index * 1001 / 30000 for index in range(5)])
    assert [frame.pixels.float().mean().item() for frame in frames] == pytest.approx([0, 40, 80, 120, 160], abs=4)


def test_the_codec_is_h264_where_there_is_one(tmp_path) -> None:
    expected = "h264" if "libx264" in av.codecs_available else "mpeg4"
    with VideoWriter(tmp_path / "clip.mp4") as writer:
        writer.add(grey(9), 0.0)
    with av.open(tmp_path / "clip.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == (expected, "yuv420p")


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path) -> None:
    with (
        pytest.raises(OutputError, match=r"clip.mp4 cannot be written \(No such file"),
        VideoWriter(tmp_path / "gone" / "clip.mp4") as writer,
    ):
        writer.add(grey(0), 0.0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_is_an_output_error_however_often_one_tries(tmp_path) -> None:
    (tmp_path / "clip.mp4").symlink_to("/dev/full")
    with VideoWriter(tmp_path / "clip.mp4") as writer:
        for index in range(5):
            with pytest.raises(OutputError, match="No space left"):
                writer.add(grey(index), float(index))


def test_what_was_written_before_the_disk_was_full_can_be_played(tmp_path) -> None:
    resource = pytest.importorskip("resource")
    pictures = np.random.default_rng(0).integers(0, 256, (100, 48, 64, 3), dtype=np.uint8)
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # stands for the disk
    try:
        with pytest.raises(OutputError, match="File too large"), VideoWriter(tmp_path / "clip.mp4") as writer:
            write_all(writer, pictures)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 5 < len(playable(tmp_path / "clip.mp4")) < 100


def test_without_pyav_the_extra_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependency, match="maskwright"):
        VideoWriter(tmp_path / "clip.mp4")
