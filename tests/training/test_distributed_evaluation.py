"""Several processes evaluate as one does: the same figures from run lengths and sums, and one error where one fails."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import CATEGORIES, LANDSCAPE, PORTRAIT, Arguments, evaluate_as_rank, evaluation_of, free_port

import maskwright as mw
from maskwright.config import load_recipe
from maskwright.errors import DataError, MissingDependency
from maskwright.evaluation import Metrics
from maskwright.predict.findings import Findings, find_in, joined
from maskwright.structures import Categories, CropMasks, Instances
from maskwright.structures.masks.crop import Crop
from maskwright.training.distributed import World
from maskwright.training.setup import Run, prepare_run

Training = Callable[..., Arguments]
ALONE = World(0, 1, 0)
# networks without training, which find something nevertheless, and batches that 2 and 3 processes can share
SETTINGS = {"train.batch_size": 6, "detect.score_threshold": 0.0, "detect.max_detections": 15}
STUFF = [{"id": 92, "name": "sky"}, {"id": 95, "name": "grass"}]
KEYPOINTS = {
    "keypoint_head.is_on": True,
    "keypoint_head.names": ["top", "left_side", "right_side"],
    "keypoint_head.num_convs": 1,
    "keypoint_head.channels": 8,
    "keypoint_head.min_keypoints": 0,
}
SEGMENTS = {"semantic_head.is_on": True, "semantic_head.channels": 16}


def write_images(folder: Path, count: int) -> list[dict[str, Any]]:
    """Every third image is the first one again, so that scores tie across the shares of two and of three processes."""
    folder.mkdir(parents=True)
    random, images = np.random.default_rng(3), []
    first = random.integers(0, 255, (*LANDSCAPE, 3), dtype=np.uint8)
    for number in range(count):
        size = PORTRAIT if number % 3 == 1 else LANDSCAPE
        pixels = random.integers(0, 255, (*size, 3), dtype=np.uint8) if number % 3 else first
        Image.fromarray(pixels).resize((size[1] // 8, size[0] // 8)).resize(size[::-1]).save(folder / f"{number}.png")
        # ids that are not in the order of the list
        images.append({"id": 100 - number, "file_name": f"{number}.png", "height": size[0], "width": size[1]})
    return images


def as_truth(found: Instances, image_id: int, *, has_keypoints: bool) -> list[dict[str, Any]]:
    """Every other object that was found, as an annotation; of image 100 the next ones."""
    entries = [entry for entry in found.to_coco(image_id) if entry["bbox"][2] >= 1 and entry["bbox"][3] >= 1]
    chosen = entries[image_id == 100 :: 2]
    annotations = []
    for place, entry in enumerate(chosen):
        x, y, width, height = entry["bbox"]
        points = entry["keypoints"] if has_keypoints else []
        reported = {
            "keypoints": [2 if k % 3 == 2 else v for k, v in enumerate(points)],
            "num_keypoints": len(points) // 3,
        }
        annotation = {key: entry[key] for key in ("category_id", "segmentation")}
        annotation |= {"id": 100 * image_id + place, "image_id": image_id, "iscrowd": int(place == 4)}
        annotation |= {"bbox": [x, y, width, height * (0.7 if place % 3 else 1.0)], "area": width * height}
        annotations.append(annotation | (reported if has_keypoints else {}))
    return annotations


def write_segments(folder: Path, predictor: mw.Predictor, images: list[dict[str, Any]]) -> dict[str, str]:
    """What the model makes of the pixels, as the truth, but for a window where there is sky."""
    (folder / "pictures").mkdir()
    annotations = []
    for image in images:
        found = predictor(folder / "images" / image["file_name"]).panoptic()
        ids = found.ids.copy()
        ids[8:30, 8:40] = 250
        of = {segment["id"]: segment["category_id"] for segment in found.segments} | {250: 92}
        segments = [{"id": id_, "category_id": of[id_]} for id_ in np.unique(ids).tolist() if id_]
        pixels = np.stack([ids, 0 * ids, 0 * ids], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / image["file_name"])
        annotations.append({"image_id": image["id"], "file_name": image["file_name"], "segments_info": segments})
    kinds = ((CATEGORIES, 1), (STUFF, 0))
    categories = [{**entry, "isthing": isthing} for entries, isthing in kinds for entry in entries]
    document = {"images": [], "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(document))
    return {
        "data.val.panoptic_annotations": str(folder / "panoptic.json"),
        "data.val.panoptic_images": str(folder / "pictures"),
    }


def prepared(arguments: Arguments, world: World = ALONE) -> Run:
    recipe = load_recipe(arguments["recipe"], arguments["overrides"])
    return prepare_run(recipe, Path(arguments["output"]), world, torch.device("cpu"), resume=False)


@pytest.fixture
def evaluation(
    training: Training, panoptic: dict[str, str], dataset: Path, tmp_path: Path
) -> Callable[[str, int], Callable[[str], Arguments]]:
    """Runs whose validation images hold what their random network finds, so that their figures are no zeros."""

    def runs(what: str, num_images: int) -> Callable[[str], Arguments]:
        images = write_images(tmp_path / "images", num_images)
        settings: dict[str, Any] = {**SETTINGS}
        categories = CATEGORIES
        if what == "keypoints":
            settings |= KEYPOINTS
            categories = [{**entry, "keypoints": KEYPOINTS["keypoint_head.names"]} for entry in CATEGORIES]
        if what == "segments":
            settings |= SEGMENTS | {f"data.train.panoptic_{key}": value for key, value in panoptic.items()}
            settings |= {"panoptic.score_threshold": 0.1, "panoptic.min_stuff_px": 1}
        document: dict[str, Any] = {"images": images, "annotations": [], "categories": categories}
        for part in ("train", "val") if what == "keypoints" else ("val",):
            settings |= {f"data.{part}.images": str(tmp_path / "images")}
            settings |= {f"data.{part}.annotations": str(tmp_path / "annotations.json")}
        box = {"bbox": [4, 4, 40, 40], "segmentation": [[4, 4, 44, 4, 44, 44, 4, 44]], "iscrowd": 0, "area": 1600}
        points = {"keypoints": [9, 9, 2] * 3, "num_keypoints": 3} if what == "keypoints" else {}
        anything = [{"id": n, "image_id": 100, "category_id": n, **box, **points} for n in (3, 7)]
        (tmp_path / "annotations.json").write_text(json.dumps({**document, "annotations": anything}))
        predictor = prepared(training(tmp_path / "first", settings)).predictor()
        for image in images:
            found = predictor(tmp_path / "images" / image["file_name"])
            document["annotations"] += as_truth(found, image["id"], has_keypoints=what == "keypoints")
        (tmp_path / "annotations.json").write_text(json.dumps(document))
        if what == "segments":
            settings |= write_segments(tmp_path, predictor, images)
        return lambda name: training(tmp_path / name, settings)

    return runs


def by_processes(processes: ForkServerContext, size: int, arguments: Arguments) -> list[dict[str, Any]]:
    """What each process has after an evaluation by several."""
    port = free_port()
    ranks = [processes.Process(target=evaluate_as_rank, args=(rank, port, size, arguments)) for rank in range(size)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0] * size
    output = Path(arguments["output"])
    return [json.loads(output.with_name(f"{output.name}.rank{rank}.json").read_text()) for rank in range(size)]


def assert_same(shared: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    """The main process's figures are those of one process, bit for bit but for sums of IoUs, whose order counts."""
    main, *others = shared
    assert main["losses"] == alone["losses"]
    assert all(other == {"metrics": None, "losses": main["losses"]} for other in others)
    qualities, expected = main["metrics"].pop("panoptic", None), alone["metrics"].pop("panoptic", None)
    assert main["metrics"] == alone["metrics"]
    assert (qualities is None) == (expected is None)
    if qualities is not None:
        assert Metrics(qualities).flat() == pytest.approx(Metrics(expected).flat(), abs=1e-15, nan_ok=True)


CASES = [("masks", 2, 7), ("keypoints", 3, 4), ("segments", 3, 2)]  # the last leaves one process without an image
MORE = [pytest.param(*case, marks=pytest.mark.slow) for case in (("masks", 3, 7), ("masks", 3, 2), ("segments", 2, 5))]


@pytest.mark.parametrize(("what", "size", "num_images"), [*CASES, *MORE])
def test_several_processes_measure_what_one_does(
    what: str,
    size: int,
    num_images: int,
    evaluation: Callable[[str, int], Callable[[str], Arguments]],
    processes: ForkServerContext,
) -> None:
    run = evaluation(what, num_images)
    alone = evaluation_of(run("alone"), ALONE)
    groups = {"masks": ["mask.AP", "box.AP"], "keypoints": ["keypoints.AP"], "segments": ["panoptic.PQ"]}[what]
    for name in [*groups, *(["semantic.mIoU"] if what == "segments" else [])]:
        assert 0 < Metrics(alone["metrics"]).lookup(name) < 1, f"{name} tells nothing; choose other images"
    assert_same(by_processes(processes, size, run("shared")), alone)


def test_results_are_in_the_order_of_the_images_whoever_found_them(training: Training, tmp_path: Path) -> None:
    run = prepared(training(tmp_path / "run", SETTINGS, validates=True))
    assert run.validation is not None
    whole, records = run.validation.dataset, run.validation.dataset.records
    alone = find_in(run.predictor(), whole, 5)
    shares = []
    for rank in range(3):
        ids = {record.id for record in records[rank::3]}
        shares.append(Findings([entry for entry in alone.results if entry["image_id"] in ids], None, float(rank)))
    found = joined(shares, whole)
    assert found.results == alone.results
    assert found.seconds == 2.0


# where one process fails


@pytest.mark.parametrize("place", [0, 1])
def test_an_error_of_one_process_is_the_error_of_all_and_reported_once(
    place: int,
    evaluation: Callable[[str, int], Callable[[str], Arguments]],
    processes: ForkServerContext,
    tmp_path: Path,
) -> None:
    run = evaluation("masks", 4)
    cut_off(tmp_path / "images" / f"{place}.png")
    with pytest.raises(DataError, match=f"{place}.png") as alone:
        evaluation_of(run("alone"), ALONE)
    for rank, outcome in enumerate(by_processes(processes, 2, run("shared"))):
        assert outcome == {"error": str(alone.value), "kind": "DataError", "is_reported_elsewhere": rank > 0}


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


@pytest.mark.parametrize("error", [DataError("3.png is cut off"), MissingDependency("onnx", "export")])
def test_errors_go_from_process_to_process(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["val", "train"])
def test_a_run_under_torchrun_ends_with_one_message(
    part: str, evaluation: Callable[[str, int], Callable[[str], Arguments]], tmp_path: Path
) -> None:
    arguments = evaluation("masks", 4)("run")
    for key in ("images", "annotations"):
        arguments["overrides"][f"data.{part}.{key}"] = arguments["overrides"][f"data.val.{key}"]
    cut_off(tmp_path / "images" / "1.png")
    words = [
        f"{key}={json.dumps(value) if value is not None else 'null'}" for key, value in arguments["overrides"].items()
    ]
    outcome = by_torchrun(
        "train", arguments["recipe"], *words, "train.iterations=1", "--device", "cpu", "--output", arguments["output"]
    )
    assert outcome.returncode != 0
    messages = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
    assert len(messages) == 1
    assert "1.png" in messages[0]
    assert "maskwright/cli" not in outcome.stderr  # no traceback but torchrun's own
    # torchrun stops the processes that are still ending when it sees the first one ended
    codes = re.findall(r"exitcode  : (-?\d+)", outcome.stderr)
    assert "2" in codes and set(codes) <= {"2", "-15"}


@pytest.mark.slow
def test_a_command_whose_work_is_not_shared_is_refused_under_torchrun(training: Training, tmp_path: Path) -> None:
    arguments = training(tmp_path / "run", validates=True)
    data = [f"--{key}={arguments['overrides'][f'data.val.{key}']}" for key in ("images", "annotations")]
    outcome = by_torchrun("evaluate", "--model", arguments["recipe"], *data, "--output", str(tmp_path / "out"))
    assert "error: several processes (WORLD_SIZE=2) would each do all of `maskwright evaluate`" in outcome.stderr
    assert not (tmp_path / "out").exists()


def by_torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    return subprocess.run([*torchrun, "-m", "maskwright", *words], capture_output=True, text=True, check=False)


# what is exchanged


def test_findings_are_of_the_size_of_their_run_lengths_whatever_the_size_of_the_image() -> None:
    side, count = 8000, 200
    whole = sum(len(pickle.dumps(findings_of(side, count, seed))) for seed in range(2))
    assert whole < 2 * count * 1000  # run lengths of 40 rows or so, and the rest of an entry; a bitmap has 64 million
    assert whole == pytest.approx(sum(len(pickle.dumps(findings_of(1000, count, seed))) for seed in range(2)), rel=0.05)


def findings_of(side: int, count: int, seed: int) -> Findings:
    """Discs of 40 pixels somewhere in a square image."""
    draws = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :40] - 19.5
    disc = rows**2 + columns**2 <= 400
    corners = draws.integers(0, side - 40, (count, 2))
    boxes = torch.from_numpy(np.concatenate([corners, corners + 40], axis=1)).float()
    masks = CropMasks.from_crops([Crop(disc, int(top), int(left)) for left, top in corners], (side, side))
    labels, scores = torch.zeros(count, dtype=torch.long), torch.linspace(1, 0.1, count)
    instances = Instances((side, side), boxes, labels, scores, masks, Categories(("disc",), (1,)))
    return Findings(instances.to_coco(1), None, 0.0)
