"""`maskwright data show`: a dataset to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.options import (
    AnnotationsHelp,
    BinaryMapsOption,
    BoxesAsMasksOption,
    ClassAttributeOption,
    ExifOption,
    FormatOption,
    ImagesHelp,
    OnlyPresentOption,
)
from maskwright.cli.terminal import keeping, say, warn


def show(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help=ImagesHelp)],
    annotations: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help=AnnotationsHelp)],
    format: FormatOption = "coco",  # noqa: A002 - the word of the command line
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="The page, an .html file.")] = Path(
        "dataset.html"
    ),
    count: Annotated[int, typer.Option("--count", metavar="N", min=0, help="Images to draw.")] = 24,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Another seed, other images.")] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave the list of what cannot be used out of the page.")
    ] = False,
    exif: ExifOption = None,
    class_attribute: ClassAttributeOption = None,
    boxes_as_masks: BoxesAsMasksOption = False,
    only_present: OnlyPresentOption = False,
    binary_maps: BinaryMapsOption = None,
    boxes_only: Annotated[
        bool, typer.Option("--boxes-only", help="Objects need no masks (Faster and Keypoint R-CNN).")
    ] = False,
) -> None:
    """Write one HTML page about a dataset: some images with their objects, counts, sizes, and all defects.

    The page needs no network. Defects do not stop it, unless no image is usable.
    """
    from maskwright.data.readers import read_dataset
    from maskwright.data.readers.options import ReadOptions
    from maskwright.errors import ConfigError
    from maskwright.report import write_sheet

    if output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--output {output} does not end in .html; a page is written there, so name it so")
    with keeping(lambda: "nothing is written"):
        dataset = read_dataset(
            images,
            annotations,
            format,
            ReadOptions(
                needs_masks=not boxes_only,
                exif=exif,
                class_attribute=class_attribute,
                boxes_as_masks=boxes_as_masks,
                only_present=only_present,
                binary_maps=binary_maps,
            ),
        )
        if dataset.defects:
            warn(f"left out: {dataset.defect_summary()}")
        write_sheet(
            output,
            dataset,
            title=annotations.name or str(annotations),
            num_images=count,
            seed=seed,
            has_defects=not skip_bad,
        )
    say(f"{len(dataset.records)} images → {output}")
