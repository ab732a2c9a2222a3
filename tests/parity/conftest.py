"""Recorded reference cases: weights replayed from their recipe, inputs, and comparison with what was recorded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

CASES = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Recorded:
    """What every recorded case has.

    Attributes:
        folder: with `weights.json`, `input.json`, `expected.npz` and `train.json`.
    """

    folder: Path

    @cached_property
    def expected(self) -> dict[str, Any]:
        with np.load(self.folder / "expected.npz") as arrays:
            return dict(arrays)

    @cached_property
    def training(self) -> dict[str, Any]:
        return self._json("train.json")

    def weights(self) -> dict[str, Tensor]:
        """The reference's state dict, drawn as the recipe says."""
        return {key: draw_weights(rule) for key, rule in self._json("weights.json")["keys"].items()}

    def _json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Case(Recorded):
    """A recorded case of torchvision, which has `masks.json` too.

    Attributes:
        images: folder of the PNG images that the cases name.
    """

    images: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        return self._json("input.json")["config"]

    @cached_property
    def mask_rles(self) -> list[dict[str, Any]]:
        return self._json("masks.json")["0"]

    @property
    def image(self) -> Path:
        return self.images / self.config["images"][0]

    def largest_difference(self, key: str, values: Tensor) -> float:
        """Between a tensor, in its logical order, and the samples recorded of the reference's; shapes must agree."""
        assert tuple(values.shape) == tuple(self.expected[f"{key}/shape"])
        return self._differ(values.flatten()[self.expected[f"{key}/idx"]], self.expected[f"{key}/val"])

    def largest_row_difference(self, key: str, rows: Tensor) -> float:
        """Between a table and the whole rows recorded of the reference's."""
        assert len(rows) == self.expected[f"{key}/n_rows"].item()
        return self._differ(rows[self.expected[f"{key}/rows_idx"]], self.expected[f"{key}/rows"])

    @staticmethod
    def _differ(values: Tensor, recorded: Any) -> float:
        return float((values - torch.from_numpy(recorded)).abs().max())


def draw_weights(rule: dict[str, Any]) -> Tensor:
    """One tensor: constant, or from numpy's PCG64, multiplied first and added second, each rounded to float32."""
    shape, kind, single = tuple(rule["shape"]), rule["kind"], np.float32
    if kind in ("zeros", "const"):
        dtype = torch.int64 if rule["dtype"] == "int64" else torch.float32
        return torch.full(shape, rule.get("value", 0), dtype=dtype)
    generator = np.random.Generator(np.random.PCG64(rule["seed"]))
    if kind == "normal":
        values = generator.standard_normal(shape, dtype=single) * single(rule["std"]) + single(rule["mean"])
    else:
        width = single(rule["high"] - rule["low"])
        values = generator.random(shape, dtype=single) * width + single(rule["low"])
    return torch.from_numpy(np.asarray(values))


@pytest.fixture(
    scope="session",
    params=["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"],
    ids=["torchvision-v1", "torchvision-v2"],
)
def case(request: pytest.FixtureRequest) -> Case:
    """A torchvision case; the first ships with these tests, the image of the second may not."""
    if (CASES / "torchvision" / request.param).is_dir():
        return Case(CASES / "torchvision" / request.param, CASES / "images")
    parity = request.getfixturevalue("shared") / "parity"
    return Case(parity / "torchvision" / request.param, parity / "images")


RECIPES = {
    "yolact_base": "yolact/r101",
    "yolact_resnet50": "yolact/r50",
    "yolact_plus_resnet50": "yolact/plus_r50",
}


@dataclass(frozen=True)
class YolactCase(Recorded):
    """A recorded case of YOLACT's authors' code."""

    @property
    def recipe(self) -> str:
        return RECIPES[self.folder.name]

    @property
    def images(self) -> Path:
        return self.folder.parents[1] / "images"

    @property
    def image(self) -> Path:
        return self.folder.parents[1] / self._json("input.json")["image"]

    def difference(self, key: str, values: Tensor) -> float:
        """Largest difference at the recorded places of a large array, whose shapes must agree."""
        assert tuple(values.shape) == tuple(self.expected[f"{key}.shape"])
        return self.apart(values.flatten()[self.expected[f"{key}.index"]], self.expected[f"{key}.value"])

    @staticmethod
    def apart(values: Tensor, recorded: Any) -> float:
        return float((values - torch.as_tensor(recorded)).abs().max())


@pytest.fixture(scope="session", params=list(RECIPES))
def yolact(request: pytest.FixtureRequest, shared: Path) -> YolactCase:
    """A case of YOLACT's authors; their photographs may not ship with these tests."""
    return YolactCase(shared / "parity" / "yolact" / request.param)
