"""What every annotation format is read into: images with their objects, and what was wrong with the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.data.segment_picture import SegmentClasses, SegmentPicture
from maskwright.errors import DataError
from maskwright.structures import Categories

if TYPE_CHECKING:
    from maskwright.structures import Targets


# name of a choice about a dataset → how its owner types it: --skip-bad, data.train.skip_bad=true
Option = Callable[[str], str]

# kind of defect → a choice that makes it none, and what that does
_WAYS_OUT = {
    "missing-image": ("only_present", "uses the images that are there"),
    "missing-mask": ("boxes_as_masks", "takes boxes for masks"),
    "box-as-mask": ("boxes_as_masks", "takes boxes for masks"),
}


def ways_out(defects: Iterable[Defect], option: Option) -> list[str]:
    """What choices would make some of the defects none, as their owner types them."""
    kinds = {defect.kind for defect in defects}
    ways = {option(name): effect for kind, (name, effect) in _WAYS_OUT.items() if kind in kinds}
    return [f"{typed} {effect}" for typed, effect in ways.items()]


def plain_option(name: str) -> str:
    """A choice as Python has it."""
    return f"{name}=True"


@dataclass(frozen=True)
class FederatedLabels:
    """What is known of the classes in an image that was searched for only some of them (LVIS, section 3).

    Attributes:
        negative_ids: classes of which the image is known to have no object.
        not_exhaustive_ids: classes of which it has more objects than are annotated.
    """

    negative_ids: tuple[int, ...]
    not_exhaustive_ids: tuple[int, ...]


@dataclass(frozen=True)
class ImageRecord:
    """One image and its objects, as light as the annotation file had them: no pixels, no masks.

    Attributes:
        id: of the image in the annotation file.
        path: of the image file.
        size: (height, width) in pixels.
        annotations: COCO annotation dicts of the image (`category_id`, `bbox` x y w h in pixels, `segmentation`, and
            often `iscrowd`, `area`, `id`, and `difficult` in Pascal VOC); none is a normal case, a negative example.
        segments: where the segments of the image lie, for a semantic head or a panoptic measure.
        federated: where the annotations cover only some classes in this image, which; None: they cover all.
        repeats: how often the image is drawn in an epoch of training, on average.
        is_skippable: its owner allows to go on without it, should its pixels turn out broken.
        turned: by which orientation (1 to 8, as in EXIF) its labels were turned to be upright, as the image is.
    """

    id: int
    path: Path
    size: tuple[int, int]
    annotations: tuple[Mapping[str, Any], ...]
    segments: SegmentPicture | None = None
    federated: FederatedLabels | None = None
    repeats: float = 1.0
    is_skippable: bool = False
    turned: int = 1

    def category_ids(self) -> set[int]:
        """The classes of its objects."""
        return {annotation["category_id"] for annotation in self.annotations}

    def count_keypoints(self) -> int:
        """Labelled keypoints of all objects together."""
        return sum(flag > 0 for annotation in self.annotations for flag in (annotation.get("keypoints") or ())[2::3])

    def targets(self, categories: Categories, outputs: Mapping[int, int] | None = None) -> Targets:
        """The objects as the losses need them, masks rasterised.

        Args:
            categories: of the model, with the ids of the annotations.
            outputs: category id → output of a semantic head, for models that have one; the map of its outputs is then
                among the targets where the image has segments.

        Raises:
            DataError: an object's `category_id` is not among `categories`, or the picture of segments cannot be used.
        """
        from maskwright.structures import Targets  # which brings torch, and a check of a dataset needs none

        targets = Targets.from_coco(
            self.annotations, self.size, categories, needs_masks=False
        )  # its reader has checked
        if outputs is None or self.segments is None:
            return targets
        return targets.with_semantic(self.segments.semantic(self.size, outputs))

    def to_coco(self) -> dict[str, Any]:
        """Its entry in the `images` of a COCO file."""
        return {"id": self.id, "file_name": self.path.name, "height": self.size[0], "width": self.size[1]}

    def to_lvis(self) -> dict[str, Any]:
        """The same with LVIS's keys, where it is known which classes were not searched for."""
        if self.federated is None:
            return self.to_coco()
        return {
            **self.to_coco(),
            "neg_category_ids": list(self.federated.negative_ids),
            "not_exhaustive_category_ids": list(self.federated.not_exhaustive_ids),
        }


@dataclass(frozen=True)
class Notice:
    """Something in a dataset that its owner should know.

    Attributes:
        kind: in a word or three, the same for all alike: `box-without-area`, `missing-image`, …
        where: the annotation or image it is about.
        message: what was found there and what was expected or done, one line.
        image_id: of the image concerned, where there is one.
    """

    kind: str
    where: str
    message: str
    image_id: int | None

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True)
class Defect(Notice):
    """What cannot be used and is left out.

    Attributes:
        keeps_objects: all objects of its image stay: only a part of one, as a stray part of a mask, is left out.
    """

    keeps_objects: bool = False


class Remark(Notice):
    """What is used, but is read in another way than it is written: a number given as text, a name in other case."""


@dataclass(frozen=True)
class Dataset:
    """What can be used of a dataset, and what was left out.

    Attributes:
        records: the usable images, each with its usable annotations.
        categories: of the annotation file, in its order.
        source: the annotation file.
        defects: why images and annotations were left out.
        keypoint_names: of the objects' keypoints, in the order of the annotations; none where the file names none.
        segment_classes: of the images' segments; None where they have none.
        frequencies: id of each category → r, c or f, rare to frequent (LVIS); empty where the data does not say.
        is_lvis: its annotations cover only some classes in each image, and LVIS's rule measures it.
        remarks: what was read in another way than it is written.
    """

    records: tuple[ImageRecord, ...]
    categories: Categories
    source: str
    defects: tuple[Defect, ...]
    keypoint_names: tuple[str, ...] = ()
    segment_classes: SegmentClasses | None = None
    frequencies: Mapping[int, str] = field(default_factory=dict)
    is_lvis: bool = False
    remarks: tuple[Remark, ...] = ()

    def to_coco(self) -> dict[str, Any]:
        """The usable part as a COCO dataset (LVIS's keys included): `images`, `annotations` (as read), `categories`."""
        categories = self.categories.to_coco()
        for entry in categories:
            if entry["id"] in self.frequencies:
                entry["frequency"] = self.frequencies[entry["id"]]
        return {
            "images": [record.to_lvis() if self.is_lvis else record.to_coco() for record in self.records],
            "annotations": [annotation for record in self.records for annotation in record.annotations],
            "categories": categories,
        }

    def scorable_results(self, results: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """The entries of a COCO results list that can be right or wrong.

        The others are of classes that were not searched for in their image, as its dataset was joined with datasets
        of more classes. LVIS's own rule ignores them, so nothing is left out of its results.
        """
        if self.is_lvis or not any(record.federated for record in self.records):
            return results
        covered = {
            record.id: record.category_ids().union(record.federated.negative_ids)
            for record in self.records
            if record.federated is not None
        }
        return [
            entry
            for entry in results
            if entry["category_id"] in covered.get(entry["image_id"], (entry["category_id"],))
        ]

    def skipped_lines(self) -> list[str]:
        """Everything that was left out, as plain text; no lines where nothing was."""
        if not self.defects:
            return []
        lines = (f"  {defect.kind}: {defect}" for defect in self.defects)
        return [f"left out of {self.source}: {self._defect_counts()}", *lines]

    def remark_lines(self) -> list[str]:
        """One line for each kind of remark: how many there are, and the first."""
        if not self.remarks:
            return []
        return [f"read in {self.source}:", *notice_lines(self.remarks, most_per_kind=1)]

    def refuse_defects(self, option: Option = plain_option) -> None:
        """Go on only if nothing had to be left out.

        Args:
            option: how the owner of the dataset types a choice.

        Raises:
            DataError: there are defects; one line with the first, the count of each kind and the ways out.
        """
        if self.defects:
            others = "".join(f"; {way}" for way in ways_out(self.defects, option))
            raise DataError(
                f"{self.source} has {self.defect_summary()}; "
                f"list all with `maskwright data check`, or leave them out with {option('skip_bad')}{others}"
            )

    def refuse_emptiness(self) -> None:
        """Go on only if there is an image to work on; it needs no objects.

        Raises:
            DataError: no image is usable, or there is none.
        """
        if self.records:
            return
        if not self.defects:
            raise DataError(f"{self.source}: the dataset is empty; its list of images has no entry")
        raise DataError(
            f"{self.source} has no usable image, but {self.defect_summary()}; list all with `maskwright data check`"
        )

    def defect_summary(self) -> str:
        """How many defects there are of each kind, and the first of them, in one line."""
        return f"{self._defect_counts()}, first {self.defects[0]}"

    def _defect_counts(self) -> str:
        total = "1 defect" if len(self.defects) == 1 else f"{len(self.defects)} defects"
        kinds = ", ".join(f"{kind} {count}" for kind, count in count_kinds(self.defects).items())
        return f"{total} ({kinds})"


def count_objects(records: Sequence[ImageRecord]) -> tuple[int, int]:
    """How many annotations are of single objects, and how many of crowds."""
    annotations = [annotation for record in records for annotation in record.annotations]
    num_crowds = sum(bool(annotation.get("iscrowd")) for annotation in annotations)
    return len(annotations) - num_crowds, num_crowds


def count_kinds(notices: Sequence[Notice]) -> dict[str, int]:
    """How many notices there are of each kind, the commonest kind first."""
    return dict(Counter(finding.kind for finding in notices).most_common())


def notice_lines(notices: Sequence[Notice], most_per_kind: int | None) -> list[str]:
    """The notices as plain text, kind by kind, the commonest kind first.

    Args:
        notices: defects or remarks.
        most_per_kind: how many of a kind get a line of their own; the rest is a number. None: all.
    """
    lines = []
    for kind, count in count_kinds(notices).items():
        shown = [f"  {kind}: {notice}" for notice in notices if notice.kind == kind][:most_per_kind]
        lines += shown if len(shown) == count else [*shown, f"  {kind}: and {count - len(shown)} more"]
    return lines
