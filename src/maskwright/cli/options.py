"""Options and arguments that several commands share, each said once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

ModelOption = Annotated[
    str,
    typer.Option("--model", metavar="M", help="Recipe name, recipe file (.yaml) or checkpoint (.safetensors, .pth)."),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="W",
        help="A name that the recipe lists, a file, hf://owner/repo/file, or random; by default the recipe's own.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", metavar="D", help="cpu, cuda, cuda:1, mps (Apple's GPU), …; auto: a GPU where torch can use one."
    ),
]
PrecisionOption = Annotated[
    Literal["fp32", "bf16", "auto"],
    typer.Option(
        "--precision", help="Of the network's arithmetic; auto: bf16 where the device computes it natively, else fp32."
    ),
]
MaxDetectionsOption = Annotated[
    int | None,
    typer.Option("--max-detections", metavar="N", min=1, help="Detections per image; by default the recipe's."),
]
AugmentedOption = Annotated[
    bool,
    typer.Option(
        "--tta", help="Test-time augmentation: several sizes, mirrored too, as the recipe's table `augmented` says."
    ),
]
TileOption = Annotated[
    int | None,
    typer.Option(
        "--tile",
        metavar="PX",
        min=1,
        help="Cut images into windows of this side, for those too large for one pass; their objects are joined.",
    ),
]
OverlapOption = Annotated[
    int | None,
    typer.Option("--overlap", metavar="PX", min=0, help="Pixels that windows share; by default a quarter."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe, e.g. detect.nms_iou=0.6; repeatable."),
]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe, e.g. train.batch_size=4.")
]
ImagesHelp = "Folder of the image files."
AnnotationsHelp = "Annotation file, or the folder of them; the format says which."
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="F",
        help="How the annotations are written: coco, coco_panoptic, lvis, voc, sbd, cityscapes, cityscapes_polygons, "
        "yolo, labelme, via, cvat, cvat_masks, label_studio, labelbox, supervisely, sa1b, darwin, datumaro, qupath, "
        "imagej, kaggle, pycococreator, masks or id_maps.",
    ),
]
ExifOption = Annotated[
    Literal["upright", "stored"] | None,
    typer.Option(
        "--exif",
        help="How labels of photographs with an orientation tag are drawn: on the upright image, or on the image as "
        "stored; by default as the image sizes in the annotations say.",
    ),
]
ClassAttributeOption = Annotated[
    str | None,
    typer.Option(
        "--class-attribute",
        metavar="NAME",
        help="Attribute of regions that holds their class (only for via).",
    ),
]
BoxesAsMasksOption = Annotated[
    bool, typer.Option("--boxes-as-masks", help="Use the box of an object without a mask as its mask.")
]
OnlyPresentOption = Annotated[
    bool,
    typer.Option("--only-present", help="Ignore listed images that are not in the folder."),
]
KeepDamagedImagesOption = Annotated[
    bool,
    typer.Option(
        "--keep-damaged-images",
        help="With --skip-bad, leave out only the objects that cannot be used, and keep their images.",
    ),
]
CrowdsOption = Annotated[
    Literal["ignored", "objects"],
    typer.Option(
        "--crowds", help="What annotations marked as crowds are: many objects that do not count, or one object each."
    ),
]
BinaryMapsOption = Annotated[
    Literal["split", "whole"] | None,
    typer.Option(
        "--binary-maps",
        help="In black and white id maps an object is each connected part (split), or all of a map (whole).",
    ),
]
OutputOption = Annotated[Path, typer.Option("--output", metavar="DIR", help="Folder for what the command makes.")]


def read_overrides(texts: Sequence[str] | None) -> dict[str, Any]:
    """Dotted keys and their values; of a key given twice the last one holds.

    Raises:
        ConfigError: a text is not of the form key=value.
    """
    from maskwright.config import parse_override

    return dict(parse_override(text) for text in texts or ())


def as_flag(name: str) -> str:
    """A choice about a dataset as it is typed on the command line.

    >>> as_flag("skip_bad"), as_flag("keeps_damaged_images")
    ('--skip-bad', '--keep-damaged-images')
    """
    return "--" + name.replace("keeps_", "keep_").replace("_", "-")
