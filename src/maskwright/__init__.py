"""maskwright: instance segmentation that people can rely on. The public names, nothing else.

Names are imported when first used, so that `import maskwright` does nothing and the command line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOMES = {
    "Categories": "maskwright.structures.categories",
    "Instances": "maskwright.structures.instances",
    "Predictor": "maskwright.predict.predictor",
    "Targets": "maskwright.structures.targets",
    "TrainResult": "maskwright.training.run",
    "evaluate": "maskwright.predict.evaluate",
    "load": "maskwright.predict.loading",
    "losses": "maskwright.predict.losses",
    "train": "maskwright.training.run",
}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 - the names are strings


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'maskwright' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
