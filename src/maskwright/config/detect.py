"""From class scores to detections at test time: what all families have."""

from __future__ import annotations

from pydantic import Field

from maskwright.config.base import StrictModel


class DetectConfig(StrictModel):
    """Which boxes become detections."""

    score_threshold: float = Field(0.05, ge=0, le=1, description="detections must score above this")
    nms_iou: float = Field(0.5, ge=0, le=1, description="detections of a class that overlap more suppress each other")
    max_detections: int = Field(100, gt=0, description="best-scored detections kept per image")
