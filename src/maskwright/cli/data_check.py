"""`maskwright data check`: all that is wrong with a dataset, at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.options import (
    AnnotationsHelp,
    BoxesAsMasksOption,
    ClassAttributeOption,
    ExifOption,
    FormatOption,
    ImagesHelp,
    OnlyPresentOption,
    as_flag,
)
from maskwright.cli.terminal import keeping, progress, say

# of findings that are told one by one
_MOST_PER_KIND = 10


def check(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help=ImagesHelp)],
    annotations: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help=AnnotationsHelp)],
    format: FormatOption = "coco",  # noqa: A002 - the word of the command line
    pixels: Annotated[
        bool, typer.Option(" /--no-pixels", help="Do not open the image files; quick, but finds less.")
    ] = True,
    exif: ExifOption = None,
    class_attribute: ClassAttributeOption = None,
    boxes_as_masks: BoxesAsMasksOption = False,
    only_present: OnlyPresentOption = False,
    boxes_only: Annotated[
        bool, typer.Option("--boxes-only", help="Objects need no masks (Faster and Keypoint R-CNN).")
    ] = False,
    lists_all: Annotated[
        bool, typer.Option("--all", help=f"List every finding, not the first {_MOST_PER_KIND} of a kind.")
    ] = False,
) -> None:
    """List the defects of a dataset in any format, and count them; the exit status is 2 where there are any.

    ANNOTATIONS is one file, as COCO and LVIS have it, or the folder with a file for every image.
    """
    from maskwright.data.doctor import check_dataset
    from maskwright.data.readers.options import ReadOptions
    from maskwright.data.record import ways_out

    with keeping(lambda: "nothing is changed"), progress("images") as advance:
        report = check_dataset(
            images,
            annotations,
            format,
            pixels,
            lambda _, total: advance(1, total),
            ReadOptions(
                needs_masks=not boxes_only,
                exif=exif,
                class_attribute=class_attribute,
                boxes_as_masks=boxes_as_masks,
                only_present=only_present,
            ),
        )
    for line in report.lines(None if lists_all else _MOST_PER_KIND):
        say(line)
    for way in ways_out(report.defects, as_flag):
        say(f"             {way}")
    if not report.is_clean:
        raise typer.Exit(2)
