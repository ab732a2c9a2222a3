"""Class lists that recipes refer to by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field

from maskwright.config.base import StrictModel


class CategoryConfig(StrictModel):
    """One class."""

    id: int = Field(description="category_id in annotation files")
    name: str = Field(min_length=1, description="what people call it")


_COCO_NAMES = """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, N/A,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, N/A, backpack,
umbrella, N/A, N/A, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove,
skateboard, surfboard, tennis racket, bottle, N/A, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich,
orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, N/A, dining table, N/A, N/A,
toilet, N/A, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, N/A, book,
clock, vase, scissors, teddy bear, hair drier, toothbrush"""

_PASCAL_NAMES = """aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse,
motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"""

# what has no countable shape, by the ids of COCO's panoptic annotations
_COCO_STUFF = """92 banner, 93 blanket, 95 bridge, 100 cardboard, 107 counter, 109 curtain, 112 door-stuff,
118 floor-wood, 119 flower, 122 fruit, 125 gravel, 128 house, 130 light, 133 mirror-stuff, 138 net, 141 pillow,
144 platform, 145 playingfield, 147 railroad, 148 river, 149 road, 151 roof, 154 sand, 155 sea, 156 shelf, 159 snow,
161 stairs, 166 tent, 168 towel, 171 wall-brick, 175 wall-stone, 176 wall-tile, 177 wall-wood, 178 water-other,
180 window-blind, 181 window-other, 184 tree-merged, 185 fence-merged, 186 ceiling-merged, 187 sky-other-merged,
188 cabinet-merged, 189 table-merged, 190 floor-other-merged, 191 pavement-merged, 192 mountain-merged,
193 grass-merged, 194 dirt-merged, 195 paper-merged, 196 food-other-merged, 197 building-other-merged,
198 rock-merged, 199 wall-other-merged, 200 rug-merged"""

# what has instances, by the ids of its label images
_CITYSCAPES_THINGS = """24 person, 25 rider, 26 car, 27 truck, 28 bus, 31 train, 32 motorcycle, 33 bicycle"""

UNUSED = "N/A"


def _numbered(names: str) -> tuple[CategoryConfig, ...]:
    parts = [name.strip() for name in names.replace("\n", " ").split(",")]
    return tuple(CategoryConfig(id=index, name=name) for index, name in enumerate(parts, start=1))


def _coco_with_holes() -> tuple[CategoryConfig, ...]:
    """COCO's ids 1–90; the ten that the dataset never uses stay, as N/A, so that every network channel has a class."""
    return _numbered(_COCO_NAMES)


def _coco() -> tuple[CategoryConfig, ...]:
    return tuple(category for category in _coco_with_holes() if category.name != UNUSED)


def _listed(pairs: str) -> tuple[CategoryConfig, ...]:
    """From `id name, id name, …`."""
    entries = (entry.split(maxsplit=1) for entry in pairs.split(","))
    return tuple(CategoryConfig(id=int(id_), name=name) for id_, name in entries)


def _from_file(name: str) -> tuple[CategoryConfig, ...]:
    """A list too long for this page: one name a line, numbered from 1."""
    lines = (Path(__file__).parent / "class_lists" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(CategoryConfig(id=index, name=line) for index, line in enumerate(lines, start=1))


# twice as many as the largest list of classes in use, ImageNet's 21,841
MOST_CATEGORIES = 50_000

_LISTS: dict[str, Callable[[], tuple[CategoryConfig, ...]]] = {
    "coco": _coco,
    "coco_with_holes": _coco_with_holes,
    "coco_stuff": lambda: _listed(_COCO_STUFF),
    "pascal": lambda: _numbered(_PASCAL_NAMES),
    "cityscapes": lambda: _listed(_CITYSCAPES_THINGS),
    "lvis_v0_5": lambda: _from_file("lvis_v0_5"),
    "lvis_v1": lambda: _from_file("lvis_v1"),
}


def named_categories(name: str) -> tuple[CategoryConfig, ...]:
    """The class list called `name`.

    `coco` has 80 classes, `coco_with_holes` its ids 1–90, `coco_stuff` 53, `pascal` VOC's 20, `cityscapes` its 8 with
    instances, `lvis_v0_5` 1230 and `lvis_v1` 1203.

    Raises:
        ValueError: there is no such list.
    """
    if name not in _LISTS:
        raise ValueError(f"no class list called {name!r}; choose one of {', '.join(_LISTS)}, or list the names")
    return _LISTS[name]()


def read_categories(value: Any) -> Any:
    """A name of a known list, a list of names (ids 1, 2, …), or a list of {id, name}."""
    if isinstance(value, str):
        return named_categories(value)
    if isinstance(value, list | tuple) and len(value) > MOST_CATEGORIES:
        raise ValueError(f"{len(value):,} categories; at most {MOST_CATEGORIES:,} are possible")
    if isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value):
        return tuple(CategoryConfig(id=index, name=name) for index, name in enumerate(value, start=1))
    return value
