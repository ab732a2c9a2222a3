"""`maskwright demo`: the main job on bundled images with the bundled model, without a download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from maskwright.cli.options import DeviceOption, OutputOption, PrecisionOption
from maskwright.cli.terminal import keeping, print_metrics, progress, say

if TYPE_CHECKING:
    from maskwright.predict.predictor import Predictor

_WEIGHTS = "nuclei"
_Bundled = Annotated[
    Literal["nuclei/mask_rcnn_small", "nuclei/yolact_small"],
    typer.Option("--model", help="Which of the two bundled models."),
]


def demo(
    output: OutputOption = Path("demo"),
    model: _Bundled = "nuclei/mask_rcnn_small",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "fp32",
) -> None:
    """Find cell nuclei in a few bundled images, and measure how well.

    Writes DIR/predictions.json, DIR/overlays and DIR/metrics.json. DIR must be new, empty, or hold an earlier
    prediction, which is replaced.
    """
    from importlib.resources import as_file, files

    from maskwright.cli.loading import load_predictor
    from maskwright.predict.writing import PREDICTIONS, claimed_output

    with claimed_output(output, PREDICTIONS):
        predictor = load_predictor(model, _WEIGHTS, device, precision, None)
        with as_file(files("maskwright") / "assets" / "demo") as bundled:
            _run(predictor, bundled, output)


def _run(predictor: Predictor, bundled: Path, output: Path) -> None:
    """Predict and evaluate the images of the folder `bundled`."""
    from maskwright.cli.predict import follow
    from maskwright.data.readers import read_dataset
    from maskwright.predict.evaluate import evaluate_dataset
    from maskwright.predict.writing import OVERLAYS, PREDICTIONS, predict_files, write_json

    dataset = read_dataset(bundled / "images", bundled / "annotations.json")
    paths = [record.path for record in dataset.records]
    follow(predict_files(predictor, paths, output, score_threshold=0.5), len(paths), output)
    with keeping(lambda: f"the predictions are in {output}"), progress("measuring", len(paths)) as advance:
        metrics = evaluate_dataset(predictor, dataset, progress=advance).metrics
    write_json(output / "metrics.json", metrics.to_dict())
    print_metrics(metrics)
    say(f"box AP {metrics['box']['AP']:.3f}, mask AP {metrics['mask']['AP']:.3f} on {len(paths)} bundled images")
    say(f"look at   {output / OVERLAYS}")
    say(f"data in   {output / PREDICTIONS} and {output / 'metrics.json'}")
