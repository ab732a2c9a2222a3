"""The output folder of a run: which run it belongs to, and where its files are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskwright.config import stored_recipe
from maskwright.config.run import Recipe
from maskwright.config.yaml_text import BadYaml, read_yaml
from maskwright.errors import ConfigError, OutputError
from maskwright.evaluation import Metrics
from maskwright.files import FolderLock, claim_folder, replace_file

# settings that may change between a kill and a resume without changing the result
_FREE = (
    *("name", "summary", "data.workers", "train.log_every", "train.checkpoint_every"),
    *("data.train.skip_bad", "data.val.skip_bad"),  # so that a run that met a broken image can go on without it
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

    @property
    def as_start(self) -> str:
        """The setting by which another run starts from the weights of this one."""
        return f"train.initial_weights={self.last if self.last.exists() else 'FILE'}"

    def begun_with(self) -> dict[str, Any] | None:
        """The table of the recipe that the run began with; None where there is none that can be read."""
        try:
            table = read_yaml(self.recipe.read_text(encoding="utf-8"))
        except (OSError, BadYaml, UnicodeDecodeError):
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


def refuse_at_start(root: Path, *, resume: bool) -> None:
    """Check a folder before any work is done; nothing is made or changed.

    Raises:
        OutputError: it belongs to a run and `resume` is off, or `resume` is on and there is no run to resume.
    """
    folder = RunFolder(root)
    is_of_run = folder.recipe.exists()
    if resume and not is_of_run and folder.last.exists():
        raise OutputError(
            f"{folder.recipe} is missing, so the recipe of the run in {root} is unknown; put it back, or train into a "
            f"new folder from its weights: {folder.as_start}"
        )
    if resume and not is_of_run:
        raise OutputError(
            f"output folder {root} has no run to resume: it holds no {folder.recipe.name}; give the folder of the run, "
            "or leave out --resume to begin one"
        )
    if not resume and (is_of_run or folder.last.exists()):
        raise OutputError(
            f"output folder {root} belongs to another run; choose another, or resume that run with --resume"
        )


def claim_run_folder(root: Path, recipe: Recipe, *, resume: bool, lock: FolderLock | None = None) -> RunFolder:
    """Claim a folder for a run, or open it to resume the run.

    Args:
        root: the folder.
        recipe: of the run.
        resume: go on with the run that is there.
        lock: taken as soon as the folder is there, before anything is written into it.

    Raises:
        OutputError: it cannot be written, is in use, belongs to a run and `resume` is off, or `resume` is on and there
            is no run, or the recipe is not the one that the run began with.
    """
    folder = RunFolder(root)
    claim_folder(root)
    if lock is not None:
        lock.take()
    refuse_at_start(root, resume=resume)
    claim_folder(folder.last.parent)
    resolved = recipe.model_dump(mode="json")
    if not resume:
        replace_file(folder.recipe, yaml.safe_dump(resolved, sort_keys=False))
        return folder
    if changed := _differences(_begun(folder), resolved):
        raise OutputError(
            f"output folder {root}: its run began with another {', '.join(changed)}; resume with the same recipe and "
            f"overrides, or train into a new folder, from the weights of this run if you like: {folder.as_start}"
        )
    return folder


def _begun(folder: RunFolder) -> dict[str, Any]:
    """The recipe that a run began with; settings that are newer than the run have their defaults.

    Raises:
        OutputError: it cannot be read, or is none.
    """
    try:
        table = read_yaml(folder.recipe.read_text(encoding="utf-8"))
        if not isinstance(table, dict):
            raise ConfigError("it holds no table")
        return stored_recipe(table, str(folder.recipe)).model_dump(mode="json")
    except (OSError, BadYaml, UnicodeDecodeError, ConfigError) as error:
        reason = str(error).splitlines()[0].removeprefix(f"{folder.recipe}: ")
        raise OutputError(
            f"{folder.recipe} is not the recipe of a run ({reason}); put it back, or train into a new folder from the "
            f"weights of this run: {folder.as_start}"
        ) from error


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
