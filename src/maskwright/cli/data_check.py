"""`maskwright data check`: all that is wrong with a dataset, at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.options import AnnotationsHelp, ClassAttributeOption, ExifOption, FormatOption, ImagesHelp
from maskwright.cli.terminal import keeping, progress, say


def check(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help=ImagesHelp)],
    annotations: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help=AnnotationsHelp)],
    format: FormatOption = "coco",  # noqa: A002 - the word of the command line
    pixels: Annotated[
        bool, typer.Option(" /--no-pixels", help="Do not open the image files; quick, but finds less.")
    ] = True,
    exif: ExifOption = None,
    class_attribute: ClassAttributeOption = None,
    boxes_only: Annotated[
        bool, typer.Option("--boxes-only", help="Objects need no masks (Faster and Keypoint R-CNN).")
    ] = False,
) -> None:
    """List all defects of a dataset in any format, with counts; the exit status is 2 where there are any.

    ANNOTATIONS is one file, as COCO and LVIS have it, or the folder with a file for every image.
    """
    from maskwright.data.doctor import check_dataset
    from maskwright.data.readers.options import ReadOptions

    with keeping(lambda: "nothing is changed"), progress("images") as advance:
        report = check_dataset(
            images,
            annotations,
            format,
            pixels,
            lambda _, total: advance(1, total),
            ReadOptions(needs_masks=not boxes_only, exif=exif, class_attribute=class_attribute),
        )
    for line in report.lines():
        say(line)
    if not report.is_clean:
        raise typer.Exit(2)
