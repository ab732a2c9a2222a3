"""A device that is not the CPU, on any machine: its tensors are computed on the CPU but refuse to meet those of it.

torch's device `meta` lends its name and its place in autograd. What a card refuses is refused here: arithmetic with
tensors on the CPU (but for single numbers), tensors on the CPU that are indexed by others, `.numpy()`. Autocast does
not exist there and is left out, and so is the inference mode, whose tensors cannot be wrapped. A card that stands for
Apple's GPU refuses tensors of float64 besides.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

CARD = "meta"

_aten = torch.ops.aten
_COPIES = (_aten.copy_.default, _aten._to_copy.default)
_INDEXED = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default)


class OnCard(Tensor):
    """A tensor that says that it is on the card; `near` holds its values."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> OnCard:
        facts = {"strides": near.stride(), "storage_offset": near.storage_offset(), "dtype": near.dtype}
        return torch.Tensor._make_wrapper_subclass(
            cls, near.size(), device=torch.device(CARD), requires_grad=near.requires_grad, **facts
        )

    def __init__(self, near: Tensor) -> None:
        self.near = near

    def __repr__(self) -> str:
        return f"OnCard({self.near})"

    def tolist(self) -> Any:
        return self.near.tolist()

    def new_tensor(self, data: Any, *, dtype: torch.dtype | None = None) -> OnCard:
        return OnCard(torch.tensor(data, dtype=dtype or self.dtype))

    def __getitem__(self, index: Any) -> Tensor:  # of a list torch makes a tensor without asking
        return super().__getitem__(torch.tensor(index) if isinstance(index, list) else index)

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _Operators(TorchDispatchMode):
    """Makes tensors on the card, and copies to it."""

    def __init__(self, knows_float64: bool) -> None:
        super().__init__()
        self.knows_float64 = knows_float64

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = _run(function, args, kwargs or {})
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, OnCard)]
        if not self.knows_float64 and any(tensor.dtype == torch.float64 for tensor in made):
            raise TypeError(f"{function} makes a tensor of float64 on the card, which has none")
        return out


class _Literals(TorchFunctionMode):
    """Tensors from Python's numbers, which torch makes without asking a dispatch mode."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and _is_card(kwargs.get("device")):
            del kwargs["device"]
            made = function(*args, **kwargs)
            return made if isinstance(made, OnCard) else made.to(CARD)
        return function(*args, **kwargs)


def _is_card(device: Any) -> bool:
    return device is not None and torch.device(device).type == CARD


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    has_any = any(isinstance(tensor, OnCard) for tensor in tensors)
    if has_any:
        _refuse_mixtures(function, args, tensors)
    goes_there = has_any if kwargs.get("device") is None else _is_card(kwargs["device"])
    if function is _aten.copy_.default:
        goes_there = isinstance(args[0], OnCard)
    if _is_card(kwargs.get("device")):
        kwargs["device"] = torch.device("cpu")
    near_args, near_kwargs = tree_map_only(OnCard, lambda tensor: tensor.near, (args, kwargs))
    out = function(*near_args, **near_kwargs)
    if not goes_there:
        return out
    out = tree_map_only(Tensor, lambda tensor: tensor if isinstance(tensor, OnCard) else OnCard(tensor), out)
    return return_and_correct_aliasing(function, args, kwargs, out) if has_any else out


def _refuse_mixtures(function: Any, args: Any, tensors: list[Tensor]) -> None:
    if function in _COPIES:
        return
    if any(tensor.device.type == CARD and not isinstance(tensor, OnCard) for tensor in tensors):
        raise NotImplementedError(f"{function} gets a tensor that torch made on {CARD} by itself, without values")
    others = tensors
    if function in _INDEXED:  # indices may be on the CPU; what they choose from and what is put there may not
        others = [args[0], *(args[2:3] if len(args) > 2 else [])]
    for tensor in others:
        if not isinstance(tensor, OnCard) and tensor.ndim > 0:
            raise RuntimeError(f"{function} gets a tensor {tuple(tensor.shape)} on the CPU beside one on the card")


@contextmanager
def simulated_card(*, knows_float64: bool = True) -> Iterator[str]:
    """Inside, the device of the name that is given works as a card does; without float64, as Apple's."""
    autocast = torch.autocast

    def without_card(device: str, *arguments: Any, **options: Any) -> Any:
        return nullcontext() if device == CARD else autocast(device, *arguments, **options)

    with (
        mock.patch.object(torch, "autocast", without_card),
        mock.patch.object(torch, "inference_mode", torch.no_grad),
        mock.patch("maskwright.structures.targets.knows_float64", return_value=knows_float64),
        _Literals(),
        _Operators(knows_float64),
    ):
        yield CARD
