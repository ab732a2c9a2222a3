"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# before torch is imported: tests run side by side, and fixed thread counts keep sums the same everywhere
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
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
