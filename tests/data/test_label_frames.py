"""Labels of photographs that are stored on their side end on the upright pixels, whatever tool drew them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from maskwright.data.doctor import check_dataset
from maskwright.data.readers import read_dataset, read_with_defects
from maskwright.data.readers.options import ReadOptions
from maskwright.data.record import Dataset
from maskwright.images.orientation import turned_size, upright
from maskwright.images.read import read_image
from maskwright.structures.masks.crop import Crop
from maskwright.structures.masks.rle import crop_to_rle

HEIGHT, WIDTH = 20, 30  # as stored
RED, GREEN = (220, 30, 30), (30, 200, 40)
# in the upright image, x1 y1 x2 y2, within a square of the shorter side: inside the image in either frame
OBJECTS = {RED: (2, 3, 9, 8), GREEN: (5, 12, 18, 19)}
ORIENTATIONS = (2, 3, 4, 5, 6, 7, 8)
ON_THE_SIDE = (5, 6, 7, 8)


def upright_size(orientation: int) -> tuple[int, int]:
    return turned_size((HEIGHT, WIDTH), orientation)


def stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera stores of an upright (H, W) mask or (H, W, 3) picture."""
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    return np.ascontiguousarray(np.moveaxis(upright(np.moveaxis(np.atleast_3d(pixels), 2, 0), inverse), 0, 2).squeeze())


def photograph(folder: Path, orientation: int, name: str = "im0.png", objects: dict = OBJECTS) -> None:
    """A picture whose objects are rectangles of one colour, stored as a turned camera does."""
    pixels = np.full((*upright_size(orientation), 3), 90, dtype=np.uint8)
    for colour, (x1, y1, x2, y2) in objects.items():
        pixels[y1:y2, x1:x2] = colour
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stored(pixels, orientation)).save(folder / name, exif=exif)


def mask_of(box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def masks_in(frame: str, orientation: int, objects: dict = OBJECTS) -> list[np.ndarray]:
    """The objects' masks as a tool sees them that shows the image in a frame."""
    masks = [mask_of(box, upright_size(orientation)) for box in objects.values()]
    return masks if frame == "upright" else [stored(mask, orientation) for mask in masks]


def corners_of(mask: np.ndarray) -> list[list[int]]:
    (top, left), (bottom, right) = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0) + 1
    return [[int(x), int(y)] for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))]


def coco(folder: Path, orientation: int, frame: str, *, size: str | None, as_rle: bool = False, **image) -> Path:
    """A COCO file of a photograph, labelled in a frame, with the image size of a frame or with none."""
    photograph(folder / "images", orientation, **image)
    entry: dict = {"id": 1, "file_name": "im0.png"}
    if size is not None:
        height, width = upright_size(orientation) if size == "upright" else (HEIGHT, WIDTH)
        entry |= {"height": height, "width": width}
    annotations = []
    for label, mask in enumerate(masks_in(frame, orientation, image.get("objects", OBJECTS)), start=1):
        points = corners_of(mask)
        (x1, y1), (x2, y2) = points[0], points[2]
        outline = crop_to_rle(Crop(mask, 0, 0), mask.shape) if as_rle else [[c for point in points for c in point]]
        annotations.append(
            {
                "id": label,
                "image_id": 1,
                "category_id": label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "segmentation": outline,
                "keypoints": [x1 + 0.5, y1 + 0.5, 2, 0, 0, 0],
            }
        )
    categories = [{"id": label, "name": name} for label, name in enumerate(("red", "green"), start=1)]
    path = folder / "ann.json"
    path.write_text(json.dumps({"images": [entry], "annotations": annotations, "categories": categories}))
    return path


def assert_upright(dataset: Dataset, kind: str) -> None:
    """Every object lies on the pixels of its colour in the upright image."""
    (record,) = dataset.records
    pixels = read_image(record.path).numpy().transpose(1, 2, 0)
    assert record.size == pixels.shape[:2]
    assert [remark.kind for remark in dataset.remarks] == [kind]
    targets = record.targets(dataset.categories)
    for mask, label, box in zip(targets.masks.bitmaps(), targets.labels.tolist(), targets.boxes.tolist(), strict=True):
        is_colour = (pixels == (RED if dataset.categories.names[label] == "red" else GREEN)).all(axis=2)
        assert np.array_equal(mask, is_colour)
        assert box == [*corners_of(is_colour)[0], *corners_of(is_colour)[2]]
    assert len(targets) == 2


@pytest.mark.parametrize("as_rle", [False, True])
@pytest.mark.parametrize("frame", ["upright", "stored"])
@pytest.mark.parametrize("orientation", ON_THE_SIDE)
def test_sizes_tell_the_frame_of_coco_labels(tmp_path, orientation, frame, as_rle) -> None:
    path = coco(tmp_path, orientation, frame, size=frame, as_rle=as_rle)
    dataset = read_dataset(tmp_path / "images", path)
    assert_upright(dataset, f"labels-{frame}")
    first, unlabelled = np.array(dataset.records[0].annotations[0]["keypoints"]).reshape(-1, 3).tolist()
    pixels = read_image(dataset.records[0].path)
    assert tuple(pixels[:, int(first[1]), int(first[0])].tolist()) == RED
    assert unlabelled == [0, 0, 0]


@pytest.mark.parametrize("frame", ["upright", "stored"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_owner_says_the_frame_where_sizes_cannot(tmp_path, orientation, frame) -> None:
    path = coco(tmp_path, orientation, frame, size=None)
    assert_upright(read_dataset(tmp_path / "images", path, options=ReadOptions(exif=frame)), f"labels-{frame}")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_labels_are_upright_where_nothing_tells_their_frame(tmp_path, orientation) -> None:
    dataset = read_dataset(tmp_path / "images", coco(tmp_path, orientation, "upright", size=None))
    assert_upright(dataset, "labels-upright")
    assert "exif: stored" in str(dataset.remarks[0])


@pytest.mark.parametrize("frame", ["upright", "stored"])
@pytest.mark.parametrize("size", ["upright", "stored", None])
def test_labels_that_reach_outside_one_frame_tell_the_other_against_the_size(tmp_path, frame, size) -> None:
    objects = {RED: (2, 3, 9, 8), GREEN: (5, 22, 18, 29)}  # in the upright image, 30 high and 20 wide
    path = coco(tmp_path, 6, frame, size=size, objects=objects)
    assert_upright(read_dataset(tmp_path / "images", path), f"labels-{frame}")


@pytest.mark.parametrize("frame", ["upright", "stored"])
def test_an_image_whose_size_cannot_tell_follows_the_others_of_its_dataset(tmp_path, frame) -> None:
    path = coco(tmp_path, 6, frame, size=frame)
    document = json.loads(path.read_text())
    photograph(tmp_path / "images", 3, "im1.png")
    mask = masks_in(frame, 3)[0]
    outline = [coordinate for point in corners_of(mask) for coordinate in point]
    document["images"].append({"id": 2, "file_name": "im1.png", "height": HEIGHT, "width": WIDTH})
    document["annotations"].append({"id": 9, "image_id": 2, "category_id": 1, "segmentation": [outline]})
    path.write_text(json.dumps(document))
    for entry in document["annotations"]:
        entry.pop("keypoints", None)
    dataset = read_dataset(tmp_path / "images", path)
    found = dataset.records[1].targets(dataset.categories).masks.bitmaps()[0]
    assert np.array_equal(found, mask_of(OBJECTS[RED], (HEIGHT, WIDTH)))


@pytest.mark.parametrize("frame", ["upright", "stored"])
def test_yolo_labels_are_upright_unless_their_owner_says_otherwise(tmp_path, frame) -> None:
    photograph(tmp_path / "images", 6)
    height, width = upright_size(6) if frame == "upright" else (HEIGHT, WIDTH)
    lines = [
        f"{label} " + " ".join(f"{x / width:.9f} {y / height:.9f}" for x, y in corners_of(mask))
        for label, mask in enumerate(masks_in(frame, 6))
    ]
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "im0.txt").write_text("\n".join(lines))
    (tmp_path / "labels" / "classes.txt").write_text("red\ngreen\n")
    options = ReadOptions(exif=None if frame == "upright" else "stored")
    dataset = read_dataset(tmp_path / "images", tmp_path / "labels", "yolo", options)
    assert_upright(dataset, f"labels-{frame}")


@pytest.mark.parametrize("has_size", [True, False])
@pytest.mark.parametrize("frame", ["upright", "stored"])
def test_labelme_files_tell_their_frame_by_size_and_are_upright_without(tmp_path, frame, has_size) -> None:
    photograph(tmp_path / "images", 8)
    shapes = [
        {"label": name, "points": corners_of(mask), "shape_type": "polygon"}
        for name, mask in zip(("red", "green"), masks_in(frame, 8), strict=True)
    ]
    height, width = upright_size(8) if frame == "upright" else (HEIGHT, WIDTH)
    size = {"imageHeight": height, "imageWidth": width} if has_size else {}
    (tmp_path / "images" / "im0.json").write_text(json.dumps({"shapes": shapes, "imagePath": "im0.png", **size}))
    options = ReadOptions(exif=None if has_size or frame == "upright" else frame)
    dataset = read_dataset(tmp_path / "images", tmp_path / "images", "labelme", options)
    assert_upright(dataset, f"labels-{frame}")


@pytest.mark.parametrize("frame", ["upright", "stored"])
@pytest.mark.parametrize("orientation", ON_THE_SIDE)
def test_pictures_of_objects_tell_their_frame_by_their_size(tmp_path, orientation, frame) -> None:
    photograph(tmp_path / "images", orientation, objects={RED: OBJECTS[RED]})
    (mask,) = masks_in(frame, orientation, {RED: OBJECTS[RED]})
    (tmp_path / "ids").mkdir()
    Image.fromarray(mask.astype(np.uint8) * 7).save(tmp_path / "ids" / "im0.png")
    (tmp_path / "masks" / "im0").mkdir(parents=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "masks" / "im0" / "a.png")
    for format_, folder in (("id_maps", "ids"), ("masks", "masks")):
        dataset = read_dataset(tmp_path / "images", tmp_path / folder, format_)
        assert [remark.kind for remark in dataset.remarks] == [f"labels-{frame}"]
        (found,) = dataset.records[0].targets(dataset.categories).masks.bitmaps()
        assert np.array_equal(found, mask_of(OBJECTS[RED], upright_size(orientation)))


@pytest.mark.parametrize("frame", ["upright", "stored"])
def test_segment_pictures_are_turned_with_their_image(tmp_path, frame) -> None:
    photograph(tmp_path / "images", 6, objects={RED: OBJECTS[RED]})
    (mask,) = masks_in(frame, 6, {RED: OBJECTS[RED]})
    colours = np.zeros((*mask.shape, 3), dtype=np.uint8)
    colours[mask] = (5, 0, 0)
    (tmp_path / "panoptic").mkdir()
    Image.fromarray(colours).save(tmp_path / "panoptic" / "im0.png")
    height, width = mask.shape
    document = {
        "images": [{"id": 1, "file_name": "im0.png", "height": height, "width": width}],
        "annotations": [{"image_id": 1, "file_name": "im0.png", "segments_info": [{"id": 5, "category_id": 1}]}],
        "categories": [{"id": 1, "name": "red", "isthing": 1}, {"id": 2, "name": "wall", "isthing": 0}],
    }
    path = tmp_path / "panoptic.json"
    path.write_text(json.dumps(document))
    (record,) = read_dataset(tmp_path / "images", path, "coco_panoptic").records
    assert record.segments is not None
    assert np.array_equal(record.segments.ids(record.size) == 5, mask_of(OBJECTS[RED], upright_size(6)))


def test_a_size_that_is_neither_is_a_defect_that_names_the_tag(tmp_path) -> None:
    path = coco(tmp_path, 6, "upright", size="upright")
    document = json.loads(path.read_text())
    document["images"][0]["width"] += 1
    path.write_text(json.dumps(document))
    (defect,) = read_with_defects(tmp_path / "images", path).defects
    assert defect.kind == "size-mismatch"
    assert "orientation tag is 6" in defect.message


def test_a_file_without_a_readable_header_is_found_before_anything_is_decoded(tmp_path) -> None:
    path = coco(tmp_path, 1, "upright", size="upright")
    (tmp_path / "images" / "im0.png").write_bytes(b"no image")
    (defect,) = read_with_defects(tmp_path / "images", path).defects
    assert defect.kind == "unreadable-image"


def test_the_check_counts_turned_images_and_says_in_which_frame_their_labels_are(tmp_path) -> None:
    path = coco(tmp_path, 6, "stored", size="stored")
    lines = check_dataset(tmp_path / "images", path).lines()
    assert any("labels-stored 1" in line for line in lines)
    assert "no defects" in lines
