"""A checkpoint asks for no more than its bytes can hold, and what hangs or lies is refused at once."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import torch

from maskwright.checkpoints.keras import read_keras
from maskwright.checkpoints.reading import read_weights
from maskwright.config import recipe_from_table
from maskwright.errors import CheckpointError, ConfigError


def groups_that_hold_each_other(file: Any) -> None:
    group = file
    for _ in range(40):
        inner = group.create_group("a")
        group["b"] = inner
        group = inner
    group["kernel:0"] = [1.0]
    group["up"] = file["a"]


def test_groups_that_hold_each_other_are_read_once(tmp_path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "lattice.h5", "w") as file:
        groups_that_hold_each_other(file)
    started = perf_counter()
    assert list(read_keras(tmp_path / "lattice.h5")) == ["a.weight"]
    assert perf_counter() - started < 2


def test_arrays_of_a_keras_file_take_no_more_than_its_bytes_can_hold_together(tmp_path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        for n in range(100):
            file.create_dataset(f"conv{n}/kernel:0", (500, 500), "f4", chunks=(500, 500), compression="gzip")
    with pytest.raises(CheckpointError, match=r"it asks for more than [\d,]+ bytes of arrays"):
        read_keras(tmp_path / "huge.h5")


def scores_of(path: Path, count: int) -> None:
    state = {f"backbone.body.layer3.{block}.conv1.weight": torch.zeros(1) for block in range(6)}
    state |= {"backbone.body.layer1.0.conv3.weight": torch.zeros(1), "rpn.head.cls_logits.weight": torch.zeros(1)}
    torch.save(state | {"roi_heads.box_predictor.cls_score.bias": torch.zeros(count)}, path)


def test_there_are_no_more_classes_than_categories_can_be(tmp_path) -> None:
    scores_of(tmp_path / "model.pth", 2_000_000)
    with pytest.raises(CheckpointError, match="it scores 1,999,999 classes; at most 50,000 are read"):
        read_weights(tmp_path / "model.pth")
    with pytest.raises(ConfigError, match="50,001 categories; at most 50,000"):
        recipe_from_table({"categories": ["a"] * 50_001}, "x")


def test_names_of_many_parts_are_read_in_time(tmp_path) -> None:
    state = {f"{'a.' * 60}{n}.rpn.head.cls_logits.weight": torch.zeros(0) for n in range(3000)}
    torch.save(state, tmp_path / "names.pth", _use_new_zipfile_serialization=False)
    started = perf_counter()
    with pytest.raises(CheckpointError, match="of no format known here") as raised:
        read_weights(tmp_path / "names.pth")
    assert perf_counter() - started < 8
    assert len(str(raised.value)) < 600


def test_a_reason_that_quotes_the_file_is_cut(tmp_path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02F" + b"x" * 9000 + b"\n.")
    with pytest.raises(CheckpointError, match=r"x\.pkl cannot be read \(could not convert") as raised:
        read_weights(tmp_path / "x.pkl")
    assert len(str(raised.value)) < 600
