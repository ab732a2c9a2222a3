"""`maskwright predict`: images, videos and cameras in, `predictions.json` and pictures or videos out."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.options import (
    AugmentedOption,
    DeviceOption,
    MaxDetectionsOption,
    ModelOption,
    OutputOption,
    OverlapOption,
    PrecisionOption,
    SetOption,
    TileOption,
    WeightsOption,
)
from maskwright.cli.terminal import keeping, progress, say, warn

if TYPE_CHECKING:
    from maskwright.predict.sources import Source
    from maskwright.predict.writing import Outcome

_Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE", help="Images, videos, folders, globs such as 'scans/**/*.png', or camera:0."),
]
_ScoreThreshold = Annotated[
    float, typer.Option("--score-threshold", metavar="T", min=0, max=1, help="Objects must score above this.")
]
_Overlays = Annotated[bool, typer.Option(" /--no-overlays", show_default=False, help="Draw no pictures and videos.")]
_MostFrames = Annotated[
    int | None,
    typer.Option("--frames", metavar="N", min=1, help="Frames of each video or camera; by default all there are."),
]


def predict(
    sources: _Sources,
    model: ModelOption,
    weights: WeightsOption = None,
    output: OutputOption = Path("predictions"),
    score_threshold: _ScoreThreshold = 0.5,
    max_detections: MaxDetectionsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "fp32",
    overlays: _Overlays = True,
    frames: _MostFrames = None,
    tta: AugmentedOption = False,
    tile: TileOption = None,
    overlap: OverlapOption = None,
    changes: SetOption = None,
) -> None:
    """Find the objects in images, videos or what a camera sees.

    Writes DIR/predictions.json, a COCO dataset with scores, and DIR/overlays/NAME.png or .mp4. Of a video each frame is
    an image of that dataset, called clip.mp4#000012, with its `frame` and `seconds`. DIR must be new, empty, or hold an
    earlier prediction, which is replaced. What cannot be read is named and left out, and the exit status is then 2.

    Models with a semantic head also write DIR/panoptic.json and DIR/panoptic/NAME.png, COCO's panoptic form.

    A camera goes on until Ctrl-C or for `--frames`. Ctrl-C and SIGTERM leave all that was predicted so far, whole, and
    videos that can be played.
    """
    from maskwright.cli.loading import load_predictor
    from maskwright.images.notes import note_lines
    from maskwright.predict.sources import count_images, find_sources, left_out_line
    from maskwright.predict.writing import PREDICTIONS, claimed_output, predict_files

    with claimed_output(output, PREDICTIONS):
        found = find_sources(sources)
        for line in [left_out_line(sources), *note_lines(path for path in found if isinstance(path, Path))]:
            if line is not None:
                warn(line)
        total = count_images(found, frames)
        predictor = load_predictor(
            model, weights, device, precision, changes, is_augmented=tta, tile_px=tile, overlap_px=overlap
        )
        outcomes = predict_files(
            predictor,
            found,
            output,
            score_threshold=score_threshold,
            max_detections=max_detections,
            has_overlays=overlays,
            most_frames=frames,
        )
        num_bad = follow(outcomes, total, output, _kind(found))
    if num_bad:
        raise typer.Exit(2)


def follow(outcomes: Generator[Outcome, None, None], total: int | None, output: Path, what: str = "images") -> int:
    """Show how prediction proceeds, and what it gave; returns the number of sources that could not be used wholly."""
    num_good = num_bad = num_objects = 0
    of_total = "" if total is None else f" of {total}"
    with (
        keeping(lambda: f"the predictions of {num_good}{of_total} {what} are in {output}"),
        closing(outcomes),
        progress(what, total) as advance,
    ):
        for outcome in outcomes:
            if outcome.error is None:
                num_good, num_objects = num_good + 1, num_objects + outcome.num_objects
            else:
                num_bad += 1
                print(f"error: {outcome.error}", file=sys.stderr, flush=True)
            advance(1)
    wholly = " to the end" if "frames" in what else ""
    left_out = f"; {num_bad} could not be used{wholly}" if num_bad else ""
    say(f"{num_objects} objects in {num_good} {what}{left_out} → {output}")
    return num_bad


def _kind(sources: Sequence[Source]) -> str:
    """What is counted."""
    from maskwright.predict.sources import is_video

    has_videos = any(map(is_video, sources))
    if all(map(is_video, sources)):
        return "frames"
    return "images and frames" if has_videos else "images"
