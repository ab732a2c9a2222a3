"""Cases of datasets: a small sound one in each format, damaged, read, checked, and used as training and evaluation do.

What `data check` finds no defect in, targets and evaluation must take.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from mutations import damaged, mutated, of_xml, retokened, to_json
from PIL import Image
from trial import Case, message_flaw

from maskwright.data.doctor import check_dataset
from maskwright.data.readers import READERS, read_with_defects
from maskwright.data.writers import WRITERS, write_dataset
from maskwright.errors import MaskwrightError, printable
from maskwright.evaluation import evaluate_results
from maskwright.structures.masks.rle import any_to_rle

HEIGHT, WIDTH = 64, 96
_JSON, _XML = (".json", ".geojson"), (".xml",)
_IMAGES = (".png", ".jpg", ".tif", ".npy")


class LawBroken(Exception):
    """A part of maskwright refuses what another part found sound."""


class Sound(NamedTuple):
    """A dataset that is read without a defect: its folder, and what to give as images and annotations in it."""

    format: str
    folder: Path
    images: Path
    annotations: Path


def coco_document() -> dict[str, Any]:
    """Polygons, run lengths of both kinds, a crowd, keypoints, and an image without objects."""
    box = {"iscrowd": 0, "bbox": [10, 12, 20, 16], "area": 320.0}
    outline = [[10, 12, 30, 12, 30, 28, 10, 28]]
    counts = [10 * HEIGHT + 12, *[16, HEIGHT - 16] * 19, 16]
    counts.append(HEIGHT * WIDTH - sum(counts))
    rle = {"size": [HEIGHT, WIDTH], "counts": counts}
    packed = any_to_rle(rle, (HEIGHT, WIDTH))
    points = {"keypoints": [12, 14, 2, 20, 20, 1, 0, 0, 0], "num_keypoints": 2}
    shapes = [outline, packed, rle, [*outline, [40.5, 30, 60, 30, 50, 50]]]
    objects = [{**box, **points, "segmentation": shape} for shape in shapes]
    for number, entry in enumerate([*objects, *objects], start=1):
        entry |= {"id": number, "image_id": 1 + number % 3, "category_id": 1 + number % 2}
    crowd = {**objects[2], "id": 9, "iscrowd": 1}
    names = {"keypoints": ["nose", "eye", "tail"], "skeleton": [[1, 2]]}
    return {
        "info": {"year": 2026},
        "images": [{"id": n, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for n in range(1, 5)],
        "annotations": [*objects, crowd],
        "categories": [{"id": 1, "name": "cat", **names}, {"id": 2, "name": "dog", **names}],
    }


def write_sound(root: Path, field: Path | None) -> None:
    """Sound datasets of every format that is written, and those in `field` that some reader takes, with their index."""
    coco = root / "coco"
    (coco / "images").mkdir(parents=True)
    noise = np.random.default_rng(0)
    for number in range(1, 5):
        Image.fromarray(noise.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)).save(coco / "images" / f"{number}.png")
    (coco / "annotations.json").write_text(json.dumps(coco_document()))
    rows = [("coco", "coco", "images", "annotations.json")]
    dataset = read_with_defects(coco / "images", coco / "annotations.json", "coco")
    for format_ in sorted(WRITERS.keys() - {"coco"}):
        written = write_dataset(dataset, root / format_, format_)
        places = (path.relative_to(root / format_).as_posix() for path in (written.images, written.annotations))
        rows.append((format_, format_, *places))
    for folder in sorted(field.iterdir()) if field is not None else ():
        rows += _readable(folder, root)
    (root / "index.json").write_text(json.dumps(rows))


def _readable(folder: Path, root: Path) -> list[tuple[str, str, str, str]]:
    """A dataset that was brought along, in the formats that read it."""
    images = folder / "images"
    if not images.is_dir():
        return []
    rows = []
    for labels in sorted(path for path in folder.iterdir() if path != images):
        for format_ in sorted(READERS):
            try:
                found = read_with_defects(images, labels, format_)
            except MaskwrightError:
                continue
            if any(record.annotations for record in found.records):
                shutil.copytree(folder, root / folder.name, dirs_exist_ok=True)
                rows.append((format_, folder.name, "images", labels.name))
    return rows


def sound_ones(root: Path) -> list[Sound]:
    """What `write_sound` left."""
    return [
        Sound(format_, root / name, Path(images), Path(annotations))
        for format_, name, images, annotations in json.loads((root / "index.json").read_text())
    ]


def coco_cases(root: Path, seed: int, count: int) -> Iterator[Case]:
    """COCO files only."""
    sound = sound_ones(root)[0]
    for number in range(count):
        yield f"coco {seed}:{number}", partial(_run, sound, f"coco {seed}:{number}", root)


def format_cases(root: Path, seed: int, count: int) -> Iterator[Case]:
    """All other formats in turn."""
    others = sound_ones(root)[1:]
    for number in range(count):
        sound = others[number % len(others)]
        name = f"{sound.format} {seed}:{number}"
        yield f"formats {seed}:{number} ({sound.format}, {sound.folder.name})", partial(_run, sound, name, root)


def _run(sound: Sound, name: str, root: Path) -> None:
    rng = Random(name)  # noqa: S311 - reproducible, not secret
    with tempfile.TemporaryDirectory(dir=root) as place:
        folder = Path(place) / "dataset"
        shutil.copytree(sound.folder, folder)
        _damage(folder, sound, rng)
        _use(folder / sound.images, folder / sound.annotations, sound.format, is_raw_coco=sound.format == "coco")


def _damage(folder: Path, sound: Sound, rng: Random) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    images = [path for path in files if (folder / sound.images) in path.parents]
    labels = [path for path in files if path not in images] or files
    target = rng.choice(images if rng.random() < 0.08 and images else labels)
    way = rng.random()
    if way < 0.02:
        target.unlink()
    elif way < 0.04:
        target.unlink()
        target.mkdir()
    elif way < 0.06:
        target.write_bytes(rng.choice(files).read_bytes())
    else:
        _damage_file(target, rng)


def _damage_file(path: Path, rng: Random) -> None:
    data = path.read_bytes()
    change = _CHANGES.get(path.suffix.lower())
    if change is None or rng.random() < 0.12:
        path.write_bytes(damaged(data, rng))
        return
    path.write_bytes(change(data, rng))


def _json_bytes(data: bytes, rng: Random) -> bytes:
    return to_json(mutated(json.loads(data), rng)).encode("utf-8", "surrogatepass")


def _xml_bytes(data: bytes, rng: Random) -> bytes:
    return of_xml(data.decode(errors="surrogateescape"), rng).encode(errors="surrogateescape")


def _text_bytes(data: bytes, rng: Random) -> bytes:
    return retokened(data.decode(errors="surrogateescape"), rng).encode(errors="surrogateescape")


_CHANGES: dict[str, Callable[[bytes, Random], bytes]] = {
    **dict.fromkeys(_JSON, _json_bytes),
    **dict.fromkeys(_XML, _xml_bytes),
    **dict.fromkeys((".txt", ".yaml", ".csv", ".ndjson"), _text_bytes),
}


def _use(images: Path, annotations: Path, format_: str, *, is_raw_coco: bool) -> None:
    """As a user does: check, train, evaluate."""
    report = check_dataset(images, annotations, format_)
    for line in map(printable, report.lines()):
        if flaw := message_flaw(line):
            raise LawBroken(f"in the report: {flaw}")
    dataset = read_with_defects(images, annotations, format_)
    results = []
    try:
        for record in dataset.records:
            targets = record.targets(dataset.categories)
            targets.masks.boxes()
            results += _results(record.annotations, record.size, record.id)
        if dataset.records:
            evaluate_results(results, dataset.to_coco())
        if is_raw_coco and report.is_clean and not report.remarks:
            evaluate_results([], annotations)
    except MaskwrightError as error:
        raise LawBroken(f"checked, and refused: {error}") from error


def _results(objects: Any, size: tuple[int, int], image_id: int) -> list[dict[str, Any]]:
    entries = []
    for place, annotation in enumerate(objects):
        entry = {"image_id": image_id, "category_id": annotation["category_id"], "bbox": list(annotation["bbox"])}
        entry["score"] = 1 / (1 + place)
        entry["segmentation"] = any_to_rle(annotation["segmentation"], size)
        entries.append(entry)
    return entries
