"""The output folder of a run: whose it is, and where its files lie."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskwright.config.run import Recipe
from maskwright.errors import OutputError
from maskwright.evaluation import Metrics
from maskwright.files import claim_folder, replace_file

_NO_RECIPE = "{} is not the recipe of a run; choose another output folder"

# settings that may change between a kill and a resume without changing the result
_FREE = (
    *("name", "summary", "data.workers", "train.log_every", "train.checkpoint_every"),
    *("augmented", "tiles", "expected", "train.evaluates_augmented"),  # what comes after the last step
)


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    root: Path

    @property
    def last(self) -> Path:
        """The newest checkpoint, with the run's state."""
        return self.root / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights with the best metric so far."""
        return self.root / "checkpoints" / "best.safetensors"

    @property
    def recipe(self) -> Path:
        """The resolved recipe; its presence says that the folder belongs to a run."""
        return self.root / "recipe.yaml"

    @property
    def metrics(self) -> Path:
        """The metrics of the best weights."""
        return self.root / "metrics.json"

    def begun_with(self) -> dict[str, Any] | None:
        """The table of the recipe that the run began with; None where there is none that can be read."""
        try:
            table = yaml.safe_load(self.recipe.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError):
            return None
        return table if isinstance(table, dict) else None

    def read_metrics(self) -> Metrics | None:
        """What `metrics.json` has; None where it cannot be read."""
        try:
            return Metrics(json.loads(self.metrics.read_text(encoding="utf-8")))
        except (OSError, ValueError, AttributeError):  # AttributeError: it is no table
            return None

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Replace `metrics.json` whole."""
        replace_file(self.metrics, json.dumps(metrics, indent=2))


def claim_run_folder(root: Path, recipe: Recipe, *, resume: bool) -> RunFolder:
    """Take a folder for a run, or take it up again.

    Raises:
        OutputError: it cannot be written, belongs to a run and `resume` is off, or `resume` is on and the recipe is
            not the one that the run began with.
    """
    folder = RunFolder(root)
    resolved = recipe.model_dump(mode="json")
    claim_folder(root)
    claim_folder(folder.last.parent)
    if not folder.recipe.exists():
        replace_file(folder.recipe, yaml.safe_dump(resolved, sort_keys=False))
        return folder
    try:
        begun = yaml.safe_load(folder.recipe.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise OutputError(_NO_RECIPE.format(folder.recipe)) from error
    if not isinstance(begun, dict):
        raise OutputError(_NO_RECIPE.format(folder.recipe))
    if not resume:
        raise OutputError(
            f"output folder {root} belongs to another run; choose another, or go on with that run by --resume"
        )
    if changed := _differences(begun, resolved):
        raise OutputError(
            f"output folder {root}: its run began with another {', '.join(changed)}; resume with the same recipe and "
            "overrides, or train into a new folder"
        )
    return folder


def _differences(old: Any, new: Any, key: str = "") -> list[str]:
    """Dotted keys whose values differ, but for those that may."""
    if key in _FREE:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        differences = []
        for name in [*old, *(name for name in new if name not in old)]:
            differences += _differences(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
        return differences
    return [] if old == new else [key]
