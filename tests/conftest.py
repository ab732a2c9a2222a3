"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

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
