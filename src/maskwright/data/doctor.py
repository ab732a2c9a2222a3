"""A check-up of a dataset before hours are spent training on it: all defects at once, and what it consists of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maskwright.data.file_checks import FileCheck, check_file
from maskwright.data.readers import read_with_defects
from maskwright.data.readers.options import DEFAULT_OPTIONS, ReadOptions
from maskwright.data.record import Dataset, Defect, ImageRecord, Remark, count_kinds, notice_lines
from maskwright.data.wholes import whole_remarks

# tasks of a pool have their price, and images can be small
_IMAGES_AT_ONCE = 16

SIDE_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)


@dataclass(frozen=True)
class DatasetSummary:
    """What a dataset consists of, counted over its usable part, and all that is wrong with the rest.

    Attributes:
        source: the annotation file.
        num_images: usable images; an image found broken only on decoding is still among them.
        num_annotations: usable annotations, crowds included.
        num_crowds: annotations that stand for many objects.
        num_images_without_objects: images without a usable annotation.
        annotations_per_category: by name, crowds included, in the order of the categories.
        max_annotations_per_image: the most on one image.
        side_px: quantile (0 to 1) → object side, the square root of the box's area in pixels; empty without objects.
        image_modes: number of image files by kind of pixel; empty where the files were not opened.
        defects: all, in the order in which they were found.
        remarks: what was read in another way than it is written.
    """

    source: str
    num_images: int
    num_annotations: int
    num_crowds: int
    num_images_without_objects: int
    annotations_per_category: Mapping[str, int]
    max_annotations_per_image: int
    side_px: Mapping[float, float]
    image_modes: Mapping[str, int]
    defects: tuple[Defect, ...]
    remarks: tuple[Remark, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.defects

    @property
    def defect_counts(self) -> dict[str, int]:
        """Number of defects of each kind, the commonest first."""
        return count_kinds(self.defects)

    def lines(self, most_per_kind: int | None = None) -> list[str]:
        """The report as plain text: what was found, and last what the dataset consists of and the counts.

        Args:
            most_per_kind: how many findings of a kind are listed one by one; None lists all.
        """
        found = [*notice_lines(self.remarks, most_per_kind), *notice_lines(self.defects, most_per_kind)]
        return [*found, *self._summary_lines(), *self._count_lines()]

    def _summary_lines(self) -> list[str]:
        lines = [
            self.source,
            f"images       {self.num_images}, {self.num_images_without_objects} of them without objects",
            f"annotations  {self.num_annotations}, {self.num_crowds} of them crowds",
            f"             at most {self.max_annotations_per_image} on one image",
            f"categories   {len(self.annotations_per_category)}: {_listing(self.annotations_per_category)}",
        ]
        if self.side_px:
            quantiles = ", ".join(f"{quantile:.0%} {side:.0f}" for quantile, side in self.side_px.items())
            lines.append(f"object side  in pixels (square root of the box's area), quantiles: {quantiles}")
        if self.image_modes:
            lines.append(f"image files  {_listing(self.image_modes)}")
        return lines

    def _count_lines(self) -> list[str]:
        remarks = [f"remarks      {len(self.remarks)}: {_listing(count_kinds(self.remarks))}"] if self.remarks else []
        if self.is_clean:
            return [*remarks, "no defects"]
        return [*remarks, f"defects      {len(self.defects)}: {_listing(self.defect_counts)}"]


def check_dataset(
    images: str | Path,
    annotations: str | Path,
    format: str = "coco",  # noqa: A002
    reads_pixels: bool = True,
    progress: Callable[[int, int], None] | None = None,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> DatasetSummary:
    """Find all defects of a dataset.

    Args:
        images: folder of the image files.
        annotations: annotation file.
        format: how the annotations are written, a key of `READERS`.
        reads_pixels: decode every image as training will, which finds broken and mismatched ones but takes its time.
        progress: called with (images done, images in all) after each image.
        options: what the owner of the dataset decides about its reading.

    Raises:
        DataError: there is nothing to check: a path is missing, the annotation file as a whole cannot be read, or it
            lists no image.
    """
    dataset = read_with_defects(images, annotations, format, options)
    if not dataset.defects:
        dataset.refuse_emptiness()
    checks = list(_check_files(dataset.records, progress)) if reads_pixels else []
    return _summary(dataset, checks)


def without_broken_images(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """The dataset without images that cannot be decoded, each of which is a defect then; reads all pixels."""
    checks = list(_check_files(dataset.records, progress))
    broken = _file_defects(dataset.records, checks)
    ids = {defect.image_id for defect in broken}
    sound = tuple(record for record in dataset.records if record.id not in ids)
    return replace(dataset, records=sound, defects=(*dataset.defects, *broken)) if broken else dataset


def _check_files(records: Sequence[ImageRecord], progress: Callable[[int, int], None] | None) -> Iterable[FileCheck]:
    done = 0
    with ThreadPoolExecutor() as pool:  # decoders work outside Python's lock
        for checks in pool.map(_check_some, _parts(records)):
            for check in checks:
                done += 1
                if progress is not None:
                    progress(done, len(records))
                yield check


def _parts(records: Sequence[ImageRecord]) -> Iterable[Sequence[ImageRecord]]:
    return (records[first : first + _IMAGES_AT_ONCE] for first in range(0, len(records), _IMAGES_AT_ONCE))


def _check_some(records: Sequence[ImageRecord]) -> list[FileCheck]:
    return [check_file(record) for record in records]


def _summary(dataset: Dataset, checks: Sequence[FileCheck]) -> DatasetSummary:
    annotations = [annotation for record in dataset.records for annotation in record.annotations]
    per_image = [len(record.annotations) for record in dataset.records]
    per_id = Counter(annotation["category_id"] for annotation in annotations)
    sides = np.sqrt([annotation["bbox"][2] * annotation["bbox"][3] for annotation in annotations])
    per_name: Counter[str] = Counter()
    for category_id, name in zip(dataset.categories.ids, dataset.categories.names, strict=True):
        per_name[name] += per_id[category_id]
    return DatasetSummary(
        source=dataset.source,
        num_images=len(dataset.records),
        num_annotations=len(annotations),
        num_crowds=sum(bool(annotation.get("iscrowd")) for annotation in annotations),
        num_images_without_objects=per_image.count(0),
        annotations_per_category=dict(per_name),
        max_annotations_per_image=max(per_image, default=0),
        side_px={share: float(np.quantile(sides, share)) for share in SIDE_QUANTILES} if annotations else {},
        image_modes=dict(Counter(check.mode for check in checks if check.mode is not None).most_common()),
        defects=(*dataset.defects, *_file_defects(dataset.records, checks)),
        remarks=(*dataset.remarks, *_file_remarks(dataset.records, checks), *whole_remarks(dataset)),
    )


def _file_defects(records: Sequence[ImageRecord], checks: Sequence[FileCheck]) -> list[Defect]:
    return [
        Defect(check.problem.kind, f"image {record.id} ({record.path.name!r})", check.problem.message, record.id)
        for record, check in zip(records, checks, strict=False)
        if check.problem is not None
    ]


def _file_remarks(records: Sequence[ImageRecord], checks: Sequence[FileCheck]) -> list[Remark]:
    return [
        Remark(check.remark.kind, f"image {record.id} ({record.path.name!r})", check.remark.message, record.id)
        for record, check in zip(records, checks, strict=False)
        if check.remark is not None
    ]


def _listing(counts: Mapping[str, int], most: int = 20) -> str:
    """Names with their counts in one line, the largest first, cut where it gets long."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name} {count}" for name, count in ranked[:most])
    return listed if len(ranked) <= most else f"{listed} and {len(ranked) - most} more"
