"""Put weights into a model, and say exactly what fitted and what did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskwright.checkpoints.names import NameTable
from maskwright.errors import CheckpointError

# counters of batch normalisation, which no forward pass reads
_COUNTER = "num_batches_tracked"
# layers whose length is the number of classes → how many entries are no class
_CLASS_LAYERS = {"box_head.class_logits.bias": 1, "semantic_head.logits.bias": 0}
_RGB = 3
_STEMS = ("backbone.stem.conv.weight", "backbone.stem.0.conv.weight")
_RES5, _RES5_HEAD = "backbone.stages.3.", "res5."
# what an ordinary backbone lacks of a deformable one, where it starts at zero
_DEFORMABLE_ONLY = (".offsets.weight", ".offsets.bias", ".conv.bias")
# the coarsest level of a pyramid serves a model with a single level, as the author of Simple Mask R-CNN trains his
_FROM_PYRAMID = NameTable((("fpn.laterals.3.conv.", "fpn.lateral.conv."), ("fpn.outputs.3.conv.", "fpn.output.conv.")))


@dataclass(frozen=True)
class FitReport:
    """How a checkpoint's weights meet a model's.

    Attributes:
        fitting: names whose shapes agree.
        missing: names the model has and the checkpoint has not.
        unexpected: names the checkpoint has and the model has not.
        mismatched: name → (shape in the checkpoint, shape in the model).
    """

    fitting: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]

    @property
    def is_exact(self) -> bool:
        """Whether names and shapes agree."""
        return not (self.missing or self.unexpected or self.mismatched)


def compare_weights(weights: Mapping[str, Tensor], model: nn.Module) -> FitReport:
    """Compare a checkpoint's weights with a model's, without changing either."""
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items() if not name.endswith(_COUNTER)}
    given = {name: tuple(value.shape) for name, value in weights.items() if not name.endswith(_COUNTER)}
    common = [name for name in wanted if name in given]
    return FitReport(
        fitting=tuple(name for name in common if given[name] == wanted[name]),
        missing=tuple(name for name in wanted if name not in given),
        unexpected=tuple(name for name in given if name not in wanted),
        mismatched={name: (given[name], wanted[name]) for name in common if given[name] != wanted[name]},
    )


def refuse_misfit(report: FitReport, weights: Mapping[str, Tensor], source: str) -> None:
    """Insist that names and shapes agree, and that all values are finite floating-point numbers.

    Raises:
        CheckpointError: they do not, or are not. The message names the class counts, or the first keys and shapes.
    """
    if not report.is_exact:
        raise CheckpointError(f"{source} does not fit the recipe: {_explain_misfit(report)}")
    if reason := explain_non_finite({name: weights[name] for name in report.fitting}):
        raise CheckpointError(f"{source} cannot be used: {reason}")


@dataclass(frozen=True)
class TransferReport:
    """What of a checkpoint went into a model that is not quite its own.

    Attributes:
        taken: names of the weights that the model now has from the checkpoint.
        skipped: name of a weight in the checkpoint → why the model could not take it.
        untouched: names of the weights that the model has kept.
    """

    taken: tuple[str, ...]
    skipped: dict[str, str]
    untouched: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the model now has all of the checkpoint, and nothing of its own."""
        return not (self.skipped or self.untouched)


def transfer(weights: Mapping[str, Tensor], model: nn.Module, source: str) -> TransferReport:
    """Load all weights where they fit exactly, else every layer that fits; the others keep theirs (a new predictor).

    A layer is taken whole or not at all: a bias without its weight means nothing. Of a model with a pyramid the
    coarsest lateral and output go to a single level.

    Raises:
        CheckpointError: they fit exactly, but some are no finite floating-point numbers; or parts of the backbone lack.
    """
    if "fpn.lateral.conv.weight" in model.state_dict():
        weights = _FROM_PYRAMID.read_in(weights)
    report = compare_weights(weights, model)
    if report.is_exact:
        refuse_misfit(report, weights, source)
        load_fitting(weights, model)
        return TransferReport(report.fitting, {}, ())
    return _take_what_fits(report, weights, model, source)


def _take_what_fits(report: FitReport, weights: Mapping[str, Tensor], model: nn.Module, source: str) -> TransferReport:
    skipped = dict.fromkeys(report.unexpected, "the model has no such weight")
    skipped |= {name: f"it is {given}, the model has {wanted}" for name, (given, wanted) in report.mismatched.items()}
    unusable = [name for name in report.fitting if not _is_usable(weights[name])]
    skipped |= dict.fromkeys(unusable, "its values are not finite numbers")
    misfits = {_layer(name) for name in (*report.mismatched, *report.missing, *unusable)}
    others = (name for name in report.fitting if _layer(name) in misfits and name not in skipped)
    skipped |= dict.fromkeys(others, "another part of its layer does not fit")
    taken = {name: weights[name] for name in report.fitting if name not in skipped}
    load_fitting(taken, model)
    untouched = tuple(name for name in model.state_dict() if name not in taken and not name.endswith(_COUNTER))
    if missing := [name for name in untouched if name.startswith("backbone.")]:
        raise CheckpointError(
            f"{source} does not fit the recipe: its backbone is another one, which lacks {len(missing)} weights, first "
            f"{missing[0]}; `maskwright inspect` shows what it has"
        )
    return TransferReport(tuple(taken), skipped, untouched)


def inflate_stem(
    weights: Mapping[str, Tensor], model: nn.Module, channels: int, is_bgr: bool
) -> tuple[dict[str, Tensor], str | None]:
    """Make the first convolution of a checkpoint fit a model of images with another number of channels.

    Kernels of further channels repeat the old ones in turn, and each of the old is shared out among its repeats; with
    fewer channels, what would repeat is added up, so that grey has the sum. An image whose channels are all equal thus
    gets the same response as before.

    Args:
        weights: of the checkpoint, under our names; they are not changed.
        model: that is to take them.
        channels: of its images.
        is_bgr: the recipe's order of three channels is blue, green, red; other numbers begin with red.

    Returns:
        The weights, and what was done in words; None where nothing was to be done.
    """
    wanted = model.state_dict()
    name = next((name for name, value in weights.items() if _is_other_stem(name, value, wanted, channels)), None)
    if name is None:
        return dict(weights), None
    old = weights[name]
    kernels = old.flip(1) if is_bgr and old.shape[1] == _RGB else old
    kernels = _shared_out(kernels, channels)
    kernels = kernels.flip(1) if is_bgr and channels == _RGB else kernels
    done = f"inflated from {old.shape[1]} to {channels} channels"
    if not model.get_parameter(name).requires_grad:
        done += ", and kept so by backbone.frozen_stages: 0 lets it learn"
    return {**weights, name: kernels}, done


def _is_other_stem(name: str, value: Tensor, wanted: Mapping[str, Tensor], image_channels: int) -> bool:
    """Whether it is a convolution that fits, but for the channels of the images it sees."""
    if not name.startswith("backbone.") or name not in wanted or value.ndim != 4 or wanted[name].ndim != 4:
        return False
    (out, channels, *kernel), (wanted_out, wanted_channels, *wanted_kernel) = value.shape, wanted[name].shape
    return (out, kernel) == (wanted_out, wanted_kernel) and channels != wanted_channels == image_channels


def _shared_out(kernels: Tensor, channels: int) -> Tensor:
    """(out, c, k, k) → (out, channels, k, k) with the same sum over the channels."""
    old = kernels.shape[1]
    indices = torch.arange(max(old, channels), device=kernels.device)
    repeats = torch.bincount(indices % old, minlength=old)
    shares = kernels / repeats.to(kernels.dtype)[:, None, None]
    inflated = kernels.new_zeros((len(kernels), channels, *kernels.shape[2:]))
    return inflated.index_add(1, indices % channels, shares[:, indices % old])


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def put_backbone(weights: Mapping[str, Tensor], model: nn.Module, source: str) -> None:
    """Load a backbone's weights into a model, whose other parts keep theirs.

    They must fit completely, but for what only a deformable backbone has: there, the offsets of the taps and the biases
    in front of norms keep their zeros. Where res5 is the head of the RoIs (C4), the last stage goes there.

    Raises:
        CheckpointError: they do not fit, or some are no finite floating-point numbers.
    """
    own = model.state_dict()
    if any(name.startswith(_RES5_HEAD) for name in own):
        weights = {name.replace(_RES5, _RES5_HEAD): value for name, value in weights.items()}
    kept = {
        name: value
        for name, value in own.items()
        if not name.startswith(("backbone.", _RES5_HEAD)) or (name not in weights and name.endswith(_DEFORMABLE_ONLY))
    }
    put_weights({**kept, **weights}, model, source)


def put_weights(weights: Mapping[str, Tensor], model: nn.Module, source: str) -> None:
    """Load weights that must fit exactly; of any floating precision, since the model keeps its own.

    Raises:
        CheckpointError: they do not (see `refuse_misfit`), or some are no finite floating-point numbers.
    """
    refuse_misfit(compare_weights(weights, model), weights, source)
    load_fitting(weights, model)


def load_fitting(weights: Mapping[str, Tensor], model: nn.Module) -> None:
    """Load weights of which `compare_weights` said that they fit."""
    model.load_state_dict(dict(weights), strict=False)


def explain_non_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Which weights are no finite floating-point numbers, and what to do, in one line; None where all are."""
    spoilt = [name for name, value in weights.items() if not name.endswith(_COUNTER) and not _is_usable(value)]
    if not spoilt:
        return None
    return (
        f"{len(spoilt)} weights are not finite numbers, first {spoilt[0]} ({weights[spoilt[0]].dtype}); the run that "
        "wrote them diverged, or the file is damaged, so take an earlier checkpoint"
    )


def _is_usable(value: Tensor) -> bool:
    """Whether all are finite floating-point numbers; most often their sum, which is quickly made, shows it."""
    return value.is_floating_point() and bool(value.float().sum().isfinite() or value.float().isfinite().all())


def _explain_misfit(report: FitReport) -> str:
    """What does not fit, in one line."""
    for layer, num_others in _CLASS_LAYERS.items():
        given_shape, wanted_shape = report.mismatched.get(layer, ((), ()))
        if len(given_shape) == len(wanted_shape) == 1:
            given, wanted = given_shape[0] - num_others, wanted_shape[0] - num_others
            return (
                f"it was trained for {given} classes, the recipe has {wanted} categories; "
                "give the recipe the checkpoint's categories, or train it on yours"
            )
    parts = [f"{name} is {given}, expected {wanted}" for name, (given, wanted) in list(report.mismatched.items())[:2]]
    parts += [f"{len(report.missing)} missing, first {report.missing[0]}"] if report.missing else []
    parts += [f"{len(report.unexpected)} unknown, first {report.unexpected[0]}"] if report.unexpected else []
    if any(name.startswith("backbone.") and name.endswith(".running_mean") for name in report.unexpected):
        parts.append("its backbone has batch normalisation: set backbone.norm=batch")
    parts += [_explain_channels(*report.mismatched[stem]) for stem in _STEMS if stem in report.mismatched]
    return "; ".join(parts)


def _explain_channels(given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if len(given) != len(wanted) or given[1:2] == wanted[1:2]:
        return "its stem has another form"
    return (
        f"it was trained on images with {given[1]} channels, the recipe has pixels.channels={wanted[1]}; set that to "
        f"{given[1]}, or train it on yours: train.initial_weights=FILE"
    )
