"""`maskwright predict`: images in, `predictions.json` and pictures out."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.options import (
    DeviceOption,
    MaxDetectionsOption,
    ModelOption,
    OutputOption,
    PrecisionOption,
    SetOption,
    WeightsOption,
)
from maskwright.cli.terminal import keeping, progress, say

if TYPE_CHECKING:
    from maskwright.predict.writing import ImageOutcome

_Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE", help="Images, folders, or globs such as 'scans/**/*.png'.")
]
_ScoreThreshold = Annotated[
    float, typer.Option("--score-threshold", metavar="T", min=0, max=1, help="Objects must score above this.")
]
_Overlays = Annotated[bool, typer.Option(" /--no-overlays", help="Write only predictions.json, no pictures.")]


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
    changes: SetOption = None,
) -> None:
    """Find the objects in images.

    Writes DIR/predictions.json, a COCO dataset with scores, and DIR/overlays/NAME.png. DIR must be new, empty, or hold
    an earlier prediction, which is replaced. Images that cannot be read are named and left out, and the exit status is
    then 2.
    """
    from maskwright.cli.loading import load_predictor
    from maskwright.predict.sources import find_images
    from maskwright.predict.writing import PREDICTIONS, claim_output, predict_files

    claim_output(output, PREDICTIONS)
    images = find_images(sources)
    predictor = load_predictor(model, weights, device, precision, changes)
    outcomes = predict_files(
        predictor,
        images,
        output,
        score_threshold=score_threshold,
        max_detections=max_detections,
        has_overlays=overlays,
    )
    with closing(outcomes):
        num_bad = follow(outcomes, len(images), output)
    if num_bad:
        raise typer.Exit(2)


def follow(outcomes: Iterable[ImageOutcome], total: int, output: Path) -> int:
    """Show how prediction proceeds, and what it gave; returns the number of images that could not be used."""
    num_good = num_bad = num_objects = 0
    with (
        keeping(lambda: f"the predictions of {num_good} of {total} images are in {output}"),
        progress("images", total) as advance,
    ):
        for outcome in outcomes:
            if outcome.error is None:
                num_good, num_objects = num_good + 1, num_objects + outcome.num_objects
            else:
                num_bad += 1
                print(f"error: {outcome.error}", file=sys.stderr, flush=True)
            advance(1)
    left_out = f"; {num_bad} could not be used" if num_bad else ""
    say(f"{num_objects} objects in {num_good} images{left_out} → {output}")
    return num_bad
