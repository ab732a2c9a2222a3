"""What prediction leaves on disk: `predictions.json`, which grows image by image, and a picture or video of each."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from PIL import Image
from torch import Tensor
from typing_extensions import Self

from maskwright.errors import DataError, OutputError
from maskwright.files import blaming, claim_folder, replace_file, unfinished
from maskwright.images.draw import draw_instances
from maskwright.images.read import read_ahead
from maskwright.images.video import read_frames
from maskwright.predict.predictor import Predictor
from maskwright.predict.sources import Source, is_video, unique_names
from maskwright.predict.video import detect_frames
from maskwright.structures import Categories, Instances
from maskwright.structures.rle import rle_counts

PREDICTIONS = "predictions.json"
OVERLAYS = "overlays"

_Detect = Callable[[Tensor], Instances]


@dataclass(frozen=True)
class Outcome:
    """What became of one image, or of one frame of a video.

    Attributes:
        source: the image, video or camera.
        num_objects: found in it.
        error: why it, or the rest of a video, could not be used; None where it was.
    """

    source: Source
    num_objects: int
    error: DataError | None


def predict_files(
    predictor: Predictor,
    sources: Sequence[Source],
    folder: Path,
    *,
    score_threshold: float | None = None,
    max_detections: int | None = None,
    has_overlays: bool = True,
    most_frames: int | None = None,
) -> Generator[Outcome, None, None]:
    """Predict images, videos and cameras into a folder, in memory that does not grow with their number or length.

    What cannot be used is told in its outcome and left out of `predictions.json`; the others go on. Closing the
    iterator early, or an interruption, leaves a whole `predictions.json` and videos of the images and frames so far.

    Args:
        predictor: what finds the objects.
        sources: image files, video files and cameras, at least one.
        folder: where `predictions.json` and `overlays/` come to lie; see `claim_output`.
        score_threshold: detections must score above it; by default the recipe's.
        max_detections: per image; by default the recipe's.
        has_overlays: draw the objects over each image and video.
        most_frames: to take of each video or camera; None for all, which with a camera has no end.

    Yields:
        one outcome per image and per frame, in their order; one more where a video cannot be used to its end.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
        MissingDependency: there is a video, and PyAV is not installed.
    """

    def detect(pixels: Tensor) -> Instances:
        return predictor(pixels, score_threshold, max_detections)

    names = _names_in_dataset(sources)
    overlays = _fresh_overlays(folder, unique_names(sources)) if has_overlays else {}
    with PredictionsFile(folder / PREDICTIONS, predictor.categories) as file:
        for are_videos, run in groupby(sources, is_video):
            if not are_videos:
                yield from _predict_images(detect, cast("Iterable[Path]", run), names, overlays, file)
                continue
            for video in run:
                yield from _predict_video(detect, video, names[video], overlays.get(video), file, most_frames)


def _predict_images(
    detect: _Detect,
    run: Iterable[Path],
    names: Mapping[Source, str],
    overlays: Mapping[Source, Path],
    file: PredictionsFile,
) -> Generator[Outcome, None, None]:
    images = list(run)
    with closing(read_ahead(images)) as waiting:
        for path, pixels in zip(images, waiting, strict=True):
            if isinstance(pixels, DataError):
                yield Outcome(path, 0, pixels)
                continue
            found = detect(pixels)
            file.add(names[path], found)
            if path in overlays:
                _draw(pixels, found, overlays[path])
            yield Outcome(path, len(found), None)


def _predict_video(
    detect: _Detect, source: Source, name: str, overlay: Path | None, file: PredictionsFile, most_frames: int | None
) -> Generator[Outcome, None, None]:
    with (
        closing(read_frames(source)) as frames,
        closing(detect_frames(detect, islice(frames, most_frames), overlay)) as results,
    ):
        try:
            for frame, found in results:
                details = {"frame": frame.index, "seconds": round(frame.seconds, 6)}
                file.add(f"{name}#{frame.index:06}", found, details)
                yield Outcome(source, len(found), None)
        except DataError as error:
            yield Outcome(source, 0, error)


class PredictionsFile:
    """A COCO dataset of what was found, in constant memory: annotations and images go to disk at once.

    It is a context: on leaving it, for whatever reason, the file is completed and takes the place of an older one.

    Args:
        path: of the file; its folder exists.
        categories: of the model.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
    """

    def __init__(self, path: Path, categories: Categories) -> None:
        self._path = path
        self._num_images = self._num_annotations = 0
        with blaming(path):
            self._file = unfinished(path).open("w", encoding="utf-8")
            # the images come last in the file; without a name, so that even a killed process leaves no trace of it
            self._images = tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent)  # noqa: SIM115 - closed on exit
            self._file.write(f'{{"categories": {json.dumps(categories.to_coco())},\n"annotations": [')

    def add(self, file_name: str, found: Instances, details: Mapping[str, float] | None = None) -> None:
        """Add an image with its objects and further facts about it; ids count from one."""
        image_id, (height, width) = self._num_images + 1, found.size
        image = {"id": image_id, "file_name": file_name, "height": height, "width": width, **(details or {})}
        objects = [
            {"id": number, **entry, "area": _area(entry), "iscrowd": 0}
            for number, entry in enumerate(found.to_coco(image_id), start=self._num_annotations + 1)
        ]
        with blaming(self._path):
            self._file.writelines(self._lines(objects, self._num_annotations))
            self._images.writelines(self._lines([image], self._num_images))
        self._num_annotations += len(objects)
        self._num_images += 1

    @staticmethod
    def _lines(entries: Sequence[Mapping[str, Any]], num_before: int) -> list[str]:
        """The entries of a JSON list in which others stand already."""
        return [(",\n" if place else "\n") + json.dumps(entry) for place, entry in enumerate(entries, num_before)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with blaming(self._path), self._file, self._images:
            self._file.write('],\n"images": [')
            self._images.seek(0)
            shutil.copyfileobj(self._images, self._file)
            self._file.write("]}\n")
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


def _fresh_overlays(folder: Path, names: Mapping[Source, str]) -> dict[Source, Path]:
    """The picture or video of each source, in a folder without those of an earlier call."""
    overlays = folder / OVERLAYS
    with blaming(overlays):
        overlays.mkdir(exist_ok=True)
        for old in overlays.iterdir():
            if old.suffix in (".png", ".mp4"):
                old.unlink()
    return {source: overlays / f"{name}{'.mp4' if is_video(source) else '.png'}" for source, name in names.items()}


def _draw(pixels: Tensor, found: Instances, path: Path) -> None:
    picture = Image.fromarray(draw_instances(pixels, found))
    with blaming(path):
        picture.save(path, compress_level=1)  # the default level takes longer than drawing


def _area(entry: Mapping[str, Any]) -> float:
    """Pixels of the mask, or of the box where there is none."""
    if "segmentation" not in entry:
        return float(entry["bbox"][2] * entry["bbox"][3])
    return float(rle_counts(entry["segmentation"])[1::2].sum())


def _names_in_dataset(sources: Sequence[Source]) -> dict[Source, str]:
    """Each file relative to the deepest folder with all of them in it, and a camera as it was asked for."""
    paths = [source for source in sources if isinstance(source, Path)]
    names: dict[Source, str] = {source: str(source) for source in sources}
    if paths:
        common = os.path.commonpath([os.path.abspath(path.parent) for path in paths])  # noqa: PTH100 - without ".."
        names |= {path: Path(os.path.relpath(path, common)).as_posix() for path in paths}
    return names
