"""What prediction leaves on disk: `predictions.json`, a picture or video of each source, and panoptic maps."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, cast

from PIL import Image
from torch import Tensor

from maskwright.errors import DataError, OutOfMemory, OutputError
from maskwright.files import (
    FolderLock,
    claim_folder,
    obey_signals,
    output_errors,
    replace_file,
    unfinished,
    uninterrupted,
)
from maskwright.images.draw import draw_instances
from maskwright.images.read import read_ahead
from maskwright.images.video import read_frames
from maskwright.predict.coco_file import PanopticFiles, PredictionsFile, remove_pictures, write_png
from maskwright.predict.predictor import Predictor
from maskwright.predict.prepared import Prepared
from maskwright.predict.sources import Source, is_video, unique_names
from maskwright.predict.video import detect_frames
from maskwright.structures import Instances

PREDICTIONS = "predictions.json"
PANOPTIC = "panoptic.json"
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
    error: DataError | OutOfMemory | None


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

    What cannot be used has an error in its outcome and is left out of `predictions.json`; the others go on. Closing the
    iterator early, or an interruption, leaves a whole `predictions.json` and videos of the images and frames so far.

    Args:
        predictor: what finds the objects.
        sources: image files, video files and cameras, at least one.
        folder: where `predictions.json` and `overlays/` come to lie, and `panoptic.json` and `panoptic/` of a model
            with a semantic head; see `claim_output`.
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

    with ExitStack() as files:
        with uninterrupted():  # from here on whatever ends this leaves whole files
            predictions = files.enter_context(PredictionsFile(folder / PREDICTIONS, predictor.categories))
            panoptic = files.enter_context(PanopticFiles(folder / PANOPTIC))
        overlays = _fresh_overlays(folder, unique_names(sources)) if has_overlays else {}
        results = _Results(predictions, panoptic, _names_in_dataset(sources), unique_names(sources))
        for are_videos, run in groupby(sources, is_video):
            if not are_videos:
                images = list(cast("Iterable[Path]", run))
                with closing(read_ahead(images, predictor.preprocess.read)) as pixels:
                    yield from _predict_images(detect, zip(images, pixels, strict=True), overlays, results)
                continue
            for video in run:
                yield from _predict_video(detect, video, overlays.get(video), results, most_frames)


@dataclass(frozen=True)
class _Results:
    """The files that results go into; `names` are those of the sources in them, `stems` those of their pictures."""

    predictions: PredictionsFile
    panoptic: PanopticFiles
    names: Mapping[Source, str]
    stems: Mapping[Source, str]

    def add_image(self, source: Source, found: Prepared) -> None:
        self._add(self.names[source], self.stems[source], found, None)

    def add_frame(self, source: Source, index: int, seconds: float, found: Prepared) -> None:
        details = {"frame": index, "seconds": round(seconds, 6)}
        self._add(f"{self.names[source]}#{index:06}", f"{self.stems[source]}_{index:06}", found, details)

    def _add(self, name: str, stem: str, found: Prepared, details: Mapping[str, float] | None) -> None:
        self.predictions.add(name, found.instances, details)
        if found.panoptic is not None:
            self.panoptic.add(name, stem, found.panoptic, details)


def _predict_images(
    detect: _Detect,
    images: Iterable[tuple[Path, Tensor | DataError]],
    overlays: Mapping[Source, Path],
    results: _Results,
) -> Generator[Outcome, None, None]:
    for path, pixels in images:
        obey_signals()
        if isinstance(pixels, DataError):
            yield Outcome(path, 0, pixels)
            continue
        try:
            found = Prepared.of(detect(pixels))
        except OutOfMemory as error:
            yield Outcome(path, 0, OutOfMemory(f"image {path}: {error}"))
            continue
        results.add_image(path, found)
        if path in overlays:
            _draw(pixels, found, overlays[path])
        yield Outcome(path, len(found.instances), None)


def _predict_video(
    detect: _Detect, source: Source, overlay: Path | None, results: _Results, most_frames: int | None
) -> Generator[Outcome, None, None]:
    with (
        closing(read_frames(source)) as frames,
        closing(detect_frames(detect, islice(frames, most_frames), overlay)) as frames_found,
    ):
        try:
            for frame, found in frames_found:
                obey_signals()
                results.add_frame(source, frame.index, frame.seconds, found)
                yield Outcome(source, len(found.instances), None)
        except (DataError, OutOfMemory) as error:
            yield Outcome(source, 0, error)


@contextmanager
def claimed_output(folder: Path, marker: str) -> Iterator[None]:
    """An output folder for only this command, until it ends; otherwise as `claim_output`.

    Raises:
        OutputError: another command writes into it just now.
    """
    claim_folder(folder)
    with FolderLock(folder) as lock:
        lock.take()
        claim_output(folder, marker)
        yield


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
    with output_errors(overlays):
        overlays.mkdir(exist_ok=True)
        remove_pictures(overlays, ".png", ".mp4")
    return {source: overlays / f"{name}{'.mp4' if is_video(source) else '.png'}" for source, name in names.items()}


def _draw(pixels: Tensor, found: Prepared, path: Path) -> None:
    picture = Image.fromarray(draw_instances(pixels, found.instances, panoptic=found.panoptic))
    write_png(path, picture, compress_level=1)  # the default level takes longer than drawing


def _names_in_dataset(sources: Sequence[Source]) -> dict[Source, str]:
    """Each file relative to the deepest folder with all of them in it, and a camera as it was given."""
    paths = [source for source in sources if isinstance(source, Path)]
    names: dict[Source, str] = {source: str(source) for source in sources}
    if paths:
        common = os.path.commonpath([os.path.abspath(path.parent) for path in paths])  # noqa: PTH100 - without ".."
        names |= {path: Path(os.path.relpath(path, common)).as_posix() for path in paths}
    return names
