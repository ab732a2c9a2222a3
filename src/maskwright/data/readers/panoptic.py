"""COCO panoptic annotations: a JSON file that names segments, and a folder with a PNG picture of them per image.

Added to the instance annotations of the same images, a semantic head learns from them: things become one class, stuff
has classes of its own. `coco_panoptic` reads them as a dataset of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from maskwright.data.checks import Problem, show
from maskwright.data.readers.coco_document import categories_of, is_file, is_id, load_document
from maskwright.data.record import Dataset, Defect, ImageRecord
from maskwright.data.segment_picture import SegmentClasses, SegmentLabel, SegmentPicture
from maskwright.errors import DataError
from maskwright.structures import Categories


class ListedSegments(NamedTuple):
    """What an entry lists.

    Attributes:
        labels: id → what it is, of segments whose entries are sound.
        ids: those that are meant to be in the picture, sound or not.
        problems: what is wrong with the others.
    """

    labels: dict[int, SegmentLabel]
    ids: set[int]
    problems: list[Problem]


@dataclass(frozen=True, eq=False)
class PanopticAnnotations:
    """A panoptic annotation file, read.

    Attributes:
        source: the file.
        pictures: folder with the PNG files.
        classes: categories with `isthing`, and the others.
        entries: image id → entry of `annotations`; the first where there are two.
    """

    source: str
    pictures: Path
    classes: SegmentClasses
    entries: Mapping[int, Mapping[str, Any]]

    def added_to(self, dataset: Dataset) -> Dataset:
        """The dataset whose images have segments; those without become defects.

        Raises:
            DataError: no image is left.
        """
        records: list[ImageRecord] = []
        defects: list[Defect] = []
        for record in dataset.records:
            found = self.picture_of(record.id)
            if isinstance(found, Problem):
                where = f"image {record.id} ({record.path.name!r})"
                defects.append(Defect(found.kind, where, found.message, record.id))
            else:
                records.append(replace(record, segments=replace(found, orientation=record.turned)))
        joined = replace(
            dataset,
            records=tuple(records),
            defects=(*dataset.defects, *defects),
            segment_classes=self.classes,
        )
        joined.refuse_emptiness()
        return joined

    def picture_of(self, image_id: int) -> SegmentPicture | Problem:
        """The segments of an image, or why it has none: one bad segment spoils all."""
        path = self.path_of(image_id)
        if isinstance(path, Problem):
            return path
        listed = self.segments_of(image_id)
        return listed.problems[0] if listed.problems else SegmentPicture(path, listed.labels)

    def path_of(self, image_id: int) -> Path | Problem:
        """The picture of an image's segments, or why it has none."""
        entry = self.entries.get(image_id)
        if entry is None:
            return Problem("missing-panoptic", f"{self.source} has no annotation with this image_id")
        name, segments = entry.get("file_name"), entry.get("segments_info")
        if not isinstance(name, str) or not isinstance(segments, list):
            return Problem("bad-panoptic", f"{self.source}: its entry needs 'file_name' and 'segments_info'")
        if not is_file(self.pictures / name):
            return Problem("missing-panoptic", f"there is no segment picture {name!r} in {self.pictures}")
        return self.pictures / name

    def segments_of(self, image_id: int) -> ListedSegments:
        """What is listed for an image that `path_of` has found in order."""
        known = {*self.classes.things.ids, *self.classes.stuff.ids}
        listed = ListedSegments({}, set(), [])
        for segment in self.entries[image_id]["segments_info"]:
            id_, category_id = (segment.get("id"), segment.get("category_id")) if isinstance(segment, dict) else (0, 0)
            if not is_id(id_) or id_ <= 0 or not is_id(category_id) or category_id not in known:
                found = f"{self.source}: segment {show(segment)} has no known 'category_id' or no 'id' above 0"
                listed.problems.append(Problem("bad-panoptic", found))
            elif id_ in listed.ids:
                found = (
                    f"{self.source}: segment {id_} is listed twice; every segment of an image needs an id of its own"
                )
                listed.problems.append(Problem("duplicate-id", found))
            else:
                listed.labels[id_] = SegmentLabel(category_id, bool(segment.get("iscrowd")))
            if is_id(id_):
                listed.ids.add(id_)
        return listed


def read_panoptic(annotations: str | Path, pictures: str | Path) -> PanopticAnnotations:
    """Read a COCO panoptic file without opening its pictures.

    Args:
        annotations: JSON file with `annotations` and `categories`.
        pictures: folder that every `file_name` is relative to.

    Raises:
        DataError: a path is missing, or the file as a whole cannot be used.
    """
    if not Path(pictures).is_dir():
        raise DataError(f"folder of segment pictures {pictures} does not exist; give that of the panoptic PNG files")
    return panoptic_of(load_document(Path(annotations)), Path(annotations), Path(pictures))


def panoptic_of(document: Mapping[str, list[Any]], path: Path, pictures: Path) -> PanopticAnnotations:
    """The annotations in a document of COCO's kind that came from the file `path`.

    Raises:
        DataError: its categories are not usable.
    """
    for entry in document["categories"]:
        if not isinstance(entry, dict) or entry.get("isthing") not in (0, 1):
            raise DataError(f"{path}: category {show(entry)} has no 'isthing' of 0 or 1; is it a panoptic file?")
    categories_of(document["categories"], path)  # ids of things and stuff must differ
    things, stuff = (
        Categories.of([entry for entry in document["categories"] if entry["isthing"] == isthing]) for isthing in (1, 0)
    )
    entries = {entry["image_id"]: entry for entry in reversed(document["annotations"]) if _has_image_id(entry)}
    return PanopticAnnotations(str(path), pictures, SegmentClasses(things, stuff), entries)


def _has_image_id(entry: Any) -> bool:
    return isinstance(entry, dict) and is_id(entry.get("image_id"))
