"""detectron2's Mask R-CNNs give here the numbers that detectron2 gave: FPN, C4 and deformable convolutions."""

from __future__ import annotations

import pytest
from agreement import GradientAgreement, LossAgreement, PredictionAgreement

import maskwright as mw

FPN = "detectron2/mask_rcnn_R_50_FPN_3x"
C4 = "detectron2/mask_rcnn_R_50_C4_3x"
DEFORMABLE = "detectron2/mask_rcnn_R_50_FPN_3x_dconv_c3-c5"


@pytest.fixture(scope="module", params=[FPN, C4, DEFORMABLE])
def case(request, case_of):
    return case_of(request.param)


@pytest.fixture(scope="module")
def predictor(case, checkpoint) -> mw.Predictor:
    return mw.load(case.recipe, checkpoint, device="cpu", overrides=case.overrides)


class TestPrediction(PredictionAgreement):
    pass


# torchvision's deformable convolution, which detectron2 calls on CPUs, had no backward pass there
@pytest.mark.parametrize("case", [FPN, C4], indirect=True)
class TestLosses(LossAgreement):
    pass


@pytest.mark.parametrize("case", [FPN, C4], indirect=True)
class TestGradients(GradientAgreement):
    pass
