"""How good detections are: COCO's metrics, YOLACT's table, and the loop that collects detections of any callable."""

from maskwright.evaluation.coco import evaluate_results
from maskwright.evaluation.metrics import Metrics
from maskwright.evaluation.run import align_categories, collect_results, evaluate_detections
from maskwright.evaluation.table import metrics_table
from maskwright.evaluation.yolact_table import yolact_table

__all__ = [
    "Metrics",
    "align_categories",
    "collect_results",
    "evaluate_detections",
    "evaluate_results",
    "metrics_table",
    "yolact_table",
]
