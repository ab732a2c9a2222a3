"""maskwright: instance segmentation that people can rely on. The public names, nothing else.

Names are imported when first used, so that `import maskwright` does nothing and the command line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskwright.config.loading import load_recipe as load_recipe
    from maskwright.data.readers import read_dataset as read_dataset
    from maskwright.errors import CheckpointError as CheckpointError
    from maskwright.errors import ConfigError as ConfigError
    from maskwright.errors import DataError as DataError
    from maskwright.errors import MaskwrightError as MaskwrightError
    from maskwright.errors import MissingDecoder as MissingDecoder
    from maskwright.errors import MissingDependency as MissingDependency
    from maskwright.errors import OutOfMemory as OutOfMemory
    from maskwright.errors import OutputError as OutputError
    from maskwright.errors import ResultError as ResultError
    from maskwright.errors import TrainingError as TrainingError
    from maskwright.evaluation.metrics import Metrics as Metrics
    from maskwright.predict.evaluate import evaluate as evaluate
    from maskwright.predict.loading import load as load
    from maskwright.predict.losses import losses as losses
    from maskwright.predict.predictor import Predictor as Predictor
    from maskwright.structures.categories import Categories as Categories
    from maskwright.structures.instances import Instances as Instances
    from maskwright.structures.targets import Targets as Targets
    from maskwright.training.run import TrainResult as TrainResult
    from maskwright.training.run import train as train

__version__ = "0.1.0"

# module → the public names in it
_HOMES = {
    "maskwright.config.loading": ("load_recipe",),
    "maskwright.data.readers": ("read_dataset",),
    "maskwright.errors": (
        *("CheckpointError", "ConfigError", "DataError", "MaskwrightError", "MissingDecoder", "MissingDependency"),
        *("OutOfMemory", "OutputError", "ResultError", "TrainingError"),
    ),
    "maskwright.evaluation.metrics": ("Metrics",),
    "maskwright.predict.evaluate": ("evaluate",),
    "maskwright.predict.loading": ("load",),
    "maskwright.predict.losses": ("losses",),
    "maskwright.predict.predictor": ("Predictor",),
    "maskwright.structures.categories": ("Categories",),
    "maskwright.structures.instances": ("Instances",),
    "maskwright.structures.targets": ("Targets",),
    "maskwright.training.run": ("TrainResult", "train"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [*_HOME_OF, "__version__"]  # noqa: PLE0604 - the names are strings


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'maskwright' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
