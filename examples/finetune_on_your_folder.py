"""Fine-tune a bundled model on your own images, measure it, and look at what it finds.

python examples/finetune_on_your_folder.py                                # two steps on the bundled images
python examples/finetune_on_your_folder.py IMAGES train.json --steps 500  # yours; any format of `maskwright data`
"""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path

from PIL import Image

import maskwright as mw

BUNDLED = Path(str(files("maskwright") / "assets" / "demo"))


def main() -> None:
    """Train, evaluate, predict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="?", type=Path, default=BUNDLED / "images")
    parser.add_argument("annotations", nargs="?", type=Path, default=BUNDLED / "annotations.json")
    parser.add_argument("--format", default="coco", help="of the annotations: coco, yolo, labelme, voc, …")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("finetuned"))
    arguments = parser.parse_args()

    # every defect is known before training; a training would refuse them unless data.train.skip_bad is true
    dataset = mw.read_dataset(arguments.images, arguments.annotations, arguments.format)
    print(f"{len(dataset.records)} images of {', '.join(dataset.categories.names)}; {len(dataset.defects)} defects")

    changes = {
        "categories": [],  # those of the annotations
        "train.initial_weights": "nuclei",  # classes that these weights know keep what was learnt
        "train.iterations": arguments.steps,
        "train.batch_size": 2,
        "train.warmup_iterations": 1,
        "data.workers": 0,
        "data.train.images": str(arguments.images),
        "data.train.annotations": str(arguments.annotations),
        "data.train.format": arguments.format,
        "data.val.share": 0.25,  # set aside by a hash of the names
    }
    result = mw.train("nuclei/yolact_small", changes, arguments.output)
    if result.metrics is not None:
        print(f"mask AP {result.metrics['mask']['AP']:.3f} on the images set aside")

    predictor = mw.load(result.best)
    image = dataset.records[0].path
    found = predictor(image, score_threshold=0.5)
    Image.fromarray(found.draw(image)).save(arguments.output / "found.png")
    print(f"{len(found)} objects in {image.name}: look at {arguments.output / 'found.png'}")


if __name__ == "__main__":
    main()
