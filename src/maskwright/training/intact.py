"""Whether the state of a run that a checkpoint holds is whole; what is not is refused in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor, nn

from maskwright.errors import CheckpointError
from maskwright.training.progress import Progress

_COUNTS, _NUMBERS = ("step", "stale"), ("best", "best_step", "lowest_loss")


def read_progress(table: Mapping[str, Any], path: Path) -> Progress:
    """Where the run stands, from the header of a checkpoint.

    Raises:
        CheckpointError: a number is missing or is none.
    """
    for name in _COUNTS:
        value = table.get(name)
        if type(value) is not int or value < 0:
            _refuse(path, f"its progress has {name} = {str(value)[:40]!r}, expected a count")
    for name in _NUMBERS:
        value = table.get(name)
        if value is not None and type(value) not in (int, float):
            _refuse(path, f"its progress has {name} = {str(value)[:40]!r}, expected a number or null")
    return Progress(**{name: table[name] for name in (*_COUNTS, *_NUMBERS) if name in table})


def refuse_other_weights(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    """Insist that weights are exactly those of a model.

    Raises:
        CheckpointError: one is missing, unknown, or of another shape; the message names the first.
    """
    if missing := [name for name in wanted if name not in given]:
        _refuse(path, f"{len(missing)} weights are missing, first {missing[0]}")
    if unknown := [name for name in given if name not in wanted]:
        _refuse(path, f"the model has no weight {unknown[0]}")
    for name, value in wanted.items():
        if given[name].shape != value.shape:
            _refuse(path, f"{name} is {tuple(given[name].shape)}, expected {tuple(value.shape)}")


def refuse_missing_moments(moments: Mapping[str, Tensor], model: nn.Module, surplus: int, path: Path) -> None:
    """Insist that a parameter has all of the optimiser's moments or, as long as it got no gradient, none.

    Args:
        moments: moment/parameter → tensor.
        model: whose parameters they are of.
        surplus: tensors of the run's state in the file beyond those that were written; negative where some are missing.
        path: of the checkpoint.

    Raises:
        CheckpointError: one is missing, unknown, or of another shape; the message names the first.
    """
    parameters = dict(model.named_parameters())
    owners: dict[str, set[str]] = {}
    for key, value in moments.items():
        moment, _, name = key.partition("/")
        if name not in parameters:
            _refuse(path, f"the optimiser's {moment} is of {name!r}, which is no parameter of the model")
        if value.ndim and value.shape != parameters[name].shape:
            _refuse(path, f"the optimiser's {moment} of {name} is {tuple(value.shape)}, unlike the parameter")
        owners.setdefault(moment, set()).add(name)
    have_any = set().union(*owners.values())
    for moment, names in owners.items():
        if lacking := sorted(have_any - names):
            _refuse(path, f"the optimiser's {moment} is missing for {len(lacking)} parameters, first {lacking[0]}")
    if surplus < 0:
        without = [name for name, parameter in parameters.items() if parameter.requires_grad and name not in have_any]
        first = f", perhaps those of {without[0]}" if without else ""
        _refuse(path, f"{-surplus} tensors of the run's state are missing{first}")


def _refuse(path: Path, what: str) -> NoReturn:
    raise CheckpointError(
        f"checkpoint {path}: {what}; the file is damaged or was changed, so the run cannot be resumed from it: put a "
        f"copy back, or train into a new folder from what is left: train.initial_weights={path}"
    )
