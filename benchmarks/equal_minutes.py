"""Our small nuclei recipe against a torchvision baseline, both trained for the same minutes on the same machine.

    python benchmarks/equal_minutes.py NUCLEI BASELINE.py MINUTES

NUCLEI holds train/, train.json, val/ and val.json. BASELINE.py is called as `BASELINE.py NUCLEI MINUTES OUT.json` and
writes its AP into OUT.json. Our speed is measured first; the recipe then gets as many iterations as fit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import maskwright as mw

RECIPE = "nuclei/mask_rcnn_small"
WARM_UP, MEASURED = 20, 60


def data_keys(root: Path) -> dict[str, str]:
    """The recipe's data keys for a nuclei folder."""
    keys = {}
    for split in ("train", "val"):
        keys[f"data.{split}.images"] = str(root / split)
        keys[f"data.{split}.annotations"] = str(root / f"{split}.json")
    return keys


def seconds_per_step(root: Path, folder: Path) -> float:
    """Measured over a few steps after a warm-up."""
    keys = {key: value for key, value in data_keys(root).items() if ".val." not in key}
    overrides = {**keys, "train.iterations": WARM_UP + MEASURED, "train.log_every": WARM_UP}
    mw.train(RECIPE, overrides, folder)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return sum(line["seconds"] for line in lines[1:]) / MEASURED


def main() -> None:
    """Train both, print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nuclei", type=Path)
    parser.add_argument("baseline", type=Path)
    parser.add_argument("minutes", type=float)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        step_s = seconds_per_step(arguments.nuclei, Path(scratch) / "speed")
        iterations = int(arguments.minutes * 60 / step_s)
        print(f"maskwright: {step_s:.2f} s a step, so {iterations} iterations", flush=True)
        overrides = {**data_keys(arguments.nuclei), "train.iterations": iterations, "train.evaluate_every": None}
        ours = mw.train(RECIPE, overrides, Path(scratch) / "ours").metrics
        assert ours is not None
        out = Path(scratch) / "baseline.json"
        command = [sys.executable, str(arguments.baseline), str(arguments.nuclei), str(arguments.minutes), str(out)]
        subprocess.run(command, check=True)
        theirs = json.loads(out.read_text(encoding="utf-8"))
    print(f"mask AP at 300 detections: maskwright {ours['mask']['AP']:.3f}, baseline {theirs['segm/AP@300']:.3f}")
    print(f"box AP at 300 detections:  maskwright {ours['box']['AP']:.3f}, baseline {theirs['bbox/AP@300']:.3f}")


if __name__ == "__main__":
    main()
