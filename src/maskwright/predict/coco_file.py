"""COCO files of what was found, written image by image in constant memory."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image
from typing_extensions import Self

from maskwright.files import UNFINISHED, output_errors, replace_file, unfinished, uninterrupted
from maskwright.structures import Categories, Instances, PanopticMap


class CocoFile:
    """A COCO dataset that grows: annotations and images go to disk at once.

    It is a context: on leaving it, for whatever reason, the file is completed and replaces an older one.
    Where the disk has no room for that, the older one stays. Signals wait until an image is written with its
    annotations.

    Args:
        path: of the file; its folder exists.
        categories: its list of categories.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
    """

    def __init__(self, path: Path, categories: Sequence[Mapping[str, Any]]) -> None:
        self._path = path
        self._num_images = self._num_annotations = 0
        self._failure: OSError | None = None
        with output_errors(path):
            # the images come last in the file; without a name, so that even a killed process leaves no trace of it
            self._images = tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent)  # noqa: SIM115 - closed on exit
            self._file = unfinished(path).open("w", encoding="utf-8")
            self._file.write(f'{{"categories": {json.dumps(categories)},\n"annotations": [')

    def write(self, image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> None:
        """Add an image and its annotations."""
        lines = self._lines(annotations, self._num_annotations)
        entry = self._lines([image], self._num_images)
        with output_errors(self._path), uninterrupted():
            try:
                self._file.writelines(lines)
                self._images.writelines(entry)
            except OSError as error:
                self._failure = error  # an entry may be cut
                raise
            self._num_annotations += len(annotations)
            self._num_images += 1

    @staticmethod
    def _lines(entries: Sequence[Mapping[str, Any]], num_before: int) -> list[str]:
        """The entries of a JSON list in which others stand already."""
        return [(",\n" if index else "\n") + json.dumps(entry) for index, entry in enumerate(entries, num_before)]

    def next_image(
        self, file_name: str, size: tuple[int, int], details: Mapping[str, float] | None = None
    ) -> dict[str, Any]:
        """The entry of an image of (height, width) that will be written next, with further facts about it."""
        own = {"id": self._num_images + 1, "file_name": file_name, "height": size[0], "width": size[1]}
        return {**own, **(details or {})}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with uninterrupted(), output_errors(self._path):
            try:
                self._complete()
            except OSError:
                unfinished(self._path).unlink(missing_ok=True)  # it would go on filling a full disk
                raise

    def _complete(self) -> None:
        with self._file, self._images:
            if self._failure is not None:
                raise self._failure
            self._file.write('],\n"images": [')
            self._images.seek(0)
            shutil.copyfileobj(self._images, self._file)
            self._file.write("]}\n")
        unfinished(self._path).replace(self._path)


class PredictionsFile(CocoFile):
    """Objects with their scores, as COCO's instance annotations have them."""

    def __init__(self, path: Path, categories: Categories) -> None:
        super().__init__(path, categories.to_coco())

    def add(self, file_name: str, found: Instances, details: Mapping[str, float] | None = None) -> None:
        """Add an image with its objects and further facts about it; ids count from one."""
        image = self.next_image(file_name, found.size, details)
        entries = found.to_coco(image["id"])
        areas = _areas(found, entries)
        objects = [
            {"id": number, **entry, "area": area, "iscrowd": 0}
            for number, (entry, area) in enumerate(zip(entries, areas, strict=True), start=self._num_annotations + 1)
        ]
        self.write(image, objects)


class PanopticFiles:
    """A COCO panoptic file and a folder of the same name with its pictures; neither comes without a panoptic map.

    It is a context, as `CocoFile` is.

    Args:
        path: of the JSON file; what an earlier call left there and in the folder is removed.

    Raises:
        OutputError: the old ones cannot be removed.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._pictures = path, path.with_suffix("")
        self._open = ExitStack()
        self._file: CocoFile | None = None
        with output_errors(path):
            path.unlink(missing_ok=True)
            remove_pictures(self._pictures, ".png")

    def add(
        self, file_name: str, picture: str, panoptic: PanopticMap, details: Mapping[str, float] | None = None
    ) -> None:
        """Add the map of an image, its picture called `picture`, and further facts about the image."""
        file = self._started(panoptic)
        image = file.next_image(file_name, panoptic.size, details)
        annotation, pixels = panoptic.to_coco(image["id"], f"{picture}.png")
        write_png(self._pictures / annotation["file_name"], Image.fromarray(pixels))
        file.write(image, [annotation])

    def _started(self, panoptic: PanopticMap) -> CocoFile:
        if self._file is None:
            with output_errors(self._pictures):
                self._pictures.mkdir(exist_ok=True)
            self._file = self._open.enter_context(CocoFile(self._path, panoptic.classes.to_coco()))
        return self._file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)


def write_png(path: Path, picture: Image.Image, compress_level: int = 6) -> None:
    """Write a picture so that the file is whole or not there.

    Raises:
        OutputError: it cannot be written, or the disk is full.
    """
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=compress_level)
    replace_file(path, content.getvalue(), survives_power_cut=False)  # waiting would take longer than drawing


def remove_pictures(folder: Path, *suffixes: str) -> None:
    """Remove the files with one of the suffixes, and what a killed process has left of such."""
    for old in folder.glob("*"):
        if old.name.removesuffix(UNFINISHED).endswith(suffixes):
            old.unlink()


def _areas(found: Instances, entries: Sequence[Mapping[str, Any]]) -> list[float]:
    """Pixels of each mask, or of each box where there are none."""
    if found.masks is None:
        return [float(entry["bbox"][2] * entry["bbox"][3]) for entry in entries]
    return [float(area) for area in found.masks.areas().tolist()]
