"""What prediction leaves on disk: `predictions.json`, which grows image by image, and a picture of every image."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image
from torch import Tensor
from typing_extensions import Self

from maskwright.errors import DataError, OutputError
from maskwright.files import blaming, claim_folder, replace_file, unfinished
from maskwright.images.draw import draw_instances
from maskwright.images.read import read_ahead
from maskwright.predict.predictor import Predictor
from maskwright.predict.sources import unique_names
from maskwright.structures import Categories, Instances
from maskwright.structures.rle import rle_counts

PREDICTIONS = "predictions.json"
OVERLAYS = "overlays"


@dataclass(frozen=True)
class ImageOutcome:
    """What became of one image.

    Attributes:
        path: of the image file.
        num_objects: found in it.
        error: why it could not be used; None where it was.
    """

    path: Path
    num_objects: int
    error: DataError | None


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    folder: Path,
    *,
    score_threshold: float | None = None,
    max_detections: int | None = None,
    has_overlays: bool = True,
) -> Generator[ImageOutcome, None, None]:
    """Predict image files into a folder, in memory that does not grow with their number.

    An image that cannot be used is told in its outcome and left out of `predictions.json`; the others go on. Closing
    the iterator early, or an interruption, leaves a whole `predictions.json` of the images so far.

    Args:
        predictor: what finds the objects.
        images: the image files, at least one.
        folder: where `predictions.json` and `overlays/` come to lie; see `claim_output`.
        score_threshold: detections must score above it; by default the recipe's.
        max_detections: per image; by default the recipe's.
        has_overlays: draw the objects over each image.

    Yields:
        one outcome per image, in their order.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    pictures = _fresh_overlays(folder, unique_names(images)) if has_overlays else {}
    common = _common_folder(images)
    with PredictionsFile(folder / PREDICTIONS, predictor.categories) as file:
        for path, pixels in zip(images, read_ahead(images), strict=True):
            if isinstance(pixels, DataError):
                yield ImageOutcome(path, 0, pixels)
                continue
            found = predictor(pixels, score_threshold, max_detections)
            file.add(Path(os.path.relpath(path, common)).as_posix(), found)
            if path in pictures:
                _draw(pixels, found, pictures[path])
            yield ImageOutcome(path, len(found), None)


class PredictionsFile:
    """A COCO dataset of what was found, whose annotations go to disk at once.

    It is a context: on leaving it, for whatever reason, the file is completed and takes the place of an older one.

    Args:
        path: of the file; its folder exists.
        categories: of the model.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
    """

    def __init__(self, path: Path, categories: Categories) -> None:
        self._path = path
        self._images: list[dict[str, Any]] = []
        self._num_annotations = 0
        with blaming(path):
            self._file = unfinished(path).open("w", encoding="utf-8")
            self._file.write(f'{{"categories": {json.dumps(categories.to_coco())},\n"annotations": [')

    def add(self, file_name: str, found: Instances) -> None:
        """Add an image with its objects; ids count from one."""
        image_id = len(self._images) + 1
        entries = [
            {"id": number, **entry, "area": _area(entry), "iscrowd": 0}
            for number, entry in enumerate(found.to_coco(image_id), start=self._num_annotations + 1)
        ]
        with blaming(self._path):
            for entry in entries:
                self._file.write((",\n" if self._num_annotations else "\n") + json.dumps(entry))
                self._num_annotations += 1
        height, width = found.size
        self._images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with blaming(self._path), self._file:
            self._file.write(f'],\n"images": {json.dumps(self._images)}}}\n')
        with blaming(self._path):
            unfinished(self._path).replace(self._path)


def claim_output(folder: Path, marker: str) -> None:
    """Make sure, before any work is done, that an output folder can be written and holds nothing of other origin.

    Args:
        folder: new, empty, or with the earlier output of the same command, which will be replaced.
        marker: the file by which such earlier output is known.

    Raises:
        OutputError: it cannot be written, or has other files in it.
    """
    claim_folder(folder)
    names = {path.name for path in folder.iterdir()}
    if names and not names & {marker, unfinished(Path(marker)).name}:
        raise OutputError(
            f"output folder {folder} has other files in it, and no {marker} of an earlier call that could be replaced; "
            "choose a new or empty folder"
        )


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a JSON file that at every moment is the old one or the new one, whole.

    Raises:
        OutputError: it cannot be written.
    """
    replace_file(path, json.dumps(content, indent=2 if isinstance(content, Mapping) else None) + "\n")


def _fresh_overlays(folder: Path, names: Mapping[Path, str]) -> dict[Path, Path]:
    """The picture file of each image, in a folder without pictures of an earlier call."""
    with blaming(folder / OVERLAYS):
        (folder / OVERLAYS).mkdir(exist_ok=True)
        for old in (folder / OVERLAYS).glob("*.png"):
            old.unlink()
    return {path: folder / OVERLAYS / f"{name}.png" for path, name in names.items()}


def _draw(pixels: Tensor, found: Instances, path: Path) -> None:
    picture = Image.fromarray(draw_instances(pixels, found))
    with blaming(path):
        picture.save(path, compress_level=1)  # the default level takes longer than drawing


def _area(entry: Mapping[str, Any]) -> float:
    """Pixels of the mask, or of the box where there is none."""
    if "segmentation" not in entry:
        return float(entry["bbox"][2] * entry["bbox"][3])
    return float(rle_counts(entry["segmentation"])[1::2].sum())


def _common_folder(images: Sequence[Path]) -> Path:
    """The deepest folder with all images in it, to which the file names are relative."""
    return Path(os.path.commonpath([os.path.abspath(path.parent) for path in images]))  # noqa: PTH100 - without ".."
