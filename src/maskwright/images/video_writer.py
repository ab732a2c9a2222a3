"""A video file that grows picture by picture and can be played at every moment; through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from maskwright.errors import OutputError
from maskwright.files import output_errors
from maskwright.images.video import check_av

if TYPE_CHECKING:
    from av import VideoStream
    from av.container import OutputContainer

Picture = npt.NDArray[np.uint8]

# a frame is timed to 17 µs: exact at 24, 25, 29.97, 30, 50 and 60 frames a second; MPEG-4 allows at most 65535
_TICKS_PER_SECOND = 60_000
# a killed process loses what came after the last fragment
_FRAGMENT_US = 1_000_000
_CODEC_OPTIONS = {
    # without look-ahead a frame is on its way to the disk as soon as it is drawn
    "libx264": {"preset": "veryfast", "crf": "20", "tune": "zerolatency"},
    "mpeg4": {"flags": "+qscale", "global_quality": "354"},  # 3 on its scale of 1 (best) to 31, times 118
}


class VideoWriter:
    """An MP4 file that can be played at any moment, even where the process was killed, but for its last second.

    It is a context; leaving it completes the file. A video without frames leaves no file. An odd height or width gets
    one more row or column, a copy of the last one, as common players show only even ones.

    Args:
        path: of the file, which is replaced.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
        MissingDependency: PyAV is not installed.
    """

    def __init__(self, path: Path) -> None:
        check_av()
        self._path = path
        self._opened: tuple[OutputContainer, VideoStream] | None = None
        self._ticks = -1
        self._failure: OutputError | None = None

    def add(self, picture: Picture, seconds: float) -> None:
        """Append a (H, W, 3) uint8 RGB picture shown from `seconds` on; one that is not later comes a tick later."""
        from av import VideoFrame

        picture = _even(picture)
        with self._noting_failure():
            self._opened = self._opened or _create(self._path, picture.shape[:2])
            container, stream = self._opened
            assert picture.shape[:2] == (stream.height, stream.width)
            frame = VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            self._ticks = max(round(seconds * _TICKS_PER_SECOND), self._ticks + 1)
            frame.pts, frame.time_base = self._ticks, Fraction(1, _TICKS_PER_SECOND)
            container.mux(stream.encode(frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from av import FFmpegError

        if self._opened is None:
            return
        container, stream = self._opened
        if self._failure:
            with suppress(FFmpegError):  # reported before
                container.close()
            return
        with self._noting_failure(), container:
            container.mux(stream.encode())

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """After a first failure nothing more is written: FFmpeg crashes where it could not write the header."""
        if self._failure:
            raise self._failure
        try:
            with _video_errors(self._path):
                yield
        except OutputError as error:
            self._failure = error
            raise


def _even(picture: Picture) -> Picture:
    """The picture with an even height and width."""
    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return picture


def _create(path: Path, size: tuple[int, ...]) -> tuple[OutputContainer, VideoStream]:
    """An MP4 of fragments that hold their own index, each on the disk before the next begins."""
    import av

    codec = _best_codec()
    options = {
        # the last one keeps the time of the first frame, as does not moving it to zero
        "movflags": "empty_moov+default_base_moof+frag_discont",
        "avoid_negative_ts": "make_non_negative",
        "frag_duration": str(_FRAGMENT_US),
        "flush_packets": "1",
    }
    container = av.open(f"file:{path}", "w", "mp4", container_options=options)
    stream = container.add_stream(codec, options=_CODEC_OPTIONS[codec])
    context = stream.codec_context
    stream.height, stream.width = size
    stream.pix_fmt, context.time_base = "yuv420p", Fraction(1, _TICKS_PER_SECOND)
    context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1  # BT.709, limited
    return container, stream


def _best_codec() -> Literal["libx264", "mpeg4"]:
    """H.264, which plays everywhere; MPEG-4 part 2 where FFmpeg was built without it."""
    from av import codecs_available

    return "libx264" if "libx264" in codecs_available else "mpeg4"


@contextmanager
def _video_errors(path: Path) -> Iterator[None]:
    """Turn what FFmpeg raises into an `OutputError` about `path`."""
    from av import FFmpegError

    with output_errors(path):
        try:
            yield
        except FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise OutputError(f"output {path} cannot be encoded ({error.strerror}); choose --no-overlays") from error
