"""`maskwright evaluate`: how good a model is on annotated images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.cli.measured_data import MeasuredData
from maskwright.cli.options import (
    AnnotationsHelp,
    AugmentedOption,
    BinaryMapsOption,
    BoxesAsMasksOption,
    ClassAttributeOption,
    CrowdsOption,
    DeviceOption,
    ExifOption,
    FormatOption,
    ImagesHelp,
    KeepDamagedImagesOption,
    MaxDetectionsOption,
    ModelOption,
    OnlyPresentOption,
    OverlapOption,
    PrecisionOption,
    SetOption,
    TileOption,
    WeightsOption,
    read_overrides,
)
from maskwright.cli.terminal import keeping, print_metrics, print_table, progress, say, warn

if TYPE_CHECKING:
    from maskwright.config.testing import ExpectedResult
    from maskwright.predict.evaluate import Evaluation
    from maskwright.predict.predictor import Predictor

_RESULTS = "results.json"


def evaluate(
    context: typer.Context,
    model: ModelOption,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help=f"{ImagesHelp} By default the recipe's data.val is measured on."),
    ] = None,
    annotations: Annotated[Path | None, typer.Option("--annotations", metavar="PATH", help=AnnotationsHelp)] = None,
    weights: WeightsOption = None,
    format: FormatOption = "coco",  # noqa: A002 - the word of the command line
    max_detections: MaxDetectionsOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Folder for metrics.json, results.json and report.html."),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "fp32",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out what cannot be used of the dataset.")] = False,
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--table", metavar="NAME", help="Measure by a further rule: boundary, cityscapes, voc, yolact; repeatable."
        ),
    ] = None,
    exif: ExifOption = None,
    class_attribute: ClassAttributeOption = None,
    boxes_as_masks: BoxesAsMasksOption = False,
    only_present: OnlyPresentOption = False,
    binary_maps: BinaryMapsOption = None,
    crowds: CrowdsOption = "ignored",
    keep_damaged_images: KeepDamagedImagesOption = False,
    tta: AugmentedOption = False,
    tile: TileOption = None,
    overlap: OverlapOption = None,
    changes: SetOption = None,
) -> None:
    """Measure a model: COCO's AP and AR of boxes, masks and keypoints, or LVIS's where annotations cover some classes.

    Models with a semantic head get mIoU and panoptic quality too, where the dataset has segments. With --output writes
    DIR/metrics.json, DIR/report.html and DIR/results.json, a COCO results list. DIR must be new, empty, or hold an
    earlier evaluation, which is replaced.

    The exit status is 1 where the recipe expects other results of its data.val, or of any data where it names none;
    --set expected.mask.AP="0.36 ± 0.02" expects them of what is measured now, and --set expected={} expects nothing.
    """
    from maskwright.cli.loading import load_predictor
    from maskwright.data.readers.options import ReadOptions
    from maskwright.evaluation.expected import expected_table, refuse_missed
    from maskwright.predict.evaluate import evaluate_dataset, lacking_objects, why_nothing_counts
    from maskwright.predict.writing import claimed_output
    from maskwright.report import page_templates

    options = ReadOptions(
        exif=exif,
        class_attribute=class_attribute,
        boxes_as_masks=boxes_as_masks,
        only_present=only_present,
        binary_maps=binary_maps,
        has_crowds=crowds == "ignored",
    )
    data = MeasuredData(images, annotations, format, options, skip_bad, keep_damaged_images)
    if output is not None:
        page_templates()  # a missing library is reported before the first image
        context.with_resource(claimed_output(output, _RESULTS))
    predictor = load_predictor(
        model, weights, device, precision, changes, is_augmented=tta, tile_px=tile, overlap_px=overlap
    )
    expected = _expected(predictor, annotations, changes)
    dataset = data.open(predictor.recipe, model)
    for line in (*dataset.remark_lines(), *dataset.skipped_lines()):
        warn(line)
    warn_of_lacking(lacking_objects(predictor.recipe, dataset))
    with keeping(lambda: "nothing is written"), progress("images", len(dataset.records)) as advance:
        evaluation = evaluate_dataset(predictor, dataset, max_detections, advance, tables or (), expected)
    for defect in evaluation.dataset.defects[len(dataset.defects) :]:
        warn(f"left out: {defect.kind}: {defect}")
    print_metrics(evaluation.metrics)
    if (reason := why_nothing_counts(predictor.recipe, dataset)) is not None:
        warn(reason)
    if tile is None:
        warn_of_limit(evaluation.results, max_detections or predictor.max_detections)
    if output is not None:
        _write(evaluation, output, model)
    if evaluation.checks:
        print_table(expected_table(evaluation.checks))
    refuse_missed(evaluation.checks)


def _expected(
    predictor: Predictor, annotations: Path | None, changes: Sequence[str] | None
) -> dict[str, ExpectedResult]:
    """What the recipe expects here; nothing of data that is not its own, unless --set expects it."""
    from maskwright.predict.evaluate import expected_of, is_own_data

    expected = expected_of(predictor)
    is_asked = any(key.partition(".")[0] == "expected" for key in read_overrides(changes))
    if not expected or is_asked or annotations is None or is_own_data(predictor.recipe, annotations):
        return expected
    name, result = next(iter(expected.items()))
    warn(
        f"what the recipe expects is of its own data.val and not checked on {annotations}; to check that, say so: "
        f'--set expected.{name}="{result.value:g} ± {result.tolerance:g}"'
    )
    return {}


def _write(evaluation: Evaluation, output: Path, model: str) -> None:
    from maskwright.predict.writing import write_json
    from maskwright.report import write_report

    metrics = evaluation.metrics
    write_json(output / _RESULTS, evaluation.results)
    write_json(output / "metrics.json", metrics.to_dict())
    write_report(output / "report.html", evaluation.dataset, evaluation.comparison, metrics, title=model)
    say(f"metrics.json, report.html and {_RESULTS} → {output}")


def warn_of_lacking(objects: Mapping[str, int], most: int = 5) -> None:
    """Say so where the dataset has classes that the model cannot find, since each counts as zero in AP."""
    if objects:
        listed = ", ".join(f"{name} ({count} objects)" for name, count in list(objects.items())[:most])
        more = f" and {len(objects) - most} more" if len(objects) > most else ""
        warn(
            f"the model has no class {listed}{more}, and finds none of them: each counts as zero in AP, and "
            "AP_known is the mean over the classes that it has"
        )


def warn_of_limit(results: Sequence[Mapping[str, Any]], limit: int) -> None:
    """Say so where images have as many detections as are allowed, since more might have counted."""
    per_image = Counter(result["image_id"] for result in results)
    num_full = sum(count >= limit for count in per_image.values())
    if num_full:
        warn(
            f"{num_full} images reached the limit of {limit} detections; if they are dense, a higher --max-detections "
            "measures more of what the model finds"
        )
