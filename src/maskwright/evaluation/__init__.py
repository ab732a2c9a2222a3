"""How good detections are: COCO's metrics, and the loop that collects what they need from any callable."""

from maskwright.evaluation.coco import evaluate_results
from maskwright.evaluation.metrics import Metrics
from maskwright.evaluation.run import align_categories, collect_results, evaluate_detections
from maskwright.evaluation.table import metrics_table

__all__ = [
    "Metrics",
    "align_categories",
    "collect_results",
    "evaluate_detections",
    "evaluate_results",
    "metrics_table",
]
