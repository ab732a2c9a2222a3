"""Videos through a network with several frames in flight: decoding, the network and drawing each have their thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from maskwright.images.draw import draw_instances
from maskwright.images.read import IN_FLIGHT, ahead
from maskwright.images.video import Frame
from maskwright.images.video_writer import VideoWriter
from maskwright.predict.prepared import Prepared
from maskwright.structures import Instances

Item = TypeVar("Item")


def detect_frames(
    detect: Callable[[Tensor], Instances], frames: Iterator[Frame], video: Path | None = None
) -> Generator[tuple[Frame, Prepared], None, None]:
    """Find the objects in each frame, in constant memory however many there are.

    The next frames are decoded and the last ones drawn while the network, in the calling thread, works on one. What
    goes wrong in any of the three surfaces here and stops the others. However this ends, the video is completed with
    all frames that were handed over.

    Args:
        detect: finds the objects in (3, H, W) uint8 RGB pixels; a `Predictor`, say.
        frames: as `read_frames` gives them.
        video: the MP4 file on which the objects are drawn; None draws nothing.

    Yields:
        the frames in their order with what was found in them.

    Raises:
        OutputError: the video cannot be written, or the disk is full.
    """
    with closing(ahead(frames)) as upcoming:
        found = ((frame, Prepared.of(detect(frame.pixels))) for frame in upcoming)
        if video is None:
            yield from found
            return
        with VideoWriter(video) as writer, closing(behind(found, partial(_draw, writer))) as drawn:
            yield from drawn


def behind(items: Iterable[Item], work: Callable[[Item], None]) -> Generator[Item, None, None]:
    """The same items; meanwhile work is done on the last few, one after the other, in a thread of its own.

    Where it fails, the error of the first failure is raised, at the latest when the iterator ends or is closed.
    """
    with ThreadPoolExecutor(max_workers=1) as worker:
        waiting: deque[Future[None]] = deque()
        try:
            for item in items:
                waiting.append(worker.submit(work, item))
                if len(waiting) > IN_FLIGHT:
                    waiting[0].result()
                    waiting.popleft()
                yield item
        finally:
            for done in waiting:
                done.result()


def _draw(writer: VideoWriter, item: tuple[Frame, Prepared]) -> None:
    frame, found = item
    writer.add(draw_instances(frame.pixels, found.instances, panoptic=found.panoptic), frame.seconds)
