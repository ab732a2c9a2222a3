"""Recipes: what ships loads, is frozen, survives YAML, and says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from maskwright.config import MaskRcnnRecipe, Recipe, YolactRecipe, load_recipe, recipe_from_table, recipe_names
from maskwright.config.backbone import DarkNetConfig
from maskwright.config.categories import UNUSED, named_categories
from maskwright.config.overrides import dotted_keys
from maskwright.errors import ConfigError


@pytest.fixture(params=recipe_names())
def shipped(request: pytest.FixtureRequest) -> Recipe:
    return load_recipe(request.param)


def test_recipes_ship_with_the_package() -> None:
    assert {"torchvision/mask_rcnn_r50_fpn", "torchvision/mask_rcnn_r50_fpn_v2"} <= set(recipe_names())
    assert recipe_names() == sorted(recipe_names())


def test_shipped_recipe_has_its_own_name_and_a_summary(shipped: Recipe) -> None:
    assert shipped.name in recipe_names()
    assert shipped.summary
    assert shipped.default_weights is None or shipped.default_weights in shipped.weights


def test_recipe_survives_yaml(shipped: Recipe) -> None:
    text = yaml.safe_dump(shipped.model_dump(mode="json"))
    assert recipe_from_table(yaml.safe_load(text), "round trip") == shipped


def test_recipe_survives_a_table_of_python_values(shipped: Recipe) -> None:
    assert recipe_from_table(shipped.model_dump(), "round trip") == shipped


def test_recipe_is_frozen(shipped: Recipe) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        shipped.detect.nms_iou = 0.1  # type: ignore[misc]  # frozen is what is tested


def test_shipped_file_holds_only_what_differs(shipped: Recipe) -> None:
    folder = Path(str(__import__("maskwright").__file__)).parent / "recipes"
    table = yaml.safe_load((folder / f"{shipped.name}.yaml").read_text(encoding="utf-8"))
    inherited = load_recipe(table["base"]) if "base" in table else type(shipped)()
    repeated = [
        f"{name}.{key}"
        for name, values in table.items()
        if isinstance(values, dict) and isinstance(getattr(inherited, name), BaseModel)
        for key, value in values.items()
        if getattr(getattr(inherited, name), key) == value
    ]
    assert repeated == []


def _tables(annotation: object) -> list[type[BaseModel]]:
    """The tables that a field may hold: one, or any of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables(part)]


def _fields_without_meaning(model: type[BaseModel]) -> list[str]:
    silent = []
    for name, field in model.model_fields.items():
        tables = _tables(field.annotation)
        silent += [entry for table in tables for entry in _fields_without_meaning(table)]
        if not (field.description or tables or name == "family"):
            silent.append(f"{model.__name__}.{name}")
    return silent


@pytest.mark.parametrize("family", [MaskRcnnRecipe, YolactRecipe])
def test_every_setting_says_what_it_means(family: type[Recipe]) -> None:
    assert _fields_without_meaning(family) == []


@pytest.mark.parametrize(
    ("key", "torchvisions"),
    [
        ("resize.short_side", 800),
        ("resize.long_side", 1333),
        ("pixels.mean", (0.485, 0.456, 0.406)),
        ("pixels.std", (0.229, 0.224, 0.225)),
        ("anchors.sizes_px", ((32,), (64,), (128,), (256,), (512,))),
        ("anchors.ratios", (0.5, 1.0, 2.0)),
        ("rpn.train_proposals_before_nms", 2000),
        ("rpn.test_proposals_before_nms", 1000),
        ("rpn.train_proposals_after_nms", 2000),
        ("rpn.test_proposals_after_nms", 1000),
        ("rpn.nms_iou", 0.7),
        ("rpn.positive_iou", 0.7),
        ("rpn.negative_iou", 0.3),
        ("rpn.anchors_per_image", 256),
        ("rpn.positive_share", 0.5),
        ("roi.positive_iou", 0.5),
        ("roi.negative_iou", 0.5),
        ("roi.rois_per_image", 512),
        ("roi.positive_share", 0.25),
        ("box_head.box_weights", (10.0, 10.0, 5.0, 5.0)),
        ("box_head.fc_channels", 1024),
        ("box_head.pool_px", 7),
        ("mask_head.pool_px", 14),
        ("detect.score_threshold", 0.05),
        ("detect.nms_iou", 0.5),
        ("detect.max_detections", 100),
    ],
)
def test_family_defaults_are_those_torchvision_documents(key: str, torchvisions: object) -> None:
    table, _, name = key.partition(".")
    assert getattr(getattr(MaskRcnnRecipe(), table), name) == torchvisions


YOLACT = "yolact/r101"
PLUS_SIZES = tuple(tuple(size * 2 ** (third / 3) for third in range(3)) for size in (24, 48, 96, 192, 384))


@pytest.mark.parametrize(
    ("name", "key", "originals"),
    [
        (YOLACT, "resize.size", 550),
        (YOLACT, "backbone.depth", 101),
        (YOLACT, "backbone.norm", "batch"),
        (YOLACT, "backbone.frozen_stages", 0),
        (YOLACT, "pixels.mean", (123.68, 116.78, 103.94)),
        (YOLACT, "pixels.std", (58.40, 57.12, 57.38)),
        (YOLACT, "pixels.divisor", 1),
        (YOLACT, "anchors.sizes_px", ((24,), (48,), (96,), (192,), (384,))),
        (YOLACT, "anchors.is_square", True),
        (YOLACT, "losses.masks_per_image", 100),
        (YOLACT, "rescoring.is_on", False),
        (YOLACT, "detect.score_threshold", 0.05),
        (YOLACT, "detect.nms_iou", 0.5),
        (YOLACT, "detect.candidates", 200),
        (YOLACT, "detect.max_detections", 100),
        (YOLACT, "train.optimiser", "sgd"),
        (YOLACT, "train.learning_rate", 1e-3),
        (YOLACT, "train.momentum", 0.9),
        (YOLACT, "train.weight_decay", 5e-4),
        (YOLACT, "train.norm_weight_decay", 5e-4),
        (YOLACT, "train.batch_size", 8),
        (YOLACT, "train.iterations", 800_000),
        (YOLACT, "train.steps", (280_000, 600_000, 700_000, 750_000)),
        (YOLACT, "train.warmup_iterations", 500),
        (YOLACT, "train.warmup_factor", 0.1),
        (YOLACT, "train.freezes_norms_below", 6),
        (YOLACT, "data.groups_by_aspect", False),
        ("yolact/r50", "backbone.depth", 50),
        ("yolact/r50", "backbone.norm", "batch"),
        ("yolact/darknet53", "backbone.kind", "darknet53"),
        ("yolact/darknet53", "pixels.divisor", 255),
        ("yolact/darknet53", "pixels.mean", (0, 0, 0)),
        ("yolact/darknet53", "pixels.std", (1, 1, 1)),
        ("yolact/r101_400", "resize.size", 400),
        ("yolact/r101_400", "anchors.sizes_px", tuple((int(s / 550 * 400),) for s in (24, 48, 96, 192, 384))),
        ("yolact/r101_700", "resize.size", 700),
        ("yolact/r101_700", "anchors.sizes_px", tuple((int(s / 550 * 700),) for s in (24, 48, 96, 192, 384))),
        ("yolact/r101_700", "losses.masks_per_image", 300),
        ("yolact/plus_r101", "backbone.depth", 101),
        ("yolact/plus_r101", "backbone.deformable_from", 3),
        ("yolact/plus_r101", "backbone.deformable_every", 3),
        ("yolact/plus_r50", "backbone.depth", 50),
        ("yolact/plus_r50", "backbone.deformable_every", 1),
        ("yolact/plus_r50", "anchors.sizes_px", PLUS_SIZES),
        ("yolact/plus_r50", "anchors.is_square", False),
        ("yolact/plus_r50", "rescoring.is_on", True),
        ("yolact/r50_pascal", "anchors.sizes_px", ((32,), (64,), (128,), (256,), (512,))),
        ("yolact/r50_pascal", "anchors.is_square", False),
        ("yolact/r50_pascal", "train.iterations", 120_000),
        ("yolact/r50_pascal", "train.steps", (60_000, 100_000)),
    ],
)
def test_yolacts_recipes_have_the_numbers_of_the_released_configurations(
    name: str, key: str, originals: object
) -> None:
    table, _, last = key.partition(".")
    assert getattr(getattr(load_recipe(name), table), last) == originals


def test_pascals_classes_are_in_the_order_of_the_alphabet() -> None:
    pascal = named_categories("pascal")
    assert [category.id for category in pascal] == list(range(1, 21))
    assert [category.name for category in pascal] == sorted(category.name for category in pascal)


def test_contract_keys_are_answered_to() -> None:
    promised = [
        "resize.short_side",
        "resize.long_side",
        "detect.score_threshold",
        "detect.nms_iou",
        "detect.max_detections",
        "train.seed",
        "train.iterations",
        "train.batch_size",
        "train.learning_rate",
        "train.checkpoint_every",
        "data.train.images",
        "data.train.annotations",
        "data.val.images",
        "data.val.annotations",
        "data.workers",
    ]
    assert set(promised) <= set(dotted_keys(MaskRcnnRecipe))


def test_coco_has_eighty_classes_and_ninety_ids() -> None:
    coco, with_holes = named_categories("coco"), named_categories("coco_with_holes")
    assert (len(coco), len(with_holes)) == (80, 90)
    assert [category.id for category in with_holes] == list(range(1, 91))
    assert [category for category in with_holes if category.name != UNUSED] == list(coco)
    assert (coco[0].name, coco[-1].id, coco[-1].name) == ("person", 90, "toothbrush")


def test_categories_are_given_by_list_name_by_names_or_by_ids() -> None:
    def pairs(categories: object) -> list[tuple[int, str]]:
        recipe = recipe_from_table({"categories": categories}, "test")
        return [(category.id, category.name) for category in recipe.categories]

    assert len(pairs("coco")) == 80
    assert pairs(["cat", "dog"]) == [(1, "cat"), (2, "dog")]
    assert pairs([{"id": 7, "name": "cat"}]) == [(7, "cat")]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"categories": "cocoo"}, "no class list called 'cocoo'.*coco"),
        ({"family": "yolo"}, "no family called 'yolo'.*mask_rcnn"),
        ({"rpn": {"nms_iou": 5}}, r"here: rpn\.nms_iou: .*less than or equal to 1, got 5"),
        ({"rpn": {"negative_iou": 0.9}}, r"rpn\.negative_iou is above rpn\.positive_iou"),
        ({"anchors": {"sizes_px": [[32]]}}, "5 levels"),
        ({"anchors": {"sizes_px": [[8, 16], [32], [64], [128], [256]]}}, "same number of sizes"),
        ({"resize": {"short_side": 800, "long_side": 400}}, "resize.long_side is below"),
        ({"train": {"batch_size": 3, "accumulate": 2}}, "does not divide"),
        ({"train": {"optimiser": "adam"}}, "train.optimiser.*'sgd' or 'adamw'"),
    ],
)
def test_value_that_does_not_fit_is_named(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_from_table(table, "here")


def test_errors_are_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        recipe_from_table({"rpn": {"nms_iou": 5, "num_conv": 2}, "resiz": {}}, "here")
    assert "\n" not in str(caught.value)
    assert "rpn.nms_iou" in str(caught.value)
    assert "did you mean rpn.num_convs" in str(caught.value)
    assert "did you mean resize" in str(caught.value)


def test_misspelt_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean .*torchvision/mask_rcnn_r50_fpn"):
        load_recipe("torchvision/mask_rcn_r50_fpn")


def test_recipe_like_no_other_is_answered_with_where_to_look() -> None:
    with pytest.raises(ConfigError, match="maskwright recipes"):
        load_recipe("zzz")


class TestFiles:
    """Recipes in files of the user's own."""

    @pytest.fixture(autouse=True)
    def _in_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def test_file_is_laid_over_its_base(self) -> None:
        Path("mine.yaml").write_text("base: torchvision/mask_rcnn_r50_fpn_v2\nrpn: {nms_iou: 0.6}\n", encoding="utf-8")
        recipe = load_recipe("mine.yaml")
        assert isinstance(recipe, MaskRcnnRecipe)
        assert (recipe.name, recipe.rpn.nms_iou, recipe.rpn.num_convs) == ("mine.yaml", 0.6, 2)

    def test_chain_of_bases_is_followed_to_its_end(self) -> None:
        Path("a.yaml").write_text("rpn: {nms_iou: 0.1, num_convs: 3}\ndetect: {nms_iou: 0.2}\n", encoding="utf-8")
        Path("b.yaml").write_text("base: a.yaml\nrpn: {nms_iou: 0.4}\n", encoding="utf-8")
        Path("c.yaml").write_text("base: b.yaml\ndetect: {max_detections: 7}\n", encoding="utf-8")
        recipe = load_recipe("c.yaml", {"rpn.num_convs": 4})
        assert isinstance(recipe, MaskRcnnRecipe)
        assert (recipe.rpn.nms_iou, recipe.rpn.num_convs) == (0.4, 4)
        assert (recipe.detect.nms_iou, recipe.detect.max_detections) == (0.2, 7)

    def test_weights_and_summary_are_not_inherited(self) -> None:
        published = "weights: {w: {source: 'package://w', licence: CC0}}\ndefault_weights: w\nsummary: a\n"
        Path("a.yaml").write_text(published, encoding="utf-8")
        Path("b.yaml").write_text("base: a.yaml\n", encoding="utf-8")
        assert load_recipe("a.yaml").default_weights == "w"
        inherited = load_recipe("b.yaml")
        assert (inherited.weights, inherited.default_weights, inherited.summary) == ({}, None, "")

    def test_circle_of_bases_is_shown(self) -> None:
        Path("a.yaml").write_text("base: b.yaml\n", encoding="utf-8")
        Path("b.yaml").write_text("base: a.yaml\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"circle: a\.yaml → b\.yaml → a\.yaml"):
            load_recipe("a.yaml")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"a: [1", "mine.yaml.*not valid YAML"),
            (b"- 1\n", "mine.yaml.*expected a table.*list"),
            (b"", "mine.yaml.*expected a table"),
            (b"\xff\xfe", "mine.yaml.*not valid YAML"),
            (b"bas: torchvision/mask_rcnn_r50_fpn\n", "mine.yaml: unknown key 'bas'"),
        ],
    )
    def test_file_that_is_no_recipe_is_named(self, content: bytes, message: str) -> None:
        Path("mine.yaml").write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            load_recipe("mine.yaml")

    def test_missing_file_is_named(self) -> None:
        with pytest.raises(ConfigError, match=r"absent\.yaml.*cannot be read"):
            load_recipe("absent.yaml")


def test_a_table_given_in_part_changes_the_default_of_its_family_in_that_part_only() -> None:
    recipe = recipe_from_table(
        {"family": "yolact", "backbone": {"depth": 50}, "pixels": {"channel_order": "bgr"}}, "part"
    )
    default = YolactRecipe()
    assert recipe.backbone == default.backbone.model_copy(update={"depth": 50})
    assert recipe.pixels == default.pixels.model_copy(update={"channel_order": "bgr"})


def test_a_table_of_another_kind_starts_anew() -> None:
    recipe = recipe_from_table({"family": "yolact"}, "kind", {"backbone.kind": "darknet53"})
    assert recipe.backbone == DarkNetConfig(kind="darknet53")
    kept = recipe_from_table({"family": "yolact"}, "kind", {"backbone.kind": "resnet", "backbone.depth": 50})
    assert kept.backbone == YolactRecipe().backbone.model_copy(update={"depth": 50})
