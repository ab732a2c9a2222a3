"""The training loop."""

from __future__ import annotations

import math

from maskwright.errors import out_of_memory_errors
from maskwright.evaluation import Metrics
from maskwright.evaluation.table import AUGMENTED, MEASURED
from maskwright.files import obey_signals
from maskwright.training.lines import Lines
from maskwright.training.optim import learning_rate, set_learning_rate
from maskwright.training.setup import ProgressCallback, Run


def fit(run: Run, report: ProgressCallback) -> Metrics | None:
    """Train until the last step, or until the metric no longer improves.

    The run's state after step n is a function of only the recipe and n, so a run that was killed and resumed
    ends exactly where it would have ended.

    Args:
        run: everything that `setup` prepared, its state fresh or restored.
        report: called with (step, numbers, part) whenever there is something to show; see `training.run.train`.

    Returns:
        The metrics of the last evaluation, with those of test-time augmentation as the group `augmented` where the
        recipe wants them; None without a validation set, and in all processes but the main one.
    """
    config, state = run.recipe.train, run.state
    metrics, lines = None, Lines(run, report)
    lines.start()
    if run.is_over():  # a finished run that is resumed: its weights are evaluated again
        lines.stop()
        return None if run.validation is None else with_augmented(run, run.validation.metrics(run.predictor()), report)
    for samples in run.samples(state.progress.step):
        obey_signals()
        step = state.progress.step
        rate = learning_rate(step, config)
        set_learning_rate(state.optimiser, rate)
        with out_of_memory_errors(f"step {step + 1} of the training", less_memory(run)):
            losses = run.stepper.step(step + 1, samples)
        if state.average is not None:
            state.average.update_(state.model, step)
        state.advance()

        done = state.progress.step
        is_end = done == config.num_steps
        lines.step({**losses, "learning_rate": rate})
        if run.validation is not None and (is_end or (config.evaluate_every and done % config.evaluate_every == 0)):
            metrics = validate(run, report)
            lines.restart()
        if done % config.checkpoint_every == 0 or run.is_over():
            run.write_checkpoint()
        if run.is_over():
            lines.stop()
            break
    return with_augmented(run, metrics, report)


def less_memory(run: Run) -> str:
    """What needs less memory than a step of this run, as changes to the recipe."""
    train, resize = run.recipe.train, run.recipe.resize
    side = "short_side" if hasattr(resize, "short_side") else "size"
    remedies = [f"resize.{side}=…, now {getattr(resize, side)}"]
    if train.accumulate < train.batch_size:
        remedies.insert(0, f"train.accumulate={train.batch_size}, which takes the images of a batch one by one")
    if train.batch_size > 1:
        remedies.append(f"train.batch_size=…, now {train.batch_size}")
    if train.precision == "fp32":
        remedies.append("train.precision=bf16")
    return "; ".join(remedies)


def validate(run: Run, report: ProgressCallback) -> Metrics | None:
    """Evaluate the weights that users would use, and keep them if they are the best so far."""
    assert run.validation is not None
    predictor = run.predictor()
    losses, config = run.validation.losses(predictor), run.recipe.train
    numbers = {f"loss_{name}": loss for name, loss in losses.items()}
    metrics = run.validation.metrics(predictor)
    value = run.world.from_main(None if metrics is None else metrics.lookup(config.best_metric))
    run.state.record(value, config.weighted_sum(losses))
    if metrics is not None:
        numbers |= _for_log(metrics)
    run.log(run.state.progress.step, numbers, "val", report)
    if run.state.progress.is_best:
        run.write_best(metrics)
    return metrics


def with_augmented(run: Run, metrics: Metrics | None, report: ProgressCallback) -> Metrics | None:
    """The metrics and, where the recipe asks for them, those of the same weights with test-time augmentation."""
    if run.validation is None or not run.recipe.train.evaluates_augmented:
        return metrics
    augmented = run.validation.metrics(run.predictor().augmented())
    if metrics is None or augmented is None:
        return None
    run.log(run.state.progress.step, _for_log(augmented), AUGMENTED, report)
    return Metrics({**metrics, AUGMENTED: augmented})


def _for_log(metrics: Metrics) -> dict[str, float]:
    """The means over all classes that are known, by their dotted names."""
    means = {
        group: {name: number for name, number in metrics[group].items() if not name.startswith("per_")}
        for group in MEASURED
        if group in metrics
    }
    return {name: number for name, number in Metrics(means).flat().items() if math.isfinite(number)}
