"""Look into a Mask R-CNN: its feature maps and its proposals for one image.

python examples/look_inside.py [IMAGE]
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

import torch
from PIL import Image, ImageDraw

import maskwright as mw

BUNDLED = Path(str(files("maskwright") / "assets" / "demo" / "images"))


def main() -> None:
    """Write features.png and proposals.png."""
    image = Path(sys.argv[1]) if len(sys.argv) > 1 else min(BUNDLED.glob("*.png"))
    predictor = mw.load("nuclei/mask_rcnn_small", weights="nuclei")
    model, preprocess = predictor.model, predictor.preprocess

    with torch.inference_mode():
        batch = preprocess.batch([preprocess.read(image).to(predictor.device)])
        levels = model.encode(batch)  # the feature pyramid, finest first
        (proposals,) = model.rpn.propose(model.rpn(levels, batch), batch, model.test_proposals)  # best first
        (found,) = model.detect(batch)

    print(f"input      {tuple(batch.pixels.shape)}")
    for level, features in enumerate(levels, start=2):
        print(f"P{level}         {tuple(features.shape)}, mean {features.mean():.3f}, largest {features.amax():.2f}")
    print(f"proposals  {len(proposals)} boxes, from which {len(found)} objects become")

    # how strongly each place of the finest map answers, over all its channels
    strength = levels[0][0].float().square().sum(dim=0).sqrt()
    grey = (255 * strength / strength.max()).byte().cpu().numpy()
    height, width = batch.sizes[0]
    Image.fromarray(grey).resize(batch.pixels.shape[:1:-1]).crop((0, 0, width, height)).save("features.png")

    picture = Image.open(image).convert("RGB").resize((width, height))
    pen = ImageDraw.Draw(picture)
    for index, box in enumerate(proposals[:50].tolist()):
        pen.rectangle(box, outline=(255, 255 - 5 * index, 0))
    picture.save("proposals.png")
    print("look at features.png and proposals.png")


if __name__ == "__main__":
    main()
