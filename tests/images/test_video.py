"""Frames of videos and cameras: as they are shown, when they are shown, and as many as can be decoded."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from maskwright.errors import DataError, MissingDependency
from maskwright.images import video
from maskwright.images.video import Camera, count_frames, read_frames


def read(source) -> tuple[list[video.Frame], str]:
    """The frames, and what is said after them."""
    frames = []
    try:
        frames.extend(read_frames(source))  # keeps those before an error
    except DataError as error:
        return frames, str(error)
    return frames, ""


@pytest.fixture
def noise() -> list[np.ndarray]:
    """Sixty pictures that need many bytes each."""
    return list(np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8))


def test_frames_come_in_order_with_their_times_and_pixels(write_video, tmp_path) -> None:
    frames, reported = read(write_video(tmp_path / "clip.mp4"))
    assert reported == ""
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.seconds for frame in frames] == pytest.approx([index / 10 for index in range(12)])
    for frame in frames:
        assert frame.pixels.shape == (3, 48, 64) and frame.pixels.is_contiguous()
        assert frame.pixels.float().mean().item() == pytest.approx(20 + 200 * frame.index // 12, abs=3)


def test_red_stays_red(write_video, tmp_path) -> None:
    red = np.zeros((48, 64, 3), np.uint8) + np.array([220, 30, 40], np.uint8)
    frames, _ = read(write_video(tmp_path / "clip.mp4", pictures=[red]))
    assert frames[0].pixels.float().mean((1, 2)).tolist() == pytest.approx([220, 30, 40], abs=4)


def test_a_variable_frame_rate_is_kept(write_video, tmp_path) -> None:
    seconds = [0, 0.1, 0.15, 1.5, 1.533, 4.0]
    frames, _ = read(write_video(tmp_path / "clip.mkv", 6, seconds=seconds))
    assert [frame.seconds for frame in frames] == pytest.approx(seconds)


def test_time_counts_from_the_start_of_the_file(write_video, tmp_path) -> None:
    path = write_video(tmp_path / "clip.ts")
    with av.open(path) as container:
        assert container.start_time > 100_000  # a transport stream begins anywhere
    assert [frame.seconds for frame in read(path)[0]] == pytest.approx([index / 10 for index in range(12)])


def test_frames_without_times_follow_each_other_at_the_rate(write_video, tmp_path) -> None:
    frames, _ = read(write_video(tmp_path / "clip.h264"))
    assert [frame.seconds for frame in frames] == pytest.approx([index * frames[1].seconds for index in range(12)])
    assert frames[1].seconds > 0


@pytest.mark.skipif(not hasattr(av.video.stream.VideoStream, "set_display_rotation"), reason="this PyAV writes none")
@pytest.mark.parametrize(("degrees", "corner"), [(90, (-3, 2)), (180, (-3, -3)), (-90, (2, -3)), (0, (2, 2))])
def test_frames_are_turned_as_the_file_says(write_video, tmp_path, degrees, corner) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:8, :8] = 255
    frames, _ = read(write_video(tmp_path / "clip.mp4", pictures=[picture], rotation=degrees))
    assert frames[0].pixels.shape == ((3, 64, 48) if degrees % 180 else (3, 48, 64))
    y, x = corner
    assert frames[0].pixels[:, y, x].min() > 200


@pytest.mark.parametrize(
    ("codec", "pixel_format"), [("ffv1", "gray"), ("ffv1", "bgra"), ("ffv1", "gray16le"), ("libx264", "yuv444p")]
)
def test_grey_alpha_and_deep_videos_become_rgb(write_video, tmp_path, codec, pixel_format) -> None:
    frames, reported = read(write_video(tmp_path / "clip.mkv", 3, codec=codec, pixel_format=pixel_format))
    assert reported == ""
    for frame in frames:
        assert frame.pixels.shape == (3, 48, 64)
        assert frame.pixels.float().mean((1, 2)).tolist() == pytest.approx([20 + 200 * frame.index // 3] * 3, abs=3)


def test_sound_is_ignored(tmp_path) -> None:
    with av.open(tmp_path / "clip.mp4", "w") as container:
        sound, stream = container.add_stream("aac", rate=8000), container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(5):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(picture))
            noise = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.float32), format="fltp", layout="mono")
            noise.sample_rate, noise.pts = 8000, index * 800
            container.mux(sound.encode(noise))
        container.mux(stream.encode())
        container.mux(sound.encode())
    frames, reported = read(tmp_path / "clip.mp4")
    assert (len(frames), reported) == (5, "")


def test_a_file_with_sound_alone_is_refused(tmp_path) -> None:
    with av.open(tmp_path / "song.mp4", "w") as container:
        sound = container.add_stream("aac", rate=8000)
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        noise.sample_rate = 8000
        container.mux(sound.encode(noise))
        container.mux(sound.encode())
    assert "song.mp4 has no video that can be decoded" in read(tmp_path / "song.mp4")[1]


def test_a_file_name_is_never_taken_for_an_address(write_video, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(Path("concat:a b#1%d.mp4"))
    assert len(read("concat:a b#1%d.mp4")[0]) == 12


def test_a_title_in_a_strange_encoding_is_no_reason_to_fail(write_video, tmp_path) -> None:
    path = write_video(tmp_path / "clip.avi", codec="mpeg4", metadata={"title": "QQQQQQQQ"})
    assert b"QQQQQQQQ" in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"QQQQQQQQ", b"\xc4\xd6\xdc\xdf\xe4\xf6\xfc\xff"))
    assert len(read(path)[0]) == 12


@pytest.mark.parametrize(
    ("name", "options"),
    [("clip.mp4", {"movflags": "faststart"}), ("clip.mkv", {}), ("clip.ts", {}), ("clip.webm", {})],
)
def test_of_a_file_that_was_cut_off_the_frames_before_the_cut_are_read(write_video, tmp_path, noise, name, options):
    codec = "libvpx-vp9" if name == "clip.webm" else "libx264"
    path = write_video(tmp_path / name, pictures=noise, codec=codec, options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, reported = read(path)
    assert 15 < len(frames) < 60
    assert f"{name} is damaged or cut off near frame" in reported
    assert f"the {len(frames)} frames that can be decoded are used" in reported


def test_behind_a_damaged_part_reading_goes_on(write_video, tmp_path, noise) -> None:
    path = write_video(tmp_path / "clip.mp4", pictures=noise)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 6000] = bytes(6000)
    path.write_bytes(content)
    frames, reported = read(path)
    assert frames[-1].seconds == pytest.approx(5.9)
    assert 50 < len(frames) <= 60
    assert "near frame 2" in reported or "near frame 3" in reported


@pytest.mark.parametrize(
    ("name", "message"),
    [("clip.mp4", "clip.mp4 has no frame that can be decoded"), ("clip.mkv", "clip.mkv is no video that can be read")],
)
def test_a_video_without_frames_is_refused(tmp_path, name, message) -> None:
    with av.open(tmp_path / name, "w", options={"movflags": "empty_moov"}) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    frames, reported = read(tmp_path / name)
    assert frames == []
    assert message in reported


def test_a_change_of_size_ends_the_video_and_is_reported(write_video, tmp_path) -> None:
    parts = [write_video(tmp_path / f"{size[0]}.h264", 5, size=size) for size in ((48, 64), (32, 96))]
    (tmp_path / "clip.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, reported = read(tmp_path / "clip.h264")
    assert [tuple(frame.pixels.shape) for frame in frames] == [(3, 48, 64)] * 5
    assert "clip.h264 changes from 48 × 64 to 32 × 96 pixels at frame 5" in reported


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.mp4", "missing.mp4 does not exist; check the path"),
        ("folder.mp4", r"folder.mp4 cannot be read \(Is a directory\)"),
        ("text.mp4", r"text.mp4 is no video that can be read, or is cut off before its index"),
        ("empty.mp4", r"empty.mp4 is no video that can be read"),
    ],
)
def test_what_is_no_video_is_reported_in_one_line(tmp_path, name, message) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "text.mp4").write_text("words " * 1000)
    (tmp_path / "empty.mp4").touch()
    for look in (lambda path: next(read_frames(path)), count_frames):
        with pytest.raises(DataError, match=message) as raised:
            look(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_frames_are_counted_by_the_header(write_video, tmp_path) -> None:
    assert count_frames(write_video(tmp_path / "clip.mp4")) == 12
    assert count_frames(write_video(tmp_path / "clip.mkv")) == 12
    assert count_frames(write_video(tmp_path / "clip.h264")) is None
    assert count_frames(Camera(0)) is None


def test_a_camera_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"camera:9876 cannot be opened .*; connect it, or give the number of another"):
        next(read_frames(Camera(9876)))


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux", ("/dev/video2", "v4l2", {})),
        ("darwin", ("2", "avfoundation", {"framerate": "30"})),
        ("win32", ("video=c", "dshow", {})),
    ],
)
def test_cameras_are_asked_for_as_each_platform_calls_them(monkeypatch, platform, expected) -> None:
    monkeypatch.setattr(video, "_windows_cameras", lambda: ["a", "b", "c"])
    assert video._camera_address(2, platform) == expected


def test_a_camera_beyond_those_of_windows_is_named(monkeypatch) -> None:
    monkeypatch.setattr(video, "_windows_cameras", lambda: ["front"])
    with pytest.raises(DataError, match="camera:2 is not there; the cameras are front, from 0"):
        video._camera_address(2, "win32")


def test_a_camera_is_read_as_a_file_is(write_video, tmp_path, monkeypatch) -> None:
    # stands for the device, which needs a machine with one
    path = write_video(tmp_path / "clip.ts")
    monkeypatch.setattr(video, "_camera_address", lambda number, platform: (str(path), "mpegts", {}))
    frames, _ = read(Camera(0))
    assert [frame.seconds for frame in frames] == pytest.approx([index / 10 for index in range(12)])


def test_without_pyav_the_extra_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for look in (lambda path: next(read_frames(path)), count_frames):
        with pytest.raises(MissingDependency, match=r"'av'; install it with: pip install 'maskwright\[video\]'"):
            look(tmp_path / "clip.mp4")
