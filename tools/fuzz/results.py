"""Cases of COCO results lists: a sound list or its annotations, damaged, measured by every rule that takes them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from annotations import HEIGHT, WIDTH, coco_document
from mutations import damaged, mutated, to_json
from trial import Case

from maskwright.errors import MaskwrightError
from maskwright.evaluation import Comparison, evaluate_boundary, evaluate_results
from maskwright.evaluation.errors import analyse_errors
from maskwright.structures.masks.rle import any_to_rle


def cases(root: Path, seed: int, count: int) -> Iterator[Case]:
    """Files of results beside files of annotations."""
    for number in range(count):
        yield f"results {seed}:{number}", partial(_run, f"results {seed}:{number}", root)


def _run(name: str, root: Path) -> None:
    rng = Random(name)  # noqa: S311 - reproducible, not secret
    dataset, results = coco_document(), _sound_results()
    if rng.random() < 0.8:
        results = mutated(results, rng)
    else:
        dataset = mutated(dataset, rng)
    paths = [root / f"{name.replace(':', '-')}-{side}.json" for side in ("results", "annotations")]
    for path, content in zip(paths, (results, dataset), strict=True):
        data = to_json(content).encode("utf-8", "surrogatepass")
        path.write_bytes(damaged(data, rng) if rng.random() < 0.1 else data)
    errors = []
    for measure in (evaluate_results, _boundary, _errors):
        try:
            measure(*paths)
        except MaskwrightError as error:
            errors.append(error)
    for path in paths:
        path.unlink()
    if errors:
        raise errors[0]


def _boundary(results: Path, annotations: Path) -> None:
    evaluate_boundary(Comparison.of(results, annotations))


def _errors(results: Path, annotations: Path) -> None:
    comparison = Comparison.of(results, annotations)
    for kind in ("box", "mask", "keypoints"):
        analyse_errors(comparison, kind)


def _sound_results() -> list[dict[str, Any]]:
    results = []
    for index, entry in enumerate(coco_document()["annotations"]):
        kept = {key: entry[key] for key in ("image_id", "category_id", "bbox", "keypoints")}
        rle = any_to_rle(entry["segmentation"], (HEIGHT, WIDTH))
        results.append({**kept, "segmentation": rle, "score": 1 / (1 + index)})
    return results
