"""How good results are, by the rule of each benchmark, and the loop that collects detections of any callable."""

from maskwright.evaluation.boundary import evaluate_boundary
from maskwright.evaluation.cityscapes import evaluate_cityscapes
from maskwright.evaluation.cityscapes_semantic import CityscapesTally, evaluate_cityscapes_semantic
from maskwright.evaluation.coco import coco_metrics, evaluate_results
from maskwright.evaluation.comparison import Comparison
from maskwright.evaluation.curves import Curves
from maskwright.evaluation.metrics import Metrics
from maskwright.evaluation.panoptic import PanopticTally
from maskwright.evaluation.panoptic_files import evaluate_panoptic
from maskwright.evaluation.run import align_categories, collect_results, detection_metrics
from maskwright.evaluation.semantic import SemanticTally
from maskwright.evaluation.table import metrics_table
from maskwright.evaluation.voc import evaluate_voc
from maskwright.evaluation.yolact_table import yolact_table

__all__ = [
    "CityscapesTally",
    "Comparison",
    "Curves",
    "Metrics",
    "PanopticTally",
    "SemanticTally",
    "align_categories",
    "coco_metrics",
    "collect_results",
    "detection_metrics",
    "evaluate_boundary",
    "evaluate_cityscapes",
    "evaluate_cityscapes_semantic",
    "evaluate_panoptic",
    "evaluate_results",
    "evaluate_voc",
    "metrics_table",
    "yolact_table",
]
