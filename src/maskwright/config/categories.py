"""Class lists that recipes refer to by name."""

from __future__ import annotations

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

UNUSED = "N/A"


def _numbered(names: str) -> tuple[CategoryConfig, ...]:
    parts = [name.strip() for name in names.replace("\n", " ").split(",")]
    return tuple(CategoryConfig(id=index, name=name) for index, name in enumerate(parts, start=1))


def _coco_with_holes() -> tuple[CategoryConfig, ...]:
    """COCO's ids 1–90; the ten that the dataset never uses stay, as N/A, so that every network channel has a class."""
    return _numbered(_COCO_NAMES)


def named_categories(name: str) -> tuple[CategoryConfig, ...]:
    """The class list called `name`: `coco` (80 classes), `coco_with_holes` (ids 1–90) or `pascal` (VOC's 20).

    Raises:
        ValueError: there is no such list.
    """
    with_holes = _coco_with_holes()
    lists = {
        "coco": tuple(category for category in with_holes if category.name != UNUSED),
        "coco_with_holes": with_holes,
        "pascal": _numbered(_PASCAL_NAMES),
    }
    if name not in lists:
        raise ValueError(f"no class list called {name!r}; choose one of {', '.join(lists)}, or list the names")
    return lists[name]
