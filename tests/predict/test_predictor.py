"""A predictor: whatever an image comes as, the same instances, in pixels of that image."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import maskwright as mw
from maskwright.errors import ConfigError, DataError
from maskwright.images.read import read_image
from maskwright.predict.device import choose_device

SIZE = (50, 90)  # resized to 64 × 115: neither side keeps its length


@pytest.fixture(scope="module")
def predictor(tiny_network) -> mw.Predictor:
    predictor = mw.load("mask_rcnn", weights="random", device="cpu", overrides=tiny_network)
    with torch.no_grad():  # weights that give scores and boxes some spread
        predictor.model.box_head.class_logits.weight.mul_(50)
        predictor.model.box_head.deltas.weight.mul_(100)
    return predictor


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(*SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def other_pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, size=(70, 40, 3), dtype=np.uint8)


@pytest.fixture
def path(pixels, tmp_path) -> Path:
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def assert_alike(found: mw.Instances, wanted: mw.Instances) -> None:
    """Equal but for the order of summation, which may depend on how many images are computed together."""
    assert found.labels.tolist() == wanted.labels.tolist()
    torch.testing.assert_close(found.boxes, wanted.boxes, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.scores, wanted.scores, rtol=0, atol=1e-5)


def assert_same(found: mw.Instances, wanted: mw.Instances) -> None:
    assert found.size == wanted.size
    assert torch.equal(found.boxes, wanted.boxes)
    assert torch.equal(found.labels, wanted.labels)
    assert torch.equal(found.scores, wanted.scores)
    assert found.masks.rle() == wanted.masks.rle()


def test_every_kind_of_input_gives_the_same(predictor, pixels, path) -> None:
    wanted = predictor(path)
    assert len(wanted) > 10
    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    inputs = {
        "path as text": str(path),
        "bytes": encoded.getvalue(),
        "PIL": Image.fromarray(pixels),
        "array": pixels,
        "array with strides": np.asfortranarray(pixels),
        "tensor": torch.from_numpy(pixels).permute(2, 0, 1),
        "tensor with channels last": torch.from_numpy(pixels),
    }
    for image in inputs.values():
        assert_same(predictor(image), wanted)


def test_a_list_of_equal_sizes_gives_what_its_images_give_one_by_one(predictor, pixels) -> None:
    images = [np.roll(pixels, shift, axis=1) for shift in (0, 9, 20, 31, 40)]
    together = predictor(images)
    assert isinstance(together, list) and len(together) == 5
    for found, image in zip(together, images, strict=True):
        assert_alike(found, predictor(image))
    assert all(isinstance(found, mw.Instances) for found in predictor(tuple(images[:2])))


def test_an_answer_does_not_depend_on_its_neighbours(predictor, pixels, other_pixels) -> None:
    images = [pixels, other_pixels, pixels[::-1], other_pixels[:, :30], pixels[:, ::-1]]
    together = predictor(images)
    for found, image in zip(together, images, strict=True):
        assert_alike(found, predictor(image))
    for found, image in zip(predictor.stream(images, batch_size=5), images, strict=True):
        assert_alike(found, predictor(image))


def test_images_of_a_list_are_padded_to_one_size_as_in_the_originals_where_asked(
    predictor, tiny_network, pixels, other_pixels
) -> None:
    padding = mw.load("mask_rcnn", "random", "cpu", {**tiny_network, "resize.pads_batches": True})
    padding.model.load_state_dict(predictor.model.state_dict())
    together = padding([pixels, other_pixels])
    batch = padding.preprocess.batch([read_image(image) for image in (pixels, other_pixels)])
    with torch.inference_mode():
        alike = padding.model.detect(batch)
    assert [len(found) for found in together] == [len(found) for found in alike]
    assert torch.equal(together[1].scores, alike[1].scores)
    assert not torch.equal(together[1].scores, predictor(other_pixels).scores)


def test_a_stream_gives_what_its_images_give_one_by_one(predictor, pixels, other_pixels) -> None:
    for found, image in zip(predictor.stream([pixels, other_pixels]), [pixels, other_pixels], strict=True):
        assert_same(found, predictor(image))


def test_an_empty_list_gives_an_empty_list(predictor) -> None:
    for nothing in ([], ()):
        for way in (predictor, predictor.tiled(32), predictor.augmented(), predictor.augmented().tiled(32)):
            assert way(nothing) == []


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0)], ids=["channels first", "channels last"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tensor_may_have_its_channels_first_or_last(predictor, pixels, axes, channels) -> None:
    image = np.concatenate([pixels, pixels[..., :1]], axis=2)[..., :channels].transpose(2, 0, 1)
    wanted = predictor(torch.from_numpy(image.copy()))
    found = predictor(torch.from_numpy(np.ascontiguousarray(image.transpose(axes))))
    assert found.size == SIZE
    assert_same(found, wanted)


def test_a_predictor_moves_to_another_device_and_those_made_from_it_with_it(predictor, pixels) -> None:
    augmented = predictor.augmented()
    assert predictor.to("cpu") is predictor
    assert predictor.to(torch.device("cpu")).device == augmented.device == torch.device("cpu")
    assert len(predictor(pixels)) > 0
    with pytest.raises(ConfigError, match="device 'gpu' cannot be used"):
        predictor.to("gpu")


def test_results_are_in_pixels_of_the_image_as_given(predictor, pixels) -> None:
    found = predictor(pixels)
    height, width = SIZE
    assert found.size == found.masks.size == SIZE
    assert found.boxes.min() >= 0
    assert found.boxes[:, 2].max() <= width and found.boxes[:, 3].max() <= height
    assert found.boxes[:, 2].max() > 0.8 * width  # not those of a smaller input
    assert found.masks.bitmaps().shape == (len(found), *SIZE)


def test_results_are_plain_sorted_and_on_the_cpu(predictor, pixels) -> None:
    found = predictor(pixels)
    assert (found.scores.diff() <= 0).all()
    assert (found.boxes.dtype, found.labels.dtype, found.scores.dtype) == (torch.float32, torch.int64, torch.float32)
    assert {found.boxes.device.type, found.masks.probabilities.device.type} == {"cpu"}
    assert not found.boxes.requires_grad
    assert tuple(found.categories) == tuple(predictor.categories) == ("brick", "egg", "star")


def test_without_a_threshold_the_recipes_own_holds(predictor, pixels) -> None:
    own = predictor.recipe.detect
    found = predictor(pixels)
    assert found.scores.min() > own.score_threshold
    assert len(found) <= own.max_detections == predictor.max_detections
    assert_same(found, predictor(pixels, own.score_threshold, own.max_detections))


def test_a_higher_threshold_keeps_what_scores_above_it(predictor, pixels) -> None:
    found = predictor(pixels)
    threshold = found.scores[len(found) // 2].item()
    strict = predictor(pixels, score_threshold=threshold)
    assert len(strict) <= len(found) // 2
    assert_same(strict, found.above(threshold))


def test_a_lower_threshold_than_the_recipes_finds_more(tiny_network, pixels) -> None:
    strict = mw.load("mask_rcnn", "random", "cpu", {**tiny_network, "detect.score_threshold": 0.9})
    assert len(strict(pixels)) == 0
    assert len(strict(pixels, score_threshold=0.05)) > 0


def test_limit_keeps_the_best_and_may_exceed_the_recipes(predictor, tiny_network, pixels) -> None:
    everything = predictor(pixels)
    assert_same(predictor(pixels, max_detections=3), everything[:3])
    few = mw.load("mask_rcnn", "random", "cpu", {**tiny_network, "detect.max_detections": 2})
    assert (len(few(pixels)), len(few(pixels, max_detections=9))) == (2, 9)
    assert few.max_detections == 2


def test_thresholds_reach_every_image_of_a_list(predictor, pixels) -> None:
    assert [len(found) for found in predictor([pixels, pixels], max_detections=1)] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score_threshold": -0.1}, "score_threshold is -0.1; give a number from 0 to 1"),
        ({"score_threshold": 50}, "score_threshold is 50; give a number from 0 to 1"),
        ({"score_threshold": float("nan")}, "score_threshold is nan"),
        ({"max_detections": 0}, "max_detections is 0; give at least 1"),
        ({"max_detections": -3}, "max_detections is -3"),
    ],
)
def test_limits_without_sense_are_refused(predictor, pixels, arguments, message) -> None:
    with pytest.raises(ConfigError, match=message):
        predictor(pixels, **arguments)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (300, 2)])
def test_images_of_odd_shapes_are_normal_images(predictor, size) -> None:
    found = predictor(np.full((*size, 3), 90, dtype=np.uint8))
    assert found.size == size
    assert found.boxes.isfinite().all()
    assert len(found.masks.rle()) == len(found)


def test_images_that_cannot_be_read_are_named(predictor, path, tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes(path.read_bytes()[:200])
    for image, name in ((tmp_path / "none.png", "none.png does not exist"), (tmp_path / "broken.png", "broken.png is")):
        with pytest.raises(DataError, match=name):
            predictor(image)
        with pytest.raises(DataError, match=name):
            predictor([path, image])
    with pytest.raises(DataError, match="int given as an image"):
        predictor(3)


def test_a_stream_is_lazy_and_in_order(predictor, pixels, other_pixels) -> None:
    taken = []

    def images() -> Iterator[np.ndarray]:
        for number in range(50):
            taken.append(number)
            yield other_pixels if number % 2 else pixels

    stream = predictor.stream(images(), max_detections=2)
    assert taken == []
    sizes = [next(stream).size for _ in range(4)]
    assert sizes == [SIZE, (70, 40), SIZE, (70, 40)]
    assert 4 <= len(taken) < 10
    stream.close()


def test_a_stream_gives_what_came_before_a_broken_image(predictor, pixels) -> None:
    stream = predictor.stream([pixels, pixels, b"no image", pixels])
    assert len(next(stream)) == len(next(stream)) > 0
    with pytest.raises(DataError):
        next(stream)


def test_prediction_is_a_function_of_the_image(predictor, pixels) -> None:
    first = predictor(pixels)
    torch.manual_seed(123)
    assert_same(predictor(pixels), first)


def test_the_network_is_in_evaluation_mode_and_keeps_no_gradient(predictor, pixels) -> None:
    predictor(pixels)
    assert not predictor.model.training
    assert all(parameter.grad is None for parameter in predictor.model.parameters())


def test_half_precision_finds_about_the_same(tiny_network, pixels) -> None:
    single, half = (
        mw.load("mask_rcnn", "random", "cpu", {**tiny_network, "detect.max_detections": 1}, precision)
        for precision in ("fp32", "bf16")
    )
    wanted, found = single(pixels), half(pixels)
    assert (found.boxes.dtype, found.scores.dtype) == (torch.float32, torch.float32)
    assert found.scores.item() == pytest.approx(wanted.scores.item(), abs=0.05)
    assert next(half.model.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gpu", "named cuda or cuda:0, one of Apple mps"),
        ("GPU", "named cuda or cuda:0"),
        ("0", "a GPU is named cuda:0"),
        ("1", "a GPU is named cuda:1"),
        ("cuda:9999", "GPU|has [0-9]"),
        ("cuda:99999999999999", "names are auto, cpu, cuda, cuda:0, mps"),
        ("", "names are auto, cpu, cuda, cuda:0, mps"),
        ("my gpu", "names are auto"),
        ("x" * 5000, "names are auto"),
        ("meta", "torch: .*meta"),
        ("tpu", "names are auto"),
        ("privateuseone", "torch: "),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_one_short_line(name, reason) -> None:
    with pytest.raises(ConfigError, match=f"cannot be used \\(.*({reason}).*\\); try auto or cpu") as raised:
        choose_device(name)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 250


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="needs a machine without a GPU of Apple's")
def test_apples_gpu_is_refused_shortly_where_there_is_none() -> None:
    with pytest.raises(ConfigError, match=r"device 'mps' cannot be used \(this (torch|machine) has no .*Apple"):
        choose_device("mps")


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "processes", "expected"),
    [
        (True, True, "1", "cuda"),
        (False, True, "1", "mps"),
        (False, True, "2", "cpu"),
        (False, False, "1", "cpu"),
    ],
)
def test_automatic_device_is_a_gpu_where_torch_has_one(has_cuda, has_mps, processes, expected, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    monkeypatch.setenv("WORLD_SIZE", processes)
    assert choose_device("auto").type == expected


def test_the_cpu_is_a_device() -> None:
    assert choose_device("cpu").type == "cpu"


@pytest.fixture(scope="module")
def yolact(tiny_yolact) -> mw.Predictor:
    return mw.load("yolact", weights="random", device="cpu", overrides=tiny_yolact)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_images_that_go_through_the_network_together_give_what_each_gives_alone(
    yolact, pixels, other_pixels, batch_size
) -> None:
    images = [pixels, other_pixels, pixels[::-1], other_pixels[:, ::-1]]
    alone = [yolact(image) for image in images]
    together = list(yolact.stream(images, batch_size=batch_size))
    assert len(together) == len(alone)
    for found, wanted in zip(together, alone, strict=True):
        assert found.size == wanted.size
        assert torch.equal(found.labels, wanted.labels)
        torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-5)
        assert (found.boxes - wanted.boxes).abs().max() < 1e-3


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_stream_ends_at_the_first_bad_image_after_those_before_it(yolact, pixels, tmp_path, batch_size) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    stream = yolact.stream([pixels, tmp_path / "bad.png", pixels], batch_size=batch_size)
    assert next(stream).size == SIZE
    with pytest.raises(DataError, match=r"bad\.png"):
        next(stream)


def test_a_batch_of_none_is_refused(yolact, pixels) -> None:
    with pytest.raises(ConfigError, match="batch_size is 0"):
        next(yolact.stream([pixels], batch_size=0))


def test_a_tensor_that_is_no_image_is_refused_with_the_way_out(predictor) -> None:
    with pytest.raises(DataError, match=r"list\(batch\)"):
        predictor(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(DataError, match=r"image \* 255"):
        predictor(torch.zeros(3, 8, 8))
