"""The training run: optimiser, schedule, evaluation and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from maskwright.config.base import StrictModel


class TrainConfig(StrictModel):
    """One training run; defaults are the paper's for 16 images a step (Mask R-CNN, section 3.1)."""

    seed: int = Field(0, ge=0, description="every random draw is a function of it, the step and an index")
    initial_weights: str | None = Field(
        None,
        description="what training starts from, a whole model or a backbone: a weights name of the recipe, a file, an "
        "https address or hf://owner/repo/file; auto: COCO weights of a recipe with the same backbone, or random where "
        "there are none or they cannot be fetched, which is said; none: random",
    )
    iterations: int | None = Field(90_000, gt=0, description="optimiser steps; none: as train.epochs says")
    epochs: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="passes over the training images, instead of iterations; none: as train.iterations says",
    )
    class_rows: Literal["name", "position"] = Field(
        "name",
        description="rows of the initial weights' predictors go to the recipe's classes of the same names, and other "
        "classes start at random; or in the order of the checkpoint, whatever its names",
    )
    batch_size: int = Field(16, gt=0, description="images per step, over all processes and accumulated parts")
    accumulate: int = Field(1, gt=0, description="parts a batch is computed in, one after the other, to save memory")
    optimiser: Literal["sgd", "adamw"] = Field("sgd", description="update rule")
    learning_rate: float = Field(0.02, gt=0, description="peak learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    weight_decay: float = Field(1e-4, ge=0, description="on convolution and linear weights")
    norm_weight_decay: float = Field(0.0, ge=0, description="on biases and normalisation parameters")
    warmup_iterations: int = Field(
        1000, ge=0, description="steps over which the rate rises linearly; at most half of the run"
    )
    warmup_factor: float = Field(0.001, ge=0, le=1, description="share of the peak rate at the first step")
    schedule: Literal["step", "cosine"] = Field("step", description="how the rate falls after the warm-up")
    steps: tuple[int, ...] = Field((60_000, 80_000), description="iterations at which a step schedule drops")
    step_factor: float = Field(0.1, gt=0, le=1, description="factor of each drop")
    freezes_norms_below: int | None = Field(
        None,
        gt=0,
        description="batch norms keep their statistics and weights when fewer images than this are computed together; "
        "none: never; YOLACT: 6",
    )
    clip_norm: float | None = Field(None, gt=0, description="largest L2 norm of the gradient; none: not clipped")
    ema_decay: float | None = Field(None, gt=0, lt=1, description="decay of the averaged weights; none: no averaging")
    precision: Literal["fp32", "bf16", "auto"] = Field(
        "fp32",
        description="of forward and backward; weights stay fp32; auto: bf16 where the device computes it natively, "
        "else fp32",
    )
    loss_weights: dict[str, float] = Field({}, description="factor per loss name; 1 where not given")
    evaluate_every: int | None = Field(5000, gt=0, description="iterations between evaluations; none: only at the end")
    checkpoint_every: int = Field(1000, gt=0, description="iterations between checkpoints")
    log_every: int = Field(20, gt=0, description="iterations between lines of log.jsonl")
    best_metric: str = Field("mask.AP", description="entry of metrics.json that selects best.safetensors")
    patience: int | None = Field(
        None,
        gt=0,
        description="evaluations without a better metric and without a lower validation loss before stopping early; "
        "none: never",
    )
    max_detections: int | None = Field(
        None, gt=0, description="per image in evaluation; none: as detect.max_detections"
    )

    evaluates_augmented: bool = Field(
        False, description="the last evaluation is done with test-time augmentation too; metrics are in `augmented`"
    )

    @property
    def num_steps(self) -> int:
        """Optimiser steps, once the length of the run is known; see `training.length`."""
        assert self.iterations is not None
        return self.iterations

    @property
    def warmup_steps(self) -> int:
        """Steps of the warm-up, which leaves half of the run for the full rate."""
        return min(self.warmup_iterations, self.num_steps // 2)

    def weighted_sum(self, losses: Mapping[str, float]) -> float:
        """What a run minimises, of its losses by name."""
        return sum(self.loss_weights.get(name, 1.0) * loss for name, loss in losses.items())

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if (self.iterations is None) == (self.epochs is None):
            found = "neither is" if self.iterations is None else "both are"
            raise ValueError(
                f"train.iterations and train.epochs each say how long the run is, and {found} given: give one of them"
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"train.batch_size {self.batch_size} does not divide into "
                f"train.accumulate {self.accumulate} equal parts"
            )
        return self
