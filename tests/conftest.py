"""What several test files share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

# before torch is imported: tests run side by side, and fixed thread counts keep sums the same everywhere
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest

# the same examples on every run; slow machines are no failure
hypothesis.settings.register_profile("house", derandomize=True, deadline=None, max_examples=60)
hypothesis.settings.load_profile("house")

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with reference numbers and data that stands beside the checkout in development and CI only."""
    if not (_SHARED / "parity").is_dir():
        pytest.skip("needs ../shared (reference numbers and data), which is not beside this checkout")
    return _SHARED


@pytest.fixture(scope="session")
def tiny_network() -> dict[str, Any]:
    """Overrides that make any two-stage recipe a network for images of 64 pixels, which answers in milliseconds."""
    return {
        "categories": ["brick", "egg", "star"],
        "resize.short_side": 64,
        "resize.long_side": 128,
        "backbone.depth": 18,
        "backbone.width": 8,
        "backbone.frozen_stages": 0,
        "fpn.channels": 16,
        "anchors.sizes_px": [[8], [16], [32], [48], [64]],
        "rpn.anchors_per_image": 64,
        "rpn.train_proposals_before_nms": 60,
        "rpn.train_proposals_after_nms": 60,
        "rpn.test_proposals_before_nms": 60,
        "rpn.test_proposals_after_nms": 60,
        "roi.rois_per_image": 32,
        "box_head.conv_channels": 16,
        "box_head.fc_channels": 16,
        "mask_head.num_convs": 2,
        "mask_head.channels": 16,
    }


@pytest.fixture(scope="session")
def tiny_yolact() -> dict[str, Any]:
    """Overrides that make any YOLACT recipe a network for images of 64 pixels, which answers in milliseconds."""
    return {
        "categories": ["brick", "egg", "star"],
        "resize.size": 64,
        "backbone.depth": 18,
        "backbone.width": 8,
        "backbone.frozen_stages": 0,
        "fpn.channels": 16,
        "anchors.sizes_px": [[8], [16], [32], [48], [64]],
        "protonet.channels": 16,
        "protonet.num_prototypes": 8,
        "head.channels": 16,
    }


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Makes a small video, by default twelve frames, ten a second, each brighter than the one before it."""
    return _write_video


def _write_video(
    path: Path,
    num_frames: int = 12,
    *,
    size: tuple[int, int] = (48, 64),
    seconds: Sequence[float] | None = None,
    pictures: Sequence[np.ndarray] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation: int = 0,
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    import av

    if pictures is None:
        pictures = [
            np.full((*size, 3), 20 + 200 * index // max(1, num_frames), np.uint8) for index in range(num_frames)
        ]
    times = seconds or [index / 10 for index in range(len(pictures))]
    with av.open(f"file:{path}", "w", options=options) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.gop_size = pixel_format, 6
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        container.start_encoding()
        for picture, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
