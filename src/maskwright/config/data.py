"""Which images and annotations are used, and how they are varied in training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator
from typing_extensions import Self

from maskwright.config.base import MOST_SIDE_PX, StrictModel

Share = Annotated[float, Field(ge=0, le=1)]
AnnotationFormat = Literal[
    "coco",
    "coco_panoptic",
    "lvis",
    "voc",
    "sbd",
    "cityscapes",
    "cityscapes_polygons",
    "yolo",
    "labelme",
    "via",
    "cvat",
    "cvat_masks",
    "label_studio",
    "labelbox",
    "supervisely",
    "sa1b",
    "darwin",
    "datumaro",
    "qupath",
    "imagej",
    "kaggle",
    "pycococreator",
    "masks",
    "id_maps",
]

FrameName = Literal["upright", "stored"]
BinaryMaps = Literal["split", "whole"]


class DatasetConfig(StrictModel):
    """One split of a dataset: where it is, which of its classes are used and under which names."""

    images: str | None = Field(None, description="folder with the images")
    annotations: str | None = Field(None, description="annotation file, or the folder of them; the format says which")
    format: AnnotationFormat = Field("coco", description="how the annotations are written")
    class_attribute: str | None = Field(
        None, description="attribute of regions that holds their class (VIA); none: the only one, or the likeliest"
    )
    panoptic_annotations: str | None = Field(
        None, description="COCO panoptic annotation file of the same images; a semantic head learns from it"
    )
    panoptic_images: str | None = Field(None, description="folder with the segment pictures (PNG) of that file")
    rename: dict[str, str] = Field(
        {}, description="class in the data → class in the model; several may become one, and what is not named stays"
    )
    only: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="classes of objects that are kept, by their new names; none: all. Images that lose all their "
        "objects stay as negatives, unless data.uses_empty_images is off",
    )
    repeats: float = Field(
        1.0, gt=0, description="how often each image is drawn in an epoch of training, on average: 2, 0.5, …"
    )
    exif: FrameName | None = Field(
        None,
        description="whether the labels of photographs that are stored on their side (EXIF orientation) are drawn on "
        "the upright image or on the stored one; none: as the image sizes in the annotations say, and upright where "
        "they say nothing. The network sees upright images either way",
    )
    binary_maps: BinaryMaps | None = Field(
        None,
        description="what an object is in black and white id maps: each connected part (split), or all parts of a map "
        "(whole); none: maps with several parts are refused",
    )
    crowds: Literal["ignored", "objects"] = Field(
        "ignored",
        description="what annotations marked as crowds (iscrowd 1) are; ignored: groups of objects, without a loss and "
        "not counted by metrics; objects: one object each, as in files of tools that mark every mask (CVAT's brush)",
    )
    skip_bad: bool = Field(
        False,
        description="leave out what cannot be used, instead of refusing the dataset; an image with an object "
        "that cannot be used is left out too, and so is an image that turns out broken in training",
    )
    keeps_damaged_images: bool = Field(
        False, description="with skip_bad, only the objects that cannot be used are left out, and their images stay"
    )
    boxes_as_masks: bool = Field(False, description="the box of an object without a mask is used as its mask")
    only_present: bool = Field(False, description="listed images that are not in the folder are ignored")
    share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="only for data.val: validate on this share of data.train, chosen by a hash of the file names, and "
        "train on the rest; all other settings are those of data.train",
    )

    @model_validator(mode="after")
    def _check_panoptic(self) -> Self:
        if (self.panoptic_annotations is None) != (self.panoptic_images is None):
            raise ValueError(
                "panoptic_annotations=FILE and panoptic_images=FOLDER belong together: give both or neither"
            )
        return self


class AugmentConfig(StrictModel):
    """Random variation of training images; boxes and masks move along."""

    expand: float = Field(0.0, ge=0, le=1, description="probability of placing the image on a larger canvas (SSD's)")
    expand_ratio: tuple[float, float] = Field(
        (1.0, 4.0), description="sides of that canvas over the image's, from and to; uniform"
    )
    expand_fill: tuple[float, float, float] = Field(
        (123.675, 116.28, 103.53), description="colour of the rest of the canvas, 8-bit RGB (ImageNet's mean)"
    )
    iou_crop: bool = Field(
        False, description="SSD's random crop; objects whose centre lies in it stay, their boxes clipped"
    )
    iou_crop_choices: tuple[Share, ...] = Field(
        (1.0, 0.1, 0.3, 0.7, 0.9, 0.0),
        description="least IoU that an object's box must have with the crop, drawn from these; 1 leaves the image "
        "whole, 0 needs only an object's centre (as YOLACT's code in effect does for each but 1)",
    )
    short_sides: tuple[Annotated[int, Field(gt=0, le=MOST_SIDE_PX)], ...] | None = Field(
        None,
        min_length=1,
        description="the resize policy's short side is drawn from these in training (detectron2: 640 to 800); none: it "
        "is as in testing",
    )
    scale_jitter: tuple[float, float] = Field(
        (1.0, 1.0), description="factor on the resize policy's scale, log-uniform"
    )
    crop_px: tuple[int, int] | None = Field(None, description="random window (height, width) of the network input")
    horizontal_flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring left and right")
    vertical_flip: float = Field(0.0, ge=0, le=1, description="probability of mirroring top and bottom")
    transpose: float = Field(0.0, ge=0, le=1, description="probability of exchanging rows and columns")
    colour: float = Field(0.0, ge=0, le=1, description="probability of photometric distortion (SSD's)")
    invert: float = Field(
        0.0, ge=0, le=1, description="probability of inverting brightness (fluorescence ↔ bright field)"
    )
    min_side_px: float = Field(
        0.0,
        ge=0,
        description="an object is dropped where a crop leaves less than this of a side that it cuts; 0: only where "
        "nothing of the object is left",
    )

    @model_validator(mode="after")
    def _check_ssd(self) -> Self:
        low, high = self.expand_ratio
        if not 1 <= low <= high:
            raise ValueError(f"expand_ratio {self.expand_ratio} must be two numbers from 1 on, the smaller one first")
        if 1 not in self.iou_crop_choices:
            raise ValueError(f"iou_crop_choices {self.iou_crop_choices} need a 1: not every image has a crop that fits")
        return self


Part = Literal["train", "val"]
PARTS: tuple[Part, ...] = ("train", "val")

ONE_DATASET, SEVERAL_DATASETS = "one dataset", "several datasets"


def _one_or_several(value: Any) -> str:
    return SEVERAL_DATASETS if isinstance(value, list | tuple) else ONE_DATASET


def _not_empty(tables: tuple[DatasetConfig, ...]) -> tuple[DatasetConfig, ...]:
    if not tables:
        raise ValueError("the list of datasets is empty; give a table for each")
    return tables


# which of both it is, is known before it is checked, so that an error is about what was meant
Datasets = Annotated[
    Annotated[DatasetConfig, Tag(ONE_DATASET)]
    | Annotated[tuple[DatasetConfig, ...], AfterValidator(_not_empty), Tag(SEVERAL_DATASETS)],
    Discriminator(_one_or_several),
]


class DataConfig(StrictModel):
    """The datasets and their loading.

    Each of `train` and `val` is a table, or a list of tables whose images are joined and whose classes are united by
    name. Every dataset must then be annotated for all classes that its images show: an object of a class that only
    another dataset has is background to the losses.
    """

    train: Datasets = DatasetConfig()
    val: Datasets = DatasetConfig()
    augment: AugmentConfig = AugmentConfig()
    workers: int = Field(2, ge=0, description="loader processes; the result does not depend on it")
    groups_by_aspect: bool = Field(
        True, description="batches of only landscape or only portrait images, for less padding"
    )
    uses_empty_images: bool = Field(True, description="images without objects are trained on, as negatives")
    repeat_threshold: float | None = Field(
        None,
        gt=0,
        le=1,
        description="images with a class that fewer than this share of the images have are drawn more often (LVIS, "
        "appendix B.2: 0.001): √(threshold / share) times for the rarest class; none: all alike",
    )

    @model_validator(mode="after")
    def _check_share(self) -> Self:
        if any(table.share is not None for table in self.tables("train")):
            raise ValueError("data.train.share has no meaning; data.val.share sets a share of data.train aside")
        if all(table.share is None for table in self.tables("val")):
            return self
        if self.val != DatasetConfig(share=self.share_of_train):
            raise ValueError("data.val.share takes all other settings from data.train; remove the others from data.val")
        return self

    @property
    def share_of_train(self) -> float | None:
        """The share of the training data that is set aside to validate on; None: validation has its own, or none."""
        return self.tables("val")[0].share

    def keys(self, part: Part) -> tuple[str, ...]:
        """What each table of a part is called: `data.train`, or `data.train.0` and so on."""
        is_one = isinstance(getattr(self, part), DatasetConfig)
        return tuple(f"data.{part}" if is_one else f"data.{part}.{index}" for index in range(len(self.tables(part))))

    def tables(self, part: Part) -> tuple[DatasetConfig, ...]:
        """The tables of a part, be it one or a list of them."""
        given: DatasetConfig | tuple[DatasetConfig, ...] = getattr(self, part)
        return (given,) if isinstance(given, DatasetConfig) else given
