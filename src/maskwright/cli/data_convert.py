"""`maskwright data convert`: a dataset in another format, and what that cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from maskwright.cli.options import AnnotationsHelp, ClassAttributeOption, ExifOption, FormatOption, ImagesHelp
from maskwright.cli.terminal import keeping, progress, say, warn


def convert_dataset(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help=ImagesHelp)],
    annotations: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help=AnnotationsHelp)],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Folder for the new dataset, not there yet.")],
    target_format: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="F",
            help="Format to write: coco, coco_panoptic, lvis, voc, yolo, labelme, masks or id_maps.",
        ),
    ],
    format: FormatOption = "coco",  # noqa: A002 - the word of the command line
    placing: Annotated[
        Literal["copy", "link", "none"],
        typer.Option("--images", help="Copy the image files, link to them, or leave them where they are."),
    ] = "copy",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out what is wrong with the dataset, and list it.")
    ] = False,
    exif: ExifOption = None,
    class_attribute: ClassAttributeOption = None,
    boxes_only: Annotated[bool, typer.Option("--boxes-only", help="Objects need no masks.")] = False,
) -> None:
    """Write a dataset in another format; masks keep their holes and parts.

    What the new format cannot hold (overlaps, crowds, keypoints, …) is counted and told. TARGET is there whole in the
    end, or not at all.
    """
    from maskwright.data.readers import read_dataset
    from maskwright.data.readers.options import ReadOptions
    from maskwright.data.writers import write_dataset

    dataset = read_dataset(
        images, annotations, format, ReadOptions(needs_masks=not boxes_only, exif=exif, class_attribute=class_attribute)
    )
    if not skip_bad:
        dataset.refuse_defects()
    for line in (*dataset.remark_lines(), *dataset.skipped_lines()):
        warn(line)
    with keeping(lambda: f"{target} was not made"), progress("images") as advance:
        made = write_dataset(dataset, target, target_format, placing, lambda _, total: advance(1, total))
    say(f"source       {dataset.source}, {format}: {made.num_images} images, {made.num_annotations} annotations")
    say(f"written      {target}, {target_format}")
    say(f"images       {made.images}")
    say(f"annotations  {made.annotations}")
    for line in made.losses.lines():
        say(f"lost         {line}")
    if not made.losses.counts:
        say("lost         nothing")
