"""Simple Mask R-CNN gives here the numbers that it gave there, its rescaling by the padded size included."""

from __future__ import annotations

import pytest
from agreement import GradientAgreement, LossAgreement, PredictionAgreement, SoftMaskAgreement

import maskwright as mw


@pytest.fixture(scope="module")
def case(case_of):
    return case_of("simple_maskrcnn/resnet50_stride32")


@pytest.fixture(scope="module")
def predictor(case, checkpoint) -> mw.Predictor:
    return mw.load(case.recipe, weights=checkpoint, device="cpu", overrides=case.overrides)


class TestPrediction(PredictionAgreement, SoftMaskAgreement):
    IS_INCLUSIVE = False


class TestLosses(LossAgreement):
    pass


@pytest.mark.slow
class TestGradients(GradientAgreement):
    pass
