"""The rows that predictors have for each class: where programs put background, and which go to a recipe's classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from maskwright.checkpoints.roi_heads import BACKGROUND, Kind, Layout, input_layout, roi_head_layout
from maskwright.config.categories import UNUSED
from maskwright.config.mask_rcnn import MaskRcnnRecipe
from maskwright.config.run import Recipe
from maskwright.config.yolact import YolactRecipe

_THINGS = "\0things"  # an output without a name of its own, as BACKGROUND
_CLASS_LOGITS = re.compile(r"(box_head|cascade\.\d+)\.class_logits")
_SCORES = "box_head.class_logits."
# predictors whose first row, or first four, belong to background and are never trained
_UNTRAINED = {"box_head.deltas.": 4, "mask_head.logits.": 1}


def background_last(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From background first (torchvision, matterport) to ours: scores of background last, no boxes or masks of it."""

    def moved(name: str, value: Tensor) -> Tensor:
        if value.ndim == 0:  # no predictor; loading will report its shape
            return value
        if name.startswith(_SCORES):
            return torch.cat([value[1:], value[:1]])
        for start, rows in _UNTRAINED.items():
            if name.startswith(start):
                return value[rows:]
        return value

    return {name: moved(name, value) for name, value in weights.items()}


def background_first(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `background_last`; the rows that background has elsewhere and not here are zeros."""

    def moved(name: str, value: Tensor) -> Tensor:
        if name.startswith(_SCORES):
            return torch.cat([value[-1:], value[:-1]])
        for start, rows in _UNTRAINED.items():
            if name.startswith(start):
                return torch.cat([torch.zeros_like(value[:rows]), value])
        return value

    return {name: moved(name, value) for name, value in weights.items()}


@dataclass(frozen=True)
class RowMatch:
    """Where the rows of a recipe's classes come from.

    Attributes:
        kept: names with the same index in the checkpoint and in the recipe.
        moved: name → (index in the checkpoint, index in the recipe).
        fresh: names that the checkpoint has not; their rows stay random.
        unused: names of the checkpoint that the recipe has not.
        near: fresh name → the checkpoint's name that differs from it only in case or spacing.
    """

    kept: tuple[str, ...]
    moved: dict[str, tuple[int, int]]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    near: dict[str, str]


class MatchedRows(NamedTuple):
    """A checkpoint's weights with the rows of a recipe's classes, and how these were matched.

    Attributes:
        weights: name → tensor.
        matches: kind of rows → how they were matched, of the kinds that the weights have.
        dropped: name of a weight with rows that cannot be assigned → why; it is not in `weights`.
    """

    weights: dict[str, Tensor]
    matches: dict[Kind, RowMatch]
    dropped: dict[str, str]


def match_names(old: Sequence[str], new: Sequence[str]) -> RowMatch:
    """Match a recipe's names with a checkpoint's.

    A name that either list has more than once, and the N/A of holes, match only at the same index.

    >>> match = match_names(["person", "dog", "cat"], ["person", "cat", "Dog"])
    >>> match.kept, match.moved, match.fresh, match.unused, match.near
    (('person',), {'cat': (2, 1)}, ('Dog',), ('dog',), {'Dog': 'dog'})
    """
    sources = _sources(old, new)
    moved = {new[to]: (of, to) for to, of in sources.items() if of != to}
    fresh = tuple(name for index, name in enumerate(new) if index not in sources)
    used = set(sources.values())
    unused = tuple(name for index, name in enumerate(old) if index not in used)
    spellings = {_plain(name): name for name in unused}
    near = {name: spellings[_plain(name)] for name in fresh if name != UNUSED and _plain(name) in spellings}
    return RowMatch(tuple(new[to] for to, of in sources.items() if of == to), moved, fresh, unused, near)


def match_rows(weights: Mapping[str, Tensor], model: nn.Module, old: Recipe, new: Recipe) -> MatchedRows:
    """Give every row of a predictor to the class that it was trained for, wherever the recipe has that class.

    Background, and the output of a panoptic model that stands for all things, count as classes of that name.

    Args:
        weights: of the checkpoint, under our names; they are not changed.
        model: of the recipe; the rows of classes that the checkpoint has not are as here.
        old: recipe of the checkpoint.
        new: recipe of the model.
    """
    moved = _with_inputs_of(new, weights, old)
    own, dropped = model.state_dict(), dict[str, str]()
    matches: dict[Kind, RowMatch] = {}
    for name, value in list(moved.items()):
        layer, _, parameter = name.rpartition(".")
        before, after = _layout(old, layer), _layout(new, layer)
        if name not in own or before is None or after is None or before.kind != after.kind:
            continue
        match = match_names(before.labels, after.labels)
        matches[after.kind] = _without_outputs_that_have_no_name(match)
        if before == after:
            continue
        axis = after.weight_axis if parameter == "weight" else 0
        rows = _moved(value, own[name], before, after, axis)
        if rows is not None:
            moved[name] = rows
        elif value.shape == own[name].shape:  # it would be taken unchanged
            dropped[name] = "its rows are not those of the classes that the checkpoint names"
            del moved[name]
    return MatchedRows(moved, matches, dropped)


def _sources(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """Index in the new list → index in the old one, of all that match."""
    unique = {name: index for index, name in enumerate(old) if name != UNUSED and old.count(name) == 1}
    sources = {}
    for index, name in enumerate(new):
        if index < len(old) and old[index] == name:
            sources[index] = index
        elif name in unique and new.count(name) == 1:
            sources[index] = unique[name]
    return sources


def _moved(value: Tensor, own: Tensor, before: Layout, after: Layout, axis: int) -> Tensor | None:
    """The model's own tensor with the rows of common labels from the checkpoint; None where the shapes forbid it."""
    if value.ndim != own.ndim or before.repeats != after.repeats:
        return None
    theirs, ours = _by_label(value, before, axis), _by_label(own, after, axis)
    if theirs is None or ours is None or theirs.shape[2:] != ours.shape[2:]:
        return None
    sources = _sources(before.labels, after.labels)
    targets = torch.tensor(list(sources), dtype=torch.int64, device=own.device)
    chosen = torch.tensor(list(sources.values()), dtype=torch.int64)
    taken = theirs[:, chosen].to(ours)
    rows = ours.index_copy(1, targets, taken).flatten(0, 2)
    return rows.movedim(0, axis).contiguous()


def _with_inputs_of(new: Recipe, weights: Mapping[str, Tensor], old: Recipe) -> dict[str, Tensor]:
    """Weights whose inputs are logits of classes, with the inputs that a recipe has; those of fresh classes weigh zero.

    So a point is at first seen as it was before, and learns what the fresh classes say of it.
    """
    changed = dict(weights)
    for name, value in weights.items():
        layer, _, parameter = name.rpartition(".")
        before, after = _input_layout(old, layer), _input_layout(new, layer)
        if parameter != "weight" or before is None or after is None or before == after:
            continue
        count = len(before.labels)
        if value.ndim == 3 and value.shape[1] >= count:
            sources = _sources(before.labels, after.labels)
            logits = value.new_zeros((len(value), len(after.labels), *value.shape[2:]))
            logits[:, list(sources)] = value[:, value.shape[1] - count :][:, list(sources.values())]
            changed[name] = torch.cat([value[:, : value.shape[1] - count], logits], dim=1)
    return changed


def _by_label(tensor: Tensor, layout: Layout, axis: int) -> Tensor | None:
    """(repeats, labels, rows of a label, …); None where there are not as many rows as that."""
    rows = tensor.movedim(axis, 0) if tensor.ndim > axis else tensor
    if rows.ndim == 0 or len(rows) == 0 or len(rows) % (layout.repeats * len(layout.labels)):
        return None
    groups: Tensor = rows.unflatten(0, (layout.repeats, len(layout.labels), -1))
    return groups


def _layout(recipe: Recipe, layer: str) -> Layout | None:
    """What a layer's outputs stand for; None where they are of no classes, or of all at once."""
    classes = tuple(category.name for category in recipe.categories)
    of_family = LAYOUTS.get(recipe.family)
    return None if of_family is None else of_family(recipe, layer, classes)


def _input_layout(recipe: Recipe, layer: str) -> Layout | None:
    """What the last inputs of a layer stand for; None where they are of no classes."""
    of_family = INPUT_LAYOUTS.get(recipe.family)
    return None if of_family is None else of_family(recipe, layer)


def _layout_in_yolact(recipe: YolactRecipe, layer: str, classes: tuple[str, ...]) -> Layout | None:
    if layer == "head.class_logits":
        return Layout("class", (*classes, BACKGROUND), len(recipe.anchors.sizes_px[0]) * len(recipe.anchors.ratios))
    if layer in ("semantic_head.logits", f"rescoring.convs.{len(recipe.rescoring.channels)}"):
        return Layout("class", classes)
    return None


def _layout_in_mask_rcnn(recipe: MaskRcnnRecipe, layer: str, classes: tuple[str, ...]) -> Layout | None:
    if _CLASS_LOGITS.fullmatch(layer):
        return Layout("class", (*classes, BACKGROUND))
    if layer == "box_head.deltas" and not recipe.box_head.is_class_agnostic:
        return Layout("class", classes)
    if layer == "semantic_head.logits":
        stuff = tuple(category.name for category in recipe.semantic_head.categories)
        return Layout("stuff", (_THINGS, *stuff) if recipe.semantic_head.has_things else stuff)
    return roi_head_layout(recipe, layer)


# family → its recipe, a layer and the names of the classes to what the layer's outputs stand for
LAYOUTS: dict[str, Callable[[Any, str, tuple[str, ...]], Layout | None]] = {
    "mask_rcnn": _layout_in_mask_rcnn,
    "yolact": _layout_in_yolact,
}
INPUT_LAYOUTS: dict[str, Callable[[Any, str], Layout | None]] = {"mask_rcnn": input_layout}


def _without_outputs_that_have_no_name(match: RowMatch) -> RowMatch:
    def named(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name not in (BACKGROUND, _THINGS))

    moved = {name: indices for name, indices in match.moved.items() if name not in (BACKGROUND, _THINGS)}
    return RowMatch(named(match.kept), moved, named(match.fresh), named(match.unused), match.near)


def _plain(name: str) -> str:
    """A name without what people spell differently."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def for_log(matches: Mapping[Kind, RowMatch]) -> dict[str, Any]:
    """`class_rows`, `stuff_rows` and `keypoint_rows`, each a table of the attributes of its `RowMatch`."""
    return {f"{kind}_rows": vars(match) for kind, match in matches.items()}
