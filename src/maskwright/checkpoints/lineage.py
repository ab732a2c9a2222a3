"""What a lineage of checkpoints is: how its files are known, read under our names, recognised, and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

from torch import Tensor

from maskwright.config.categories import read_categories
from maskwright.config.loading import load_recipe
from maskwright.errors import CheckpointError

State = Mapping[str, Tensor]


class Reading(NamedTuple):
    """What a state dict says.

    Attributes:
        recipe: name of the shipped recipe that fits; None for a backbone.
        implied: dotted overrides that its keys and shapes prove.
        weights: name → tensor under our names; a key that no rule knows keeps its name, so that loading reports it.
    """

    recipe: str | None
    implied: dict[str, Any]
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class BackboneFiles:
    """Files with only a backbone, from which trainings start.

    Attributes:
        name: whose they are.
        is_backbone: whether keys are those of such a file.
        rename: a state dict under our names.
    """

    name: str
    is_backbone: Callable[[set[str]], bool]
    rename: Callable[[State], dict[str, Tensor]]

    def read(self, state: State) -> Reading:
        """A backbone under our names."""
        return Reading(None, {}, self.rename(state))


@dataclass(frozen=True)
class Lineage:
    """One program's checkpoints.

    Attributes:
        name: whose they are.
        is_model: whether keys are those of a whole model.
        rename: a state dict under our names.
        recognise: weights under our names → the shipped recipe that fits, and the overrides that they prove. Raises
            CheckpointError where no recipe fits.
        backbones: its files with only a backbone.
        write: the inverse of `rename`; None where it is not written. Raises CheckpointError for what it cannot hold.
    """

    name: str
    is_model: Callable[[set[str]], bool]
    rename: Callable[[State], dict[str, Tensor]]
    recognise: Callable[[State], tuple[str, dict[str, Any]]]
    backbones: tuple[BackboneFiles, ...] = ()
    write: Callable[[State], dict[str, Tensor]] | None = None

    def read(self, state: State) -> Reading:
        """A whole model under our names, and what it proves of its recipe; every key is renamed once.

        Raises:
            CheckpointError: no recipe fits.
        """
        weights = self.rename(state)
        return Reading(*self.recognise(weights), weights)


def nearest_recipe(names: Sequence[str], implied: Mapping[str, Any]) -> str:
    """The recipe in which the fewest of the overrides change anything; of equals the one with the shortest name.

    Args:
        names: of shipped recipes, at least one.
        implied: dotted overrides, as a checkpoint proves them.
    """
    num_changes = dict[str, int]()
    for name in sorted(names, key=lambda name: (len(name), name)):
        num_changes[name] = _num_changes(name, implied)
        if num_changes[name] == 0:  # none is nearer, and reading recipes is most of the time that recognising takes
            break
    return min(num_changes, key=num_changes.__getitem__)


def _num_changes(name: str, implied: Mapping[str, Any]) -> int:
    recipe = load_recipe(name)
    return sum(_differ(reduce(getattr, key.split("."), recipe), key, value) for key, value in implied.items())


def _differ(ours: Any, key: str, value: Any) -> bool:
    if key.endswith("categories"):
        return bool(ours != read_categories(value))
    return bool((list(ours) if isinstance(ours, tuple) else ours) != value)


def refuse_softmax(weights: State, lineage: str) -> None:
    """Insist that the RPN has one score for each anchor.

    Raises:
        CheckpointError: it has two, as matterport's.
    """
    scores, deltas = weights.get("rpn.head.objectness.bias"), weights.get("rpn.head.deltas.bias")
    if scores is not None and deltas is not None and 4 * len(scores) != len(deltas):
        raise CheckpointError(
            f"{lineage} has one objectness score for each anchor, this RPN has {len(scores)} for {len(deltas) // 4}; "
            "keep the model as .safetensors"
        )
