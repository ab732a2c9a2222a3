"""torchvision's Mask R-CNNs give here the numbers that torchvision gave, from the input to gradients."""

from __future__ import annotations

import pytest
from agreement import GradientAgreement, LossAgreement, PredictionAgreement, SoftMaskAgreement
from recorded import MASK_RCNN_RECIPES

import maskwright as mw

CASES = [name for name in MASK_RCNN_RECIPES if name.startswith("torchvision/")]


@pytest.fixture(scope="module", params=CASES)
def case(request, case_of):
    return case_of(request.param)


@pytest.fixture(scope="module")
def predictor(case, checkpoint) -> mw.Predictor:
    return mw.load(case.recipe, weights=checkpoint, device="cpu", overrides=case.overrides)


class TestPrediction(PredictionAgreement, SoftMaskAgreement):
    IS_INCLUSIVE = True


class TestLosses(LossAgreement):
    pass


# the backward pass of the second takes most of a minute
@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=[pytest.mark.slow] * name.endswith("v2")) for name in CASES], indirect=True
)
class TestGradients(GradientAgreement):
    pass


def test_a_checkpoint_alone_is_recognised(case, checkpoint, predictor) -> None:
    recognised = mw.load(checkpoint, device="cpu")
    assert recognised.recipe.name == case.recipe
    assert recognised.recipe.backbone == predictor.recipe.backbone.model_copy(
        update={"frozen_stages": recognised.recipe.backbone.frozen_stages}
    )
    wanted = predictor.model.state_dict()
    assert all(wanted[name].equal(value) for name, value in recognised.model.state_dict().items())
