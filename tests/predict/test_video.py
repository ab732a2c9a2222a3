"""Videos through a network: in order, overlapping, in bounded memory, and whole whatever happens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maskwright.config import load_recipe
from maskwright.errors import ConfigError, DataError, OutputError
from maskwright.images.preprocess import Preprocess
from maskwright.images.read import ahead
from maskwright.images.video import Camera, Frame, read_frames
from maskwright.predict import video
from maskwright.predict.video import behind, detect_frames
from maskwright.predict.writing import PREDICTIONS, claim_output, predict_files
from maskwright.structures import Categories, Instances

CATEGORIES = Categories(("cell",), (7,))


class TwoBoxes:
    """Stands for a predictor: finds two objects everywhere."""

    categories = CATEGORIES
    preprocess = Preprocess.of(load_recipe("mask_rcnn"))
    num_calls = 0
    fails_at = 0
    error: type[BaseException] = KeyboardInterrupt

    def __call__(self, image, *_):
        self.num_calls += 1
        if self.num_calls == self.fails_at:
            raise self.error
        return Instances(
            size=tuple(image.shape[1:]),
            boxes=torch.tensor([[1.0, 2.0, 30.0, 40.0]]).repeat(2, 1),
            labels=torch.zeros(2, dtype=torch.int64),
            scores=torch.full((2,), 0.9),
            masks=None,
            categories=CATEGORIES,
        )


def frames_of(count: int) -> Iterator[Frame]:
    return (
        Frame(index, index / 10, torch.full((3, 48, 64), 10 * index % 256, dtype=torch.uint8)) for index in range(count)
    )


def played(path: Path) -> list[Frame]:
    return list(read_frames(path))


def content(output: Path) -> dict:
    return json.loads((output / PREDICTIONS).read_text())


def threads() -> int:
    return sum(thread.name.startswith("ThreadPool") for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threads()
    yield
    assert threads() == before


@pytest.fixture
def output(tmp_path) -> Path:
    claim_output(tmp_path / "out", PREDICTIONS)
    return tmp_path / "out"


# the two ways to work in another thread


@given(st.lists(st.integers()))
def test_ahead_and_behind_give_the_same_items_in_their_order(items) -> None:
    worked = []
    assert list(behind(ahead(iter(items)), worked.append)) == worked == items


def test_items_are_made_ahead_but_only_a_few() -> None:
    made = []
    taken = ahead(iter([made.append(number) or number for number in range(3)]))
    taken.close()
    source = (made.append(number) or number for number in range(100))
    made.clear()
    items = ahead(source)
    for number in range(10):
        assert next(items) == number
        assert len(made) <= number + 1 + video.IN_FLIGHT
    items.close()
    num_made = len(made)
    assert num_made < 20
    assert next(source) == num_made  # no thread works on it any more


def test_an_error_of_the_maker_comes_once_and_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise DataError("broken")

    made = ahead(items())
    assert [next(made), next(made)] == [1, 2]
    with pytest.raises(DataError, match="broken"):
        next(made)
    assert list(made) == []


def test_work_is_behind_but_only_a_little() -> None:
    may_go_on, worked = threading.Event(), []

    def work(item: int) -> None:
        may_go_on.wait(10)
        worked.append(item)

    items = behind(iter(range(100)), work)
    assert [next(items) for _ in range(video.IN_FLIGHT)] == list(range(video.IN_FLIGHT))
    assert worked == []
    may_go_on.set()
    assert next(items) == video.IN_FLIGHT
    items.close()
    assert worked == list(range(video.IN_FLIGHT + 1))


def fails_from_two_on(item: int) -> None:
    if item >= 2:
        raise OutputError(f"full at {item}")


def test_the_first_error_of_the_work_comes_once() -> None:
    items = behind(iter(range(100)), fails_from_two_on)
    taken = []
    with pytest.raises(OutputError, match="full at 2"):
        taken.extend(items)
    assert list(items) == []


def test_an_error_of_the_work_comes_even_when_the_items_are_left_early() -> None:
    items = behind(iter(range(100)), fails_from_two_on)
    assert [next(items), next(items), next(items)] == [0, 1, 2]
    with pytest.raises(OutputError, match="full at 2"):
        items.close()


# the pipeline


def test_decoding_the_network_and_drawing_overlap(tmp_path, monkeypatch) -> None:
    """Each stage waits until the other two have come somewhere else; one after the other, they would wait for ever."""
    decoded, drawn, draw = [threading.Event() for _ in range(9)], threading.Event(), video._draw
    stages: dict[str, int] = {}

    def frames() -> Iterator[Frame]:
        for frame in frames_of(9):
            stages["decoding"] = threading.get_ident()
            decoded[frame.index].set()
            yield frame

    def detect(pixels: torch.Tensor) -> Instances:
        stages["network"] = threading.get_ident()
        index = int(pixels[0, 0, 0]) // 10
        assert index == 8 or decoded[index + 1].wait(10)
        assert index < 2 or drawn.wait(10)
        return TwoBoxes()(pixels)

    def draw_and_tell(*arguments: object) -> None:
        stages["drawing"] = threading.get_ident()
        draw(*arguments)
        drawn.set()

    monkeypatch.setattr(video, "_draw", draw_and_tell)
    assert len(list(detect_frames(detect, frames(), tmp_path / "clip.mp4"))) == 9
    assert len(set(stages.values())) == 3
    assert stages["network"] == threading.get_ident()


def test_results_are_those_of_the_frames_one_by_one(tmp_path) -> None:
    results = list(detect_frames(TwoBoxes(), frames_of(7), tmp_path / "clip.mp4"))
    assert [frame.index for frame, _ in results] == list(range(7))
    assert [frame.seconds for frame in played(tmp_path / "clip.mp4")] == pytest.approx([i / 10 for i in range(7)])
    assert [len(found.instances) for _, found in detect_frames(TwoBoxes(), frames_of(7))] == [2] * 7


@pytest.mark.parametrize("num_taken", [0, 1, 2, 7, 30])
def test_closing_early_leaves_a_video_of_the_frames_so_far(tmp_path, num_taken) -> None:
    results = detect_frames(TwoBoxes(), frames_of(1000), tmp_path / "clip.mp4")
    for _ in range(num_taken):
        next(results)
    results.close()
    assert num_taken == 0 or len(played(tmp_path / "clip.mp4")) == num_taken


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConfigError])
def test_an_error_of_the_network_leaves_a_video_of_the_frames_so_far(tmp_path, error) -> None:
    detect = TwoBoxes()
    detect.fails_at, detect.error = 6, error
    with pytest.raises(error):
        list(detect_frames(detect, frames_of(1000), tmp_path / "clip.mp4"))
    assert len(played(tmp_path / "clip.mp4")) == 5


def test_an_error_of_drawing_surfaces_and_stops_the_network(tmp_path, monkeypatch) -> None:
    def draw(writer, drawn) -> None:
        raise OutputError(f"frame {drawn[0].index} is too much")

    monkeypatch.setattr(video, "_draw", draw)
    detect = TwoBoxes()
    with pytest.raises(OutputError, match="frame 0 is too much"):
        list(detect_frames(detect, frames_of(1000), tmp_path / "clip.mp4"))
    assert detect.num_calls <= 1 + video.IN_FLIGHT


# what prediction leaves on disk


def test_a_video_is_a_dataset_of_its_frames(write_video, tmp_path, output) -> None:
    path = write_video(tmp_path / "clip.mp4", 4, seconds=[0, 0.1, 0.5, 0.6])
    outcomes = list(predict_files(TwoBoxes(), [path], output))
    assert [(outcome.source, outcome.num_objects, outcome.error) for outcome in outcomes] == [(path, 2, None)] * 4
    found = content(output)
    assert found["images"][2] == {
        "id": 3, "file_name": "clip.mp4#000002", "height": 48, "width": 64, "frame": 2, "seconds": 0.5,
    }  # fmt: skip
    assert [entry["image_id"] for entry in found["annotations"]] == [1, 1, 2, 2, 3, 3, 4, 4]
    overlay = played(output / "overlays" / "clip.mp4")
    assert [frame.seconds for frame in overlay] == pytest.approx([0, 0.1, 0.5, 0.6])
    grey = overlay[0].pixels.float()
    assert (grey.amax(0) - grey.amin(0)).max() > 60  # something coloured is drawn on it
    assert sorted(path.name for path in output.iterdir()) == ["overlays", PREDICTIONS]


def test_images_and_videos_share_a_dataset_in_their_order(write_video, tmp_path, output) -> None:
    sources = [tmp_path / name for name in ("1.png", "a/clip.mp4", "2.png", "b/clip.mp4", "b/clip.mkv")]
    for source in sources:
        source.parent.mkdir(exist_ok=True)
        if source.suffix == ".png":
            Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(source)
        else:
            write_video(source, 2)
    assert all(outcome.error is None for outcome in predict_files(TwoBoxes(), sources, output))
    assert [image["file_name"] for image in content(output)["images"]] == [
        "1.png", "a/clip.mp4#000000", "a/clip.mp4#000001", "2.png",
        "b/clip.mp4#000000", "b/clip.mp4#000001", "b/clip.mkv#000000", "b/clip.mkv#000001",
    ]  # fmt: skip
    names = sorted(path.name for path in (output / "overlays").iterdir())
    assert names == ["1.png", "2.png", "a_clip.mp4", "b_clip-2.mp4", "b_clip.mp4"]
    assert all(len(played(output / "overlays" / name)) == 2 for name in names if name.endswith("mp4"))


def test_videos_of_an_earlier_call_are_removed_and_none_is_written_unasked(write_video, tmp_path, output) -> None:
    for name in ("one", "two"):
        list(predict_files(TwoBoxes(), [write_video(tmp_path / f"{name}.mp4", 2)], output))
    assert [path.name for path in (output / "overlays").iterdir()] == ["two.mp4"]
    claim_output(tmp_path / "bare", PREDICTIONS)
    list(predict_files(TwoBoxes(), [tmp_path / "one.mp4"], tmp_path / "bare", has_overlays=False))
    assert [path.name for path in (tmp_path / "bare").iterdir()] == [PREDICTIONS]


def test_a_limit_holds_for_each_video(write_video, tmp_path, output) -> None:
    sources = [write_video(tmp_path / f"{name}.mp4", count) for name, count in (("a", 9), ("b", 2))]
    assert len(list(predict_files(TwoBoxes(), sources, output, most_frames=3))) == 5
    assert [len(played(output / "overlays" / f"{name}.mp4")) for name in "ab"] == [3, 2]


def test_a_broken_video_is_told_after_its_good_frames_and_the_others_go_on(write_video, tmp_path, output) -> None:
    pictures = list(np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8))
    broken = write_video(tmp_path / "broken.mp4", pictures=pictures, options={"movflags": "faststart"})
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    (tmp_path / "none.mp4").write_text("no video")
    good = write_video(tmp_path / "good.mp4", 3)
    outcomes = list(predict_files(TwoBoxes(), [broken, tmp_path / "none.mp4", Camera(9876), good], output))
    errors = [str(outcome.error) for outcome in outcomes if outcome.error]
    parts = ("broken.mp4 is damaged or cut off near", "none.mp4 is no video", "camera:9876 cannot be opened")
    assert [part in error for part, error in zip(parts, errors, strict=True)] == [True] * 3
    num_good = len(outcomes) - 3
    assert 8 < num_good < 33
    assert len(content(output)["images"]) == num_good
    assert sorted(path.name for path in (output / "overlays").iterdir()) == ["broken.mp4", "good.mp4"]
    assert len(played(output / "overlays" / "broken.mp4")) == num_good - 3


@pytest.mark.parametrize("num_taken", [1, 5, 12, 14])
def test_stopping_early_leaves_whole_files_of_the_same_frames(write_video, tmp_path, output, num_taken) -> None:
    sources = [write_video(tmp_path / "a.mp4"), write_video(tmp_path / "b.mp4")]
    outcomes = predict_files(TwoBoxes(), sources, output)
    for _ in range(num_taken):
        next(outcomes)
    outcomes.close()
    found = content(output)
    assert (len(found["images"]), len(found["annotations"])) == (num_taken, 2 * num_taken)
    assert sum(len(played(path)) for path in (output / "overlays").iterdir()) == num_taken
    assert sorted(path.name for path in output.iterdir()) == ["overlays", PREDICTIONS]


def test_an_interruption_leaves_whole_files_of_the_same_frames(write_video, tmp_path, output) -> None:
    predictor = TwoBoxes()
    predictor.fails_at = 8
    with pytest.raises(KeyboardInterrupt):
        list(predict_files(predictor, [write_video(tmp_path / "a.mp4")], output))
    assert len(content(output)["images"]) == len(played(output / "overlays" / "a.mp4")) == 7


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_stops_the_network_with_one_error(tmp_path) -> None:
    (tmp_path / "clip.mp4").symlink_to("/dev/full")
    detect = TwoBoxes()
    with pytest.raises(OutputError, match=r"clip.mp4 cannot be written \(No space left"):
        list(detect_frames(detect, frames_of(25), tmp_path / "clip.mp4"))
    assert detect.num_calls < 10
