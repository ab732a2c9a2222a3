from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import Arguments

import maskwright as mw


@pytest.mark.slow
def test_ten_images_can_be_learnt_by_heart(training: Callable[..., Arguments], dataset: Path, tmp_path: Path) -> None:
    settings = {
        "data.augment.scale_jitter": [1.0, 1.0],
        "data.augment.vertical_flip": 0.0,
        "data.augment.transpose": 0.0,
        "data.augment.colour": 0.0,
        "train.iterations": 300,
        "train.batch_size": 4,
        "train.learning_rate": 5e-3,
        "train.warmup_iterations": 20,
        "train.schedule": "cosine",
        "train.clip_norm": 5.0,
        "train.log_every": 50,
        "train.checkpoint_every": 100,
    }
    metrics = mw.train(**training(tmp_path / "run", settings, validates=True)).metrics
    assert metrics["mask"]["AP"] > 0.5
    assert metrics["box"]["AP"] > 0.5
    best = mw.load(tmp_path / "run" / "checkpoints" / "best.safetensors", device="cpu")
    again = mw.evaluate(best, dataset / "images", dataset / "annotations.json")
    assert again["mask"]["AP"] == pytest.approx(metrics["mask"]["AP"], abs=1e-6)
