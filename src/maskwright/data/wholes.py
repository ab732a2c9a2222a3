"""What a dataset as a whole shows that no single annotation does: objects twice, none at all, classes of one name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from maskwright.data.checks import show
from maskwright.data.record import Dataset, Remark, count_objects


def whole_remarks(dataset: Dataset) -> list[Remark]:
    """What its owner should know before a training, a line for each kind."""
    return [*_repeated_objects(dataset), *_without_objects(dataset), *_repeated_names(dataset)]


def _repeated_objects(dataset: Dataset) -> Iterator[Remark]:
    """Objects of one class and the very same mask on one image, as a label file that was appended to has them."""
    counts = {record.id: 0 for record in dataset.records}
    for record in dataset.records:
        shapes = Counter(
            (one["category_id"], repr(one.get("segmentation") or one["bbox"])) for one in record.annotations
        )
        counts[record.id] = len(record.annotations) - len(shapes)
    if not (total := sum(counts.values())):
        return
    first = next(record for record in dataset.records if counts[record.id])
    message = f"{total} objects have class and mask of another on their image, first on {show(first.path.name)}"
    yield Remark("repeated-object", dataset.source, f"{message}; each is one object more", first.id)


def _without_objects(dataset: Dataset) -> Iterator[Remark]:
    num_objects, num_crowds = count_objects(dataset.records)
    if num_objects or not dataset.records or dataset.defects or dataset.segment_classes is not None:
        return
    if num_crowds:
        message = (
            f"each of its {num_crowds} annotations is marked as a crowd (iscrowd 1); a training takes them for objects "
            "with data.train.crowds=objects, and refuses them else"
        )
    else:
        message = "no image has an object; a training refuses that"
    yield Remark("nothing-to-learn", dataset.source, message, None)


def _repeated_names(dataset: Dataset) -> Iterator[Remark]:
    for name, count in Counter(dataset.categories.names).items():
        if count > 1:
            message = f"{count} classes are called {show(name)}; only their ids distinguish them"
            yield Remark("repeated-class-name", dataset.source, message, None)
