"""Frames of a video file or a camera, one at a time; through PyAV.

Frames come as they are shown: turned as the file says, in the order and at the times of showing, so that a variable
frame rate is kept. Alpha is dropped, grey becomes RGB, sound is ignored, and pixels that are not square stay as stored.
All frames of a video have one size: where it changes, the video ends with an error that says so, because neither a
resized frame nor a second video would be what was asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from maskwright.errors import DataError, MissingDependency

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

# Matroska files say how long they are and end silently where they are cut; a last frame may be shown this long
_LONGEST_FRAME_S = 1.0
# of raw streams, which know neither times nor a rate
_DEFAULT_RATE = 25


@dataclass(frozen=True)
class Camera:
    """A camera of this machine, by the number that the system gives it; the first is 0."""

    number: int

    def __str__(self) -> str:
        return f"camera:{self.number}"


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    Attributes:
        index: counted from 0 among the frames that can be decoded.
        seconds: when it is shown, from the start of the file or of the camera's recording.
        pixels: (3, H, W) uint8 RGB.
    """

    index: int
    seconds: float
    pixels: Tensor


def read_frames(source: str | Path | Camera) -> Generator[Frame, None, None]:
    """The frames of a video file, or of a camera until the iterator is closed, decoded one by one.

    Args:
        source: a path or a camera. The system drops what a camera shows while no picture is asked for.

    Yields:
        every frame that can be decoded; after a damaged part those behind it.

    Raises:
        DataError: the source cannot be opened or has no frame; or, after its last frame, the file was damaged or cut
            off somewhere; or, instead of a frame, its size is another than that of the frames before it.
        MissingDependency: PyAV is not installed.
    """
    frame: Frame | None = None
    damage = ""
    with _opened(source) as (container, stream):
        for raw, seconds in _timed(_decoded(container, stream), container, stream):
            if raw is None or raw.is_corrupt:
                damage = damage or (f"near frame {frame.index} ({frame.seconds:.2f} s)" if frame else "at its start")
            if raw is not None:
                frame = _next_frame(source, frame, seconds, _upright(raw))
                yield frame
    if frame is None:
        raise DataError(f"video {source} has no frame that can be decoded; restore or remove it")
    if damage:
        raise DataError(
            f"video {source} is damaged or cut off {damage}; the {frame.index + 1} frames that can be decoded are "
            "used, restore it to get the others"
        )


def count_frames(source: str | Path | Camera) -> int | None:
    """About how many frames a video has by its header; None for a camera and where no header says it.

    Raises:
        DataError: the file cannot be opened.
        MissingDependency: PyAV is not installed.
    """
    check_av()
    if isinstance(source, Camera):
        return None
    with _opened(source) as (container, stream):
        return stream.frames or round(_duration_s(container) * (stream.average_rate or 0)) or None


def check_av() -> None:
    """Make sure that `import av` will work.

    Raises:
        MissingDependency: it will not.
    """
    try:
        import av  # noqa: F401 - imported for what follows
    except ImportError as error:
        raise MissingDependency("av", "video") from error


@contextmanager
def _opened(source: str | Path | Camera) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file or device and its main video stream; the cover of a song does not count as one."""
    check_av()
    import av

    try:
        address, kind, options = (
            _camera_address(source.number, sys.platform) if isinstance(source, Camera) else (f"file:{source}", None, {})
        )
        container: InputContainer = av.open(address, "r", format=kind, options=options, **_leniency(av.__version__))
    except (av.FFmpegError, ValueError) as error:  # ValueError: FFmpeg was built without this format
        raise DataError(_why_closed(source, error)) from error
    with container:
        stream = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise DataError(f"{source} has no video that can be decoded; convert it to MP4 with H.264")
        # decoding on one thread: with several a damaged packet takes the frames before it along
        yield container, cast("VideoStream", stream)


def _leniency(version: str) -> dict[str, Any]:
    """Names and comments inside files come in any encoding, which is no reason to fail; PyAV 19 needs no telling."""
    return {"metadata_errors": "replace"} if int(version.partition(".")[0]) < 19 else {}


def _camera_address(number: int, platform: str) -> tuple[str, str, dict[str, str]]:
    """What FFmpeg calls a camera, the format that reads it, and its options; by the platform's name as in `sys`.

    Nothing beyond these names could be tried: no camera stood at the machine on which this was written.
    """
    if platform == "darwin":
        return str(number), "avfoundation", {"framerate": "30"}  # its default, 29.97, suits few cameras
    if platform == "win32":
        names = _windows_cameras()
        if number >= len(names):
            raise DataError(f"camera:{number} is not there; the cameras are {', '.join(names) or 'none'}, from 0")
        return f"video={names[number]}", "dshow", {}
    return f"/dev/video{number}", "v4l2", {}


def _windows_cameras() -> list[str]:
    from av.device import enumerate_input_devices

    return [device.name for device in enumerate_input_devices("dshow") if "video" in device.media_types]


def _why_closed(source: str | Path | Camera, error: Exception) -> str:
    """Why a source cannot be opened, and the way out."""
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(source, Camera):
        return f"{source} cannot be opened ({reason}); connect it, or give the number of another camera"
    if isinstance(error, FileNotFoundError):
        return f"video {source} does not exist; check the path"
    if isinstance(error, OSError):
        return f"video {source} cannot be read ({reason}); check its permissions"
    return f"{source} is no video that can be read, or is cut off before its index ({reason}); restore or convert it"


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame | None]:
    """The frames in the order of showing, with None instead of what cannot be read or decoded."""
    import av

    end_s = 0.0
    try:
        for packet in container.demux():  # of all streams: the longest one shows where the file is cut
            if packet.pts is not None and packet.time_base is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is not stream:
                continue
            try:
                yield from stream.decode(packet)
            except av.FFmpegError:
                yield None
            if packet.is_corrupt:
                yield None
    except av.FFmpegError:
        yield None
    if container.format.name.startswith("matroska") and end_s + _LONGEST_FRAME_S < _duration_s(container):
        yield None


def _timed(
    frames: Iterator[VideoFrame | None], container: InputContainer, stream: VideoStream
) -> Iterator[tuple[VideoFrame | None, float]]:
    """Each frame with the second at which it is shown; those without a time follow each other at the video's rate."""
    import av

    start_us = cast("int | None", container.start_time)  # PyAV's types forget that times may be missing
    start = None if start_us is None else start_us / av.time_base
    seconds, next_seconds, step = 0.0, 0.0, float(1 / (stream.guessed_rate or _DEFAULT_RATE))
    for raw in frames:
        if raw is not None:
            time = cast("float | None", raw.time)
            start = time if start is None else start
            seconds = next_seconds if time is None or start is None else time - start
            next_seconds = seconds + step
        yield raw, seconds


def _upright(raw: VideoFrame) -> Tensor:
    """(3, H, W) uint8 RGB, turned by the quarter turns that the file asks for."""
    picture = np.rot90(raw.to_ndarray(format="rgb24"), round(raw.rotation / 90))
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def _next_frame(source: str | Path | Camera, last: Frame | None, seconds: float, pixels: Tensor) -> Frame:
    index = 0 if last is None else last.index + 1
    if last is not None and pixels.shape != last.pixels.shape:
        before, after = ("{1} × {2}".format(*size) for size in (last.pixels.shape, pixels.shape))
        raise DataError(
            f"video {source} changes from {before} to {after} pixels at frame {index} ({seconds:.2f} s) and is used up "
            "to there; split it there"
        )
    return Frame(index, seconds, pixels)


def _duration_s(container: InputContainer) -> float:
    """By the header; 0 where it does not say."""
    import av

    return (container.duration or 0) / av.time_base
