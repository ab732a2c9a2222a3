"""Speed of YOLACT beside Mask R-CNN here, and where its time goes.

    python benchmarks/yolact_speed.py IMAGES --yolact WEIGHTS --mask-rcnn WEIGHTS [--count 20]
    python benchmarks/yolact_speed.py IMAGES --gpu

The first compares YOLACT-R50 at 550 px with Mask R-CNN R50-FPN at 800 px, each with its own system's checkpoint
(`random` without one), from image file to run lengths, in turn on each image; ratios are of the medians. The second
gives frames per second on a GPU, in bf16, of R50, R101 and the ++ models at 550 px with 1 and 8 images at once, from
decoded frames to instances on the CPU; weights are random, so suppression sees more boxes than trained ones would give.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

import maskwright as mw
from maskwright.images.read import read_image

PARTS = ("backbone", "fpn", "protonet", "head", "rescoring")
GPU_RECIPES = ("yolact/r50", "yolact/r101", "yolact/plus_r50", "yolact/plus_r101")


def run(predictor: mw.Predictor, path: Path) -> int:
    """File to run lengths; the number of masks."""
    masks = predictor(path).masks
    assert masks is not None
    return len(masks.rle())


@contextmanager
def timed(model: nn.Module, clock: defaultdict[str, float]) -> Iterator[None]:
    """Add the time spent inside the network's parts to `clock`."""
    hooks, starts = [], {}
    for name in PARTS:
        part = getattr(model, name)
        if part is not None:
            hooks.append(part.register_forward_pre_hook(lambda *_, name=name: starts.__setitem__(name, perf_counter())))
            hooks.append(
                part.register_forward_hook(
                    lambda *_, name=name: clock.__setitem__(name, clock[name] + perf_counter() - starts[name])
                )
            )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def stage_shares(predictor: mw.Predictor, paths: list[Path]) -> dict[str, float]:
    """Share of the time in each stage, over all images."""
    clock: defaultdict[str, float] = defaultdict(float)
    with timed(predictor.model, clock):
        for path in paths:
            begin = perf_counter()
            image = read_image(path)
            read = perf_counter()
            found = predictor(image)
            predicted = perf_counter()
            assert found.masks is not None
            found.masks.rle()
            clock["decode"] += read - begin
            clock["resize, NMS"] += predicted - read
            clock["masks"] += perf_counter() - predicted
    clock["resize, NMS"] -= sum(clock[name] for name in PARTS)
    total = sum(clock.values())
    return {name: seconds / total for name, seconds in clock.items()}


def compare(yolact: str, mask_rcnn: str, paths: list[Path]) -> None:
    """Print medians, the ratio and YOLACT's stage shares, in single precision and in bf16."""
    for precision in ("fp32", "bf16"):
        systems = {
            "Mask R-CNN R50-FPN, 800 px": mw.load(
                "torchvision/mask_rcnn_r50_fpn", mask_rcnn, device="cpu", precision=precision
            ),
            "YOLACT R50, 550 px": mw.load("yolact/r50", yolact, device="cpu", precision=precision),
        }
        seconds = defaultdict(list)
        counts: defaultdict[str, int] = defaultdict(int)
        for predictor in systems.values():
            run(predictor, paths[0])
        for path in paths:
            for name, predictor in systems.items():
                start = perf_counter()
                counts[name] += run(predictor, path)
                seconds[name].append(perf_counter() - start)
        base, fast = (statistics.median(values) for values in seconds.values())
        for name, values in seconds.items():
            median = statistics.median(values)
            masks = counts[name] / len(paths)
            print(f"{precision} {name:27} {median:6.3f} s an image, {1 / median:5.2f} a second, {masks:.0f} masks each")
        print(f"{precision} YOLACT is {base / fast:.2f} × as fast")
        shares = sorted(stage_shares(systems["YOLACT R50, 550 px"], paths).items(), key=lambda item: -item[1])
        print(f"{precision} stages: " + ", ".join(f"{name} {share:.1%}" for name, share in shares if share))


def frames_per_second(paths: list[Path], seconds: float = 5.0) -> None:
    """Print the rate of each model on the GPU; warmed up, then measured for some seconds."""
    frames = [read_image(path) for path in paths]
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    for recipe in GPU_RECIPES:
        predictor = mw.load(recipe, "random", device="cuda", precision="bf16")
        for batch_size in (1, 8):
            list(predictor.stream(frames * 2, batch_size=batch_size))
            torch.cuda.synchronize()
            done, start = 0, perf_counter()
            while perf_counter() - start < seconds:
                done += len(list(predictor.stream(frames, batch_size=batch_size)))
            torch.cuda.synchronize()
            print(f"{recipe:18} batch {batch_size}: {done / (perf_counter() - start):7.1f} frames a second")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of .jpg or .png images")
    parser.add_argument("--yolact", default="random", help="checkpoint of YOLACT-R50")
    parser.add_argument("--mask-rcnn", default="random", help="checkpoint of torchvision's Mask R-CNN R50-FPN")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--gpu", action="store_true")
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.images.iterdir() if path.suffix in (".jpg", ".png"))[: arguments.count]
    if arguments.gpu:
        frames_per_second(paths)
    else:
        compare(arguments.yolact, arguments.mask_rcnn, paths)


if __name__ == "__main__":
    main()
