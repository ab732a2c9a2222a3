"""What every recipe has, whatever its family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from maskwright.config.anchors import AnchorLayout
from maskwright.config.backbone import BackboneConfig, ResNetConfig
from maskwright.config.base import StrictModel
from maskwright.config.categories import CategoryConfig, read_categories
from maskwright.config.data import PARTS, DataConfig
from maskwright.config.detect import DetectConfig
from maskwright.config.images import PixelsConfig, ResizePolicy
from maskwright.config.overrides import merge
from maskwright.config.roi_heads import KeypointHeadConfig
from maskwright.config.semantic import SemanticHeadConfig
from maskwright.config.testing import AugmentedConfig, Expected, TilesConfig
from maskwright.config.train import TrainConfig


class WeightsConfig(StrictModel):
    """Published weights of a recipe."""

    source: str = Field(description="a file inside the package (package://…), an https or hf:// address, or a path")
    sha256: str | None = Field(None, description="of the file; its first digits are enough")
    md5: str | None = Field(None, description="the same, where its authors give no other checksum (detectron2)")
    size: int | None = Field(None, gt=0, description="of the file, in bytes")
    licence: str = Field(description="under which the weights may be used")


class Recipe(StrictModel):
    """The common part of a resolved recipe; families add their tables and say what is special about them.

    Attributes:
        title: what the family is called.
        coco_sources: shipped recipes whose COCO weights a training may start from; the first with the same backbone.
        small_recipe: the family's recipe for machines without a GPU.
    """

    title: ClassVar[str]
    coco_sources: ClassVar[tuple[str, ...]] = ()
    small_recipe: ClassVar[str | None] = None

    name: str = Field("unnamed", description="how the recipe is called")
    summary: str = Field("", description="one line for the list of recipes")
    family: str = Field(description="kind of network, such as mask_rcnn or yolact, which decides what tables there are")
    categories: Annotated[tuple[CategoryConfig, ...], BeforeValidator(read_categories)] = Field(
        (), description="classes in the order of the network's outputs; empty: taken from the training annotations"
    )
    weights: dict[str, WeightsConfig] = Field({}, description="published weights by name")
    default_weights: str | None = Field(None, description="the name used when none is asked for; none: random")
    pixels: PixelsConfig = PixelsConfig()
    resize: ResizePolicy
    backbone: BackboneConfig = ResNetConfig()
    detect: DetectConfig = DetectConfig()
    augmented: AugmentedConfig = AugmentedConfig()
    tiles: TilesConfig = TilesConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    expected: dict[str, Expected] = Field(
        {},
        description="entries of metrics.json, such as mask.AP, and what they should be on data.val: 0.36 ± 0.02; "
        "augmented.mask.AP is that with test-time augmentation. `train` (of the last weights) and `evaluate` exit with "
        "1 where they are not; {} expects nothing",
    )

    @property
    def metric_kinds(self) -> tuple[str, ...]:
        """The tables of metrics.json that its results fill."""
        return ("box", "mask")

    @property
    def finds_objects(self) -> bool:
        """Whether there is anything that COCO's metrics measure."""
        return bool(self.metric_kinds)

    @property
    def keypoints(self) -> KeypointHeadConfig | None:
        """The table of the keypoints that it predicts; None without any."""
        return None

    @property
    def semantics(self) -> SemanticHeadConfig | None:
        """The table of the semantic classes that it predicts; None without any."""
        return None

    @property
    def anchor_layout(self) -> AnchorLayout | None:
        """Where its anchors lie; None of a model without anchors."""
        return None

    @property
    def architecture(self) -> tuple[str, ...]:
        """The network in words, part by part, from pixels to heads."""
        return self.title, self.backbone.words

    def skipping_bad(self, keeps_damaged_images: bool) -> Self:
        """The recipe with `skip_bad` on in each of its datasets, and `keeps_damaged_images` as given."""
        update = {"skip_bad": True, "keeps_damaged_images": keeps_damaged_images}
        parts: dict[str, Any] = {}
        for part in PARTS:
            tables = tuple(table.model_copy(update=update) for table in self.data.tables(part))
            parts[part] = tables if isinstance(getattr(self.data, part), tuple) else tables[0]
        return self.model_copy(update={"data": self.data.model_copy(update=parts)})

    @model_validator(mode="before")
    @classmethod
    def _lay_over_defaults(cls, tables: Any) -> Any:
        """A table given in part changes the family's default in that part only."""
        defaults = {name: field.default for name, field in cls.model_fields.items()}
        whole = {name: value.model_dump() for name, value in defaults.items() if isinstance(value, StrictModel)}
        given = {name: value for name, value in tables.items() if isinstance(value, Mapping)}
        return {**tables, **{name: merge(whole[name], value) for name, value in given.items() if name in whole}}

    def refuse_unknown_losses(self, known: Sequence[str]) -> None:
        """Insist that `train.loss_weights` names losses that the family has.

        Raises:
            ValueError: it names another.
        """
        if unknown := sorted(set(self.train.loss_weights) - set(known)):
            raise ValueError(f"train.loss_weights names no loss {unknown[0]!r}; the losses are {', '.join(known)}")
