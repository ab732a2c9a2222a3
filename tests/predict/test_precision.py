"""Which precision `auto` is on which hardware."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pytest
import torch

from maskwright.config import load_recipe
from maskwright.errors import ConfigError
from maskwright.predict.precision import Choice, choose_precision, has_native_bf16

CPU = torch.device("cpu")


def pretend_processor(monkeypatch: pytest.MonkeyPatch, **abilities: bool) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, partial(abilities.get, name, False), raising=False)


@pytest.mark.parametrize("ability", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_a_processor_with_instructions_for_bf16_gets_it(ability: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_processor(monkeypatch, **{ability: True})
    assert choose_precision("auto", CPU) == Choice("bf16", "this processor computes it natively")


def test_a_processor_without_them_gets_fp32_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_processor(monkeypatch)
    assert choose_precision("auto", CPU) == Choice("fp32", "bf16 is slower on this processor, which lacks it")


def test_a_torch_that_cannot_tell_means_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not has_native_bf16(CPU)


@pytest.mark.parametrize("is_native", [True, False])
def test_a_gpu_gets_bf16_where_it_is_not_emulated(is_native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def is_supported(*, including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return is_native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    assert choose_precision("auto", torch.device("cuda", 0)).precision == ("bf16" if is_native else "fp32")
    assert asked == [False]


def test_what_is_asked_for_is_taken_without_a_reason() -> None:
    assert choose_precision("bf16", CPU) == Choice("bf16")
    assert choose_precision("fp32", CPU) == Choice("fp32")
    with pytest.raises(ConfigError, match="no precision called 'fp8'; choose one of fp32, bf16, auto"):
        choose_precision("fp8", CPU)


@pytest.mark.parametrize("name", ["mask_rcnn", "yolact", "nuclei/mask_rcnn_small", "nuclei/yolact_small"])
def test_recipes_for_peoples_own_data_leave_it_to_the_hardware(name: str) -> None:
    assert load_recipe(name).train.precision == "auto"
