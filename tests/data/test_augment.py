"""Each object is painted in a grey of its own, so that a varied image itself says where its objects are."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torchvision.ops import box_iou, clip_boxes_to_image

from maskwright.config.data import AugmentConfig
from maskwright.config.images import PixelsConfig, ShortSideResize, SquareResize
from maskwright.data.augment import augment, build_augmentation
from maskwright.errors import ConfigError
from maskwright.images.preprocess import Preprocess
from maskwright.structures import CropMasks, Targets
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.rle import any_to_rle

# the network sees the values of the image
AS_READ = PixelsConfig(divisor=1, mean=(0, 0, 0), std=(1, 1, 1))

KEYS = st.integers(0, 2**62)
SIZE = (40, 60)
# x1 y1 x2 y2; discs, so that a mask is not its box
BOXES = ((2, 3, 20, 17), (22, 1, 58, 30), (4, 20, 19, 39), (30, 31, 37, 40), (50, 33, 51, 34))
STILL = {"horizontal_flip": 0.0}
SSD = {"expand": 0.5, "iou_crop": True, "colour": 1.0, "horizontal_flip": 0.5}
GEOMETRY = {"horizontal_flip": 0.5, "vertical_flip": 0.5, "transpose": 0.5}


@dataclass
class ResizeTo:
    """Every image to one size; without a size it stays."""

    size: tuple[int, int] | None = None
    mask_interpolation: Literal["nearest", "bilinear"] = "nearest"
    filter: str = "bilinear"
    keeps_thin: bool = True

    def scaled_size(self, size: tuple[int, int], jitter: float = 1.0) -> tuple[int, int]:  # noqa: ARG002
        return self.size or size


def by(resize: Any) -> Preprocess:
    return Preprocess(AS_READ, resize)


def grey_of(label: int) -> int:
    return 40 * (label + 1)


def painted(boxes: tuple[tuple[int, int, int, int], ...] = BOXES) -> tuple[torch.Tensor, Targets]:
    """An image of discs, and its objects; an object's label is its place."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    image, bitmaps = np.zeros(SIZE, dtype=np.uint8), []
    for label, (x1, y1, x2, y2) in enumerate(boxes):
        across, down = (2 * columns - x1 - x2) / (x2 - x1), (2 * rows - y1 - y2) / (y2 - y1)
        bitmaps.append(across**2 + down**2 <= 1)
        image[bitmaps[-1]] = grey_of(label)
    masks = CropMasks.from_rle([encoded(bitmap) for bitmap in bitmaps], SIZE)
    labels = torch.arange(len(boxes))
    targets = Targets(SIZE, masks.boxes(), labels, masks, torch.zeros(len(boxes), dtype=torch.bool))
    return torch.from_numpy(image).expand(3, -1, -1).contiguous(), targets


def encoded(bitmap: np.ndarray) -> dict[str, object]:
    """Run lengths that are not compressed."""
    flat = np.concatenate([[False], bitmap.T.ravel(), [False]])
    borders = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], borders, [bitmap.size]])).tolist()
    return any_to_rle({"size": list(bitmap.shape), "counts": counts}, bitmap.shape)


def varied(key: int, image: torch.Tensor, targets: Targets, size: tuple[int, int] | None = None, **settings: object):
    """The image and objects under settings of `AugmentConfig`; without a size the image is not resized."""
    config = AugmentConfig(**{**STILL, **settings})
    chain = build_augmentation(config, by(ResizeTo(size)))
    return augment(image, targets, chain, config, key)


def is_painted(image: torch.Tensor, label: int) -> torch.Tensor:
    return image[0] == grey_of(label)


def test_draws_leave_all_global_generators_as_they_were(monkeypatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    varied(5, *painted(), **GEOMETRY)
    assert torch.equal(torch.get_rng_state(), before)
    assert seeded == []


@given(KEYS)
def test_flips_and_turns_move_image_and_masks_alike(key: int) -> None:
    image, targets = varied(key, *painted(), **GEOMETRY)
    assert len(targets) == len(BOXES)
    assert targets.size == tuple(image.shape[1:])
    for label, bitmap in zip(targets.labels.tolist(), targets.masks.bitmaps(), strict=True):
        assert torch.equal(torch.as_tensor(bitmap), is_painted(image, label))


@given(KEYS)
def test_flips_and_turns_move_boxes_along(key: int) -> None:
    _, targets = varied(key, *painted(), **GEOMETRY)
    assert torch.equal(targets.boxes, targets.masks.boxes())


@given(KEYS, st.integers(1, 45), st.integers(1, 65))
def test_a_window_shows_image_and_masks_alike(key: int, height: int, width: int) -> None:
    image, targets = varied(key, *painted(), crop_px=(height, width), min_side_px=0, **GEOMETRY)
    assert sorted(image.shape[1:]) == sorted((min(height, SIZE[0]), min(width, SIZE[1])))
    assert targets.size == tuple(image.shape[1:])
    for label, bitmap in zip(targets.labels.tolist(), targets.masks.bitmaps(), strict=True):
        assert torch.equal(torch.as_tensor(bitmap), is_painted(image, label))
    visible = {label for label in range(len(BOXES)) if is_painted(image, label).any()}
    assert set(targets.labels.tolist()) == visible


@given(KEYS, st.integers(4, 40), st.integers(4, 60), st.integers(0, 12))
def test_objects_cut_down_to_a_short_side_are_dropped(key: int, height: int, width: int, least: int) -> None:
    image, targets = varied(key, *painted(), crop_px=(height, width), min_side_px=least)
    for label, (x1, y1, x2, y2) in enumerate(BOXES):
        sides = [is_painted(image, label).any(dim=dim).sum().item() for dim in (1, 0)]
        is_sliver = any(side < min(least, full) for side, full in zip(sides, (y2 - y1, x2 - x1), strict=True))
        assert (label in targets.labels.tolist()) == (min(sides) > 0 and not is_sliver)


@given(KEYS)
def test_after_a_window_boxes_are_tight_around_what_is_seen(key: int) -> None:
    image, targets = varied(key, *painted(), crop_px=(25, 30))
    for label, box in zip(targets.labels.tolist(), targets.boxes.tolist(), strict=True):
        rows = torch.nonzero(is_painted(image, label).any(dim=1)).flatten()
        columns = torch.nonzero(is_painted(image, label).any(dim=0)).flatten()
        assert box == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@given(KEYS, st.tuples(st.integers(30, 120), st.integers(40, 160)))
def test_a_resize_moves_image_and_masks_alike_but_for_the_edges(key: int, size: tuple[int, int]) -> None:
    disc = ((12, 8, 50, 36),)
    image, targets = varied(key, *painted(disc), size, **GEOMETRY)
    mask, shown = torch.as_tensor(targets.masks.bitmaps()[0]), image[0] > grey_of(0) // 2
    assert (mask & shown).sum() / (mask | shown).sum() > 0.88
    assert (targets.boxes - targets.masks.boxes()).abs().max() <= max(1.0, size[0] / SIZE[0], size[1] / SIZE[1])


def test_the_scale_is_drawn_between_its_bounds_and_evenly_in_the_logarithm() -> None:
    factors: list[float] = []

    class Listening(ResizeTo):
        def scaled_size(self, size: tuple[int, int], jitter: float = 1.0) -> tuple[int, int]:
            factors.append(jitter)
            return size

    config = AugmentConfig(scale_jitter=(0.5, 2.0))
    chain = build_augmentation(config, by(Listening()))
    for key in range(200):
        augment(*painted(()), chain, config, key)
    assert min(factors) >= 0.5
    assert max(factors) <= 2.0
    assert abs(np.log2(factors).mean()) < 0.15


@pytest.mark.parametrize("geometry", [dict(crop_px=(30, 40), **GEOMETRY), SSD], ids=["window", "ssd"])
@given(key=KEYS)
def test_a_variation_is_a_function_of_its_key_alone(geometry: dict[str, object], key: int) -> None:
    settings = {"scale_jitter": (0.5, 2.0), "invert": 0.5, "colour": 1.0, **geometry}
    image, targets = varied(key, *painted(), **settings)
    torch.manual_seed(key % 1000)
    random.seed(key)
    np.random.seed(key % 1000)  # noqa: NPY002 - the global state is what is tested
    varied(key + 1, *painted(), **settings)
    again, targets_again = varied(key, *painted(), **settings)
    assert torch.equal(image, again)
    assert torch.equal(targets.boxes, targets_again.boxes)
    assert torch.equal(targets.masks.pixels, targets_again.masks.pixels)


def test_varying_leaves_the_global_generator_and_the_input_alone() -> None:
    state = torch.get_rng_state()
    image, targets = painted()
    before = image.clone(), targets.boxes.clone(), targets.masks.pixels.clone()
    varied(3, image, targets, crop_px=(20, 20), colour=1.0, invert=1.0, **GEOMETRY)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, before, (image, targets.boxes, targets.masks.pixels)))


@given(KEYS)
def test_colours_change_and_nothing_moves(key: int) -> None:
    plain, plain_targets = varied(key, *painted(), crop_px=(30, 40), **GEOMETRY)
    coloured, targets = varied(key, *painted(), crop_px=(30, 40), colour=1.0, invert=1.0, **GEOMETRY)
    assert coloured.shape == plain.shape
    assert coloured.min() >= 0 and coloured.max() <= 255
    assert torch.equal(targets.boxes, plain_targets.boxes)
    assert torch.equal(targets.masks.pixels, plain_targets.masks.pixels)


def test_inverting_turns_dark_into_bright() -> None:
    image, targets = painted()
    inverted, _ = varied(0, image, targets, invert=1.0)
    assert torch.allclose(inverted, 255.0 - image, atol=1e-3)


def test_without_settings_an_image_stays_as_it_is() -> None:
    image, targets = painted()
    same, same_targets = varied(0, image, targets)
    assert torch.equal(same, image)
    assert torch.equal(same_targets.boxes, targets.boxes)
    assert torch.equal(same_targets.masks.pixels, targets.masks.pixels)


@pytest.mark.parametrize("geometry", [dict(crop_px=(30, 40), **GEOMETRY), SSD], ids=["window", "ssd"])
@given(key=KEYS)
def test_an_image_without_objects_is_varied_too(geometry: dict[str, object], key: int) -> None:
    settings = {"scale_jitter": (0.5, 2.0), "colour": 1.0, **geometry}
    image, targets = varied(key, *painted(()), **settings)
    assert len(targets) == 0
    assert targets.boxes.shape == (0, 4)
    assert targets.size == tuple(image.shape[1:])


@pytest.mark.parametrize("geometry", [dict(crop_px=(30, 40), **GEOMETRY), SSD], ids=["window", "ssd"])
@given(key=KEYS)
def test_crowds_stay_crowds(geometry: dict[str, object], key: int) -> None:
    image, targets = painted()
    crowded = Targets(targets.size, targets.boxes, targets.labels, targets.masks, targets.labels == 2)
    _, moved = varied(key, image, crowded, **geometry)
    assert torch.equal(moved.is_crowd, moved.labels == 2)


@given(KEYS)
def test_masks_stay_as_small_as_their_boxes(key: int) -> None:
    _, targets = varied(key, *painted(), (400, 600), crop_px=(300, 300), **GEOMETRY)
    assert len(targets.masks.pixels) <= sum(10 * (x2 - x1) * 10 * (y2 - y1) for x1, y1, x2, y2 in BOXES)


def charted() -> tuple[torch.Tensor, Targets]:
    """The painted image whose second and third channel tell each pixel's row and column."""
    image, targets = painted()
    image[1], image[2] = torch.arange(SIZE[0])[:, None], torch.arange(SIZE[1])
    return image, targets


@given(KEYS)
def test_on_a_larger_canvas_image_and_objects_lie_whole_and_alike(key: int) -> None:
    image, targets = varied(key, *charted(), expand=1.0, expand_ratio=(1.5, 3.0), expand_fill=(254.6, 253, 252))
    (height, width), fill = targets.size, torch.tensor([255, 253, 252], dtype=torch.uint8)
    assert tuple(image.shape) == (3, height, width)
    assert all(int(1.5 * old) <= new <= 3 * old for old, new in zip(SIZE, targets.size, strict=True))
    is_fill = (image == fill[:, None, None]).all(dim=0)
    top, left = torch.nonzero(~is_fill)[0].tolist()
    assert torch.equal(image[:, top : top + SIZE[0], left : left + SIZE[1]], charted()[0])
    assert is_fill.sum() == height * width - SIZE[0] * SIZE[1]
    for label, bitmap in zip(targets.labels.tolist(), targets.masks.bitmaps(), strict=True):
        assert torch.equal(torch.as_tensor(bitmap), is_painted(image, label))
    assert targets.labels.tolist() == list(range(len(BOXES)))
    assert torch.equal(targets.boxes, targets.masks.boxes())


def test_colours_leave_the_canvas_as_it_is() -> None:
    image, _ = varied(5, *painted(), expand=1.0, expand_ratio=(3.0, 3.0), colour=1.0)
    border = torch.cat([image[:, 0], image[:, -1]], dim=1)
    assert border.unique(dim=1).tolist() == [[124], [116], [104]]


def cropped(key: int, **settings: object) -> tuple[torch.Tensor, Targets, list[int]]:
    """A varied image, its objects, and the x1 y1 x2 y2 of the old image that it shows."""
    image, targets = varied(key, *charted(), iou_crop=True, **settings)
    top, left = image[1, 0, 0].item(), image[2, 0, 0].item()
    return image, targets, [left, top, left + image.shape[2], top + image.shape[1]]


@given(KEYS)
def test_a_crop_shows_image_and_masks_alike(key: int) -> None:
    image, targets, _ = cropped(key, min_side_px=0)
    assert targets.size == tuple(image.shape[1:])
    for label, bitmap in zip(targets.labels.tolist(), targets.masks.bitmaps(), strict=True):
        assert torch.equal(torch.as_tensor(bitmap), is_painted(image, label))


@given(KEYS, st.integers(0, 12))
def test_a_crop_keeps_objects_by_their_centre_and_clips_their_boxes(key: int, least: int) -> None:
    _, targets, (x1, y1, x2, y2) = cropped(key, min_side_px=least)
    _, before = painted()
    x, y = (before.boxes[:, :2] + before.boxes[:, 2:]).T / 2
    is_inside = (x > x1) & (x < x2) & (y > y1) & (y < y2)
    clipped = clip_boxes_to_image(before.boxes - torch.tensor([x1, y1, x1, y1]), (y2 - y1, x2 - x1))
    full = before.boxes[:, 2:] - before.boxes[:, :2]
    is_large = (clipped[:, 2:] - clipped[:, :2] >= full.clamp(max=least)).all(dim=1)
    is_whole = (x1, y1, x2, y2) == (0, 0, SIZE[1], SIZE[0])
    is_kept = is_large if is_whole else is_large & is_inside
    assert torch.equal(targets.labels, before.labels[is_kept])
    assert torch.equal(targets.boxes, clipped[is_kept])


@given(KEYS, st.sampled_from([0.1, 0.3, 0.5]))
def test_some_object_has_the_least_iou_with_the_crop_or_the_image_is_whole(key: int, least: float) -> None:
    _, targets, crop = cropped(key, iou_crop_choices=(1.0, least), min_side_px=0)
    ious = box_iou(painted()[1].boxes, torch.tensor([crop], dtype=torch.float32))
    assert crop == [0, 0, SIZE[1], SIZE[0]] or ious.max() >= least
    assert len(targets) > 0


def test_every_choice_of_a_crop_occurs() -> None:
    crops = [cropped(key, min_side_px=0)[2] for key in range(90)]
    whole = sum(crop == [0, 0, SIZE[1], SIZE[0]] for crop in crops)
    assert 8 <= whole <= 45  # one choice in six, and more where .7 and .9 find no crop
    assert len({tuple(crop) for crop in crops}) > 40


def test_an_object_of_which_a_crop_shows_no_pixel_is_dropped() -> None:
    ends = np.zeros(SIZE, dtype=bool)
    ends[5, 2] = ends[34, 57] = True  # a box over the image, its centre empty
    masks = CropMasks.from_rle([encoded(ends)], SIZE)
    targets = Targets(SIZE, masks.boxes(), torch.tensor([0]), masks, torch.tensor([False]))
    for key in range(20):
        _, moved = varied(key, torch.zeros(3, *SIZE, dtype=torch.uint8), targets, iou_crop=True)
        assert len(moved) == moved.masks.areas().any()


@given(KEYS)
def test_after_crop_and_window_no_dropped_object_returns(key: int) -> None:
    _, cut, _ = cropped(key, min_side_px=0)
    _, both, _ = cropped(key, min_side_px=0, crop_px=(100, 100))
    assert torch.equal(both.labels, cut.labels)


@pytest.mark.parametrize("size", [(1, 1), (3, 60), (60, 2)])
def test_an_image_too_small_for_a_crop_stays(size: tuple[int, int]) -> None:
    bitmap = np.ones(size, dtype=bool)
    masks = CropMasks.from_rle([encoded(bitmap)], size)
    targets = Targets(size, masks.boxes(), torch.tensor([0]), masks, torch.tensor([False]))
    for key in range(10):
        _, moved = varied(key, torch.zeros(3, *size, dtype=torch.uint8), targets, iou_crop=True)
        assert moved.size == size
        assert len(moved) == 1


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_masks_are_resized_as_the_policy_says(interpolation: Literal["nearest", "bilinear"]) -> None:
    image, targets = painted()
    config = AugmentConfig(**STILL)
    chain = build_augmentation(config, by(ResizeTo((93, 77), interpolation)))
    _, moved = augment(image, targets, chain, config, 0)
    assert torch.equal(moved.masks.pixels, targets.masks.resized((93, 77), interpolation, keeps_thin=True).pixels)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"expand_ratio": (0.5, 2.0)}, "from 1 on"),
        ({"expand_ratio": (3.0, 2.0)}, "smaller one first"),
        ({"iou_crop_choices": (0.1, 0.3)}, "need a 1"),
        ({"iou_crop_choices": (1.0, 30.0)}, "less than or equal to 1"),
    ],
)
def test_settings_that_no_image_can_follow_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AugmentConfig(**settings)


# what a worker does for a step: read, rasterise, vary; 2,000 discs of 40 to 100 px on 4000 × 4000
_HUGE = """
import json, sys
from pathlib import Path
from maskwright.config.data import AugmentConfig
from maskwright.config.images import PixelsConfig, ShortSideResize
from maskwright.data.loader import TrainingSet
from maskwright.data.readers import read_dataset
from maskwright.data.samplers import SampleRequest
from maskwright.images.preprocess import Preprocess

folder = Path(sys.argv[1])
dataset = read_dataset(folder, folder / "annotations.json")
config = AugmentConfig(
    scale_jitter=(1.25, 1.25), crop_px=(4500, 4500), horizontal_flip=1, vertical_flip=1, transpose=1, colour=1
)
resize = ShortSideResize(short_side=4000, long_side=4000)
samples = TrainingSet(dataset.records, dataset.categories, config, Preprocess(PixelsConfig(), resize))
count = len(samples[SampleRequest(0, 1)].targets)
# the peak of this program alone; getrusage would count that of the process it was forked from
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(json.dumps({"objects": count, "bytes": int(peak.split()[1]) * 1024}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process stands in /proc on Linux")
def test_an_image_of_4000_px_with_2000_objects_needs_less_than_2_gb(tmp_path: Path, record_property) -> None:
    generator = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    annotations = []
    for number in range(2000):
        radius = generator.uniform(20, 50)
        centre = generator.uniform(60, 3940, size=2)
        outline = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        box = [*(centre - radius), 2 * radius, 2 * radius]
        polygon = outline.ravel().tolist()
        annotations.append({"id": number, "image_id": 1, "category_id": 1, "bbox": box, "segmentation": [polygon]})
    image = {"id": 1, "file_name": "huge.png", "height": 4000, "width": 4000}
    categories = [{"id": 1, "name": "disc"}]
    document = {"images": [image], "annotations": annotations, "categories": categories}
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    pixels = generator.integers(0, 255, size=(4000, 4000, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "huge.png", compress_level=1)
    run = subprocess.run([sys.executable, "-c", _HUGE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    measured = json.loads(run.stdout)
    record_property("peak_bytes", measured["bytes"])
    assert measured["objects"] > 1400
    assert measured["bytes"] < 2e9


def test_short_sides_are_drawn_from_those_listed() -> None:
    config = AugmentConfig(**STILL, short_sides=(20, 30, 44))
    chain = build_augmentation(config, by(ShortSideResize(short_side=40, long_side=50, rounding="half_up")))
    sizes = {augment(*painted(), chain, config, key)[1].size for key in range(30)}
    assert sizes == {(20, 30), (30, 45), (33, 50)}  # the longest side holds for each


def test_short_sides_need_a_policy_that_has_one() -> None:
    with pytest.raises(ConfigError, match=r"data\.augment\.short_sides"):
        build_augmentation(AugmentConfig(short_sides=(20, 30)), by(SquareResize(size=40)))
    with pytest.raises(ValidationError, match="short_sides"):
        AugmentConfig(short_sides=())


@pytest.mark.parametrize("settings", [{}, {"crop_px": (96, 96), "min_side_px": 3, **GEOMETRY}, SSD])
@pytest.mark.parametrize("resize", [ShortSideResize(short_side=100, long_side=140), SquareResize(size=100)])
def test_no_wire_is_lost_while_something_of_it_is_in_the_picture(settings: dict[str, object], resize: Any) -> None:
    """60 wires of 1 to 3 px on 400 × 560, which becomes a quarter of that."""
    size, wires = (400, 560), []
    for number in range(60):
        thickness, start = 1 + number % 3, 6 * number + 5
        bitmap = np.zeros(size, dtype=bool)
        if number % 2:
            bitmap[start : start + thickness, 20:540] = True
        else:
            bitmap[20:380, start : start + thickness] = True
        wires.append(encoded(bitmap))
    masks = CropMasks.from_rle(wires, size)
    targets = Targets(size, masks.boxes().double(), torch.arange(60), masks, torch.zeros(60, dtype=torch.bool))
    config = AugmentConfig(**{**STILL, **settings})
    chain = build_augmentation(config, by(resize))
    for key in range(5):
        image = torch.zeros(3, *size, dtype=torch.uint8)
        _, moved = augment(image, targets, chain, config, key)
        boxes = moved.masks.boxes()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        if not settings:
            assert len(moved) == 60
        elif "crop_px" in settings:
            assert len(moved) >= 30  # of parallel wires, a window of 96 px shows a part


def test_objects_without_masks_go_by_their_boxes_through_a_window() -> None:
    size = (40, 60)
    masks = CropMasks.from_crops([Crop(np.zeros((0, 0), dtype=bool), 0, 0)] * 2, size)
    boxes = torch.tensor([[1.0, 1, 59, 39], [30, 20, 31, 21]], dtype=torch.float64)
    targets = Targets(size, boxes, torch.arange(2), masks, torch.zeros(2, dtype=torch.bool))
    _, moved = varied(3, torch.zeros(3, *size, dtype=torch.uint8), targets, crop_px=(20, 20))
    assert 0 in moved.labels.tolist()
