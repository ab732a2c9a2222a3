"""`maskwright data convert`: a dataset in another format, and what that cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from maskwright.cli.options import (
    AnnotationsHelp,
    BinaryMapsOption,
    BoxesAsMasksOption,
    ClassAttributeOption,
    ExifOption,
    FormatOption,
    ImagesHelp,
    KeepDamagedImagesOption,
    OnlyPresentOption,
    as_flag,
)
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
    boxes_as_masks: BoxesAsMasksOption = False,
    only_present: OnlyPresentOption = False,
    binary_maps: BinaryMapsOption = None,
    keep_damaged_images: KeepDamagedImagesOption = False,
    boxes_only: Annotated[bool, typer.Option("--boxes-only", help="Objects need no masks.")] = False,
) -> None:
    """Write a dataset in another format; masks keep their holes and parts.

    Images that are copied or linked are decoded first: a broken one is refused like any other defect.

    What the new format cannot hold (overlaps, crowds, keypoints, …) is counted and reported. TARGET is written
    completely, or not at all.
    """
    from maskwright.data.choices import settle_defects
    from maskwright.data.doctor import without_broken_images
    from maskwright.data.readers import read_dataset
    from maskwright.data.readers.options import ReadOptions
    from maskwright.data.writers import refuse_unknown, write_dataset

    refuse_unknown(target_format)
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
    if placing != "none":
        with keeping(lambda: f"{target} was not made"), progress("images checked") as advance:
            dataset = without_broken_images(dataset, lambda _, total: advance(1, total))
    dataset = settle_defects(dataset, skip_bad=skip_bad, keeps_damaged_images=keep_damaged_images, option=as_flag)
    for line in (*dataset.remark_lines(), *dataset.skipped_lines()):
        warn(line)
    with keeping(lambda: f"{target} was not made"), progress("images") as advance:
        made = write_dataset(dataset, target, target_format, placing, lambda _, total: advance(1, total))
    say(f"source       {dataset.source}, {format}: {made.num_images} images, {made.num_annotations} annotations")
    say(f"written      {target}, {target_format}")
    say(f"images       {made.images}")
    say(f"annotations  {made.annotations}")
    for line in made.left_out.lines():
        say(f"lost         {line}")
    if not made.left_out.counts:
        say("lost         nothing")
