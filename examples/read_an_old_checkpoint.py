"""Take a checkpoint of another program, see what it is, predict with it, and keep it as a file of ours.

python examples/read_an_old_checkpoint.py                       # one in detectron2's form, made from a bundled model
python examples/read_an_old_checkpoint.py model_final.pkl photo.jpg
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

import maskwright as mw
from maskwright.checkpoints.native import NativeCheckpoint, write_native
from maskwright.checkpoints.reading import read_weights
from maskwright.checkpoints.writing import write_foreign

ASSETS = Path(str(files("maskwright") / "assets"))


def main() -> None:
    """Read, load, predict, write."""
    old = Path(sys.argv[1]) if len(sys.argv) > 1 else an_old_checkpoint()
    image = Path(sys.argv[2]) if len(sys.argv) > 2 else min((ASSETS / "demo" / "images").glob("*.png"))

    # nothing in the file is executed; its keys and shapes say what it is
    found = read_weights(old)
    print(f"{old}: {found.lineage}, {len(found.weights)} tensors under our names")

    # keys and shapes do not say everything: where you know the settings, name a recipe, as for the bundled model here
    predictor = mw.load(old) if len(sys.argv) > 1 else mw.load("nuclei/mask_rcnn_small", weights=old)
    instances = predictor(image, score_threshold=0.5)
    print(f"recipe {predictor.recipe.name}; {len(instances)} objects in {image.name}")

    # ours has recipe and categories inside, so the file is all that is needed from now on
    ours = Path("converted.safetensors")
    weights = {name: value.cpu() for name, value in predictor.model.state_dict().items()}
    write_native(ours, NativeCheckpoint(weights, predictor.recipe.model_dump(mode="json"), {}, {}))
    again = mw.load(ours)(image, score_threshold=0.5)
    assert again.scores.equal(instances.scores)
    print(f"{ours}: the same {len(again)} objects")


def an_old_checkpoint() -> Path:
    """The bundled Mask R-CNN under detectron2's names."""
    path = Path("old.pth")
    write_foreign(path, read_weights(ASSETS / "nuclei_mask_rcnn_small.safetensors").weights, "detectron2")
    return path


if __name__ == "__main__":
    main()
