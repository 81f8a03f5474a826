"""Which log alpha makes a weight noise, decided on held-out data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_sparse import _surgery
from keras_sparse._mechanism.sparse_layer import final
from keras_sparse.bayesian.weights import gaussian_weights
from keras_sparse.parametrizations.gaussian import Gaussian
from keras_sparse.pruning import parametrized_weights

THRESHOLDS = (20.0, 16.0, 12.0, 10.0, *np.arange(8.0, -3.01, -0.5).tolist())

_BETTER_LOW = ("loss", "error", "mae", "mse", "mape", "msle", "crossentropy")
_BETTER_HIGH = (
    "acc",
    "auc",
    "precision",
    "recall",
    "f1",
    "iou",
    "r2",
    "cosine",
)
_ROUNDING = 1e-6  # of float32 metrics


@dataclasses.dataclass(frozen=True)
class ThresholdSweep:
    """What each threshold of a sweep leaves.

    Args:
        metric: Name of the metric.
        thresholds: Thresholds of log alpha, falling.
        values: The metric on the held-out data at each of them.
        sparsities: Fraction of zeros among the Bayesian weights at each.
        baseline: The metric with no weight taken away.
        chosen: Index of the chosen threshold.
    """

    metric: str
    thresholds: tuple[float, ...]
    values: tuple[float, ...]
    sparsities: tuple[float, ...]
    baseline: float
    chosen: int

    @property
    def threshold(self) -> float:
        """The chosen threshold."""
        return self.thresholds[self.chosen]

    def __str__(self) -> str:
        lines = [f"{'log alpha':>10}{'sparsity':>10}{self.metric:>12}"]
        rows = zip(self.thresholds, self.sparsities, self.values, strict=True)
        for index, (threshold, sparsity, value) in enumerate(rows):
            mark = "  <- chosen" if index == self.chosen else ""
            lines.append(
                f"{threshold:10.2f}{sparsity:10.4f}{value:12.4f}{mark}"
            )
        return "\n".join(lines)

    def plot(self) -> Any:
        """The metric and the sparsity against the threshold.

        Returns:
            A `matplotlib.figure.Figure`.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.thresholds, self.values, marker="o", color="C0")
        axes.axhline(self.baseline, linestyle=":", color="C0")
        axes.axvline(self.threshold, linestyle="--", color="gray")
        axes.set_xlabel("threshold of log alpha")
        axes.set_ylabel(f"{self.metric} on held-out data", color="C0")
        other = axes.twinx()
        other.plot(self.thresholds, self.sparsities, marker=".", color="C1")
        other.set_ylabel("sparsity", color="C1")
        return figure


def choose_threshold(
    model: keras.Model,
    validation_data: Any,
    *,
    max_drop: float = 0.001,
    metric: str | None = None,
    mode: str = "auto",
    thresholds: Sequence[float] = THRESHOLDS,
    batch_size: int = 256,
) -> ThresholdSweep:
    """Finds the lowest threshold that held-out data allows, and sets it.

    Weights whose log alpha is at or above the threshold are zero in
    evaluation and after `strip`. The published threshold is 3; the best one
    depends on the net. Thresholds are tried from high to low, and the last
    one before the metric falls by more than `max_drop` is set.

    Args:
        model: A compiled model with `Gaussian` weights.
        validation_data: (x, y), or a data set of batches, that the model was
            not trained on, and that no result is reported on.
        max_drop: How much worse the metric may be than with every weight
            kept, in the metric's own units.
        metric: Name as in the logs. Default: the first compiled metric, or
            `"loss"`.
        mode: Whether larger or smaller is better: `"max"`, `"min"`, or
            `"auto"`, which knows the names of Keras' common metrics.
        thresholds: What to try. The default begins so high that no weight
            that matters is taken away.
        batch_size: Of the evaluation, where the data are arrays.

    Returns:
        A `ThresholdSweep`; print it or call its `plot()`.

    Raises:
        ValueError: If the model has no `Gaussian` weights, is not compiled,
            or knows no such metric, or if no threshold is allowed.
            Thresholds are then as they were.

    Reference:
        The rule log alpha > 3: Molchanov et al., 2017; a search on held-out
        data: Gale, Elsen and Hooker, "The state of sparsity", 2019.

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> model = ks.sparsify(model, ks.Gaussian(), verbose=False)
    >>> model.compile("adam", "mse", metrics=["mae"])
    >>> held_out = np.ones((8, 4)), np.ones((8, 2))
    >>> sweep = ks.choose_threshold(
    ...     model, held_out, max_drop=9.0, thresholds=[3.0, 0.0])
    >>> sweep.metric, sweep.threshold
    ('mae', 0.0)
    """
    weights = list(gaussian_weights(model).values())
    if not model.compiled:
        raise ValueError(
            "Expected a compiled model. Received one that is not. Call "
            "`model.compile(loss=..., metrics=[...])`."
        )
    if max_drop < 0 or not len(thresholds):
        raise ValueError(
            "Expected a `max_drop` that is not negative, and at least one "
            f"threshold. Received: {max_drop} and {thresholds!r}."
        )
    if mode not in ("auto", "max", "min"):
        raise ValueError(
            f"Expected `mode` to be 'auto', 'max' or 'min'. Received: {mode!r}."
        )
    before = [float(np.asarray(w.threshold)) for w in weights]
    falling = sorted(map(float, thresholds), reverse=True)
    try:
        logs = _evaluate(model, weights, np.inf, validation_data, batch_size)
        metric = metric or _first_metric(model, logs)
        if metric not in logs:
            raise ValueError(
                f"Expected `metric` to be one of {sorted(logs)}. "
                f"Received: {metric!r}."
            )
        mode = _mode(metric) if mode == "auto" else mode
        baseline = logs[metric]
        values, sparsities = [], []
        for threshold in falling:
            logs = _evaluate(
                model, weights, threshold, validation_data, batch_size
            )
            values.append(logs[metric])
            sparsities.append(_sparsity(model))
        chosen = _last_allowed(values, baseline, max_drop, metric, mode)
        _set(weights, falling[chosen])
    except BaseException:
        for weight, threshold in zip(weights, before, strict=True):
            weight.threshold.assign(threshold)
        raise
    return ThresholdSweep(
        metric,
        tuple(falling),
        tuple(values),
        tuple(sparsities),
        baseline,
        chosen,
    )


def _set(weights: Sequence[Any], threshold: float) -> None:
    for weight in weights:
        weight.threshold.assign(threshold)


def _evaluate(
    model: keras.Model,
    weights: Sequence[Any],
    threshold: float,
    data: Any,
    batch_size: int,
) -> dict[str, float]:
    _set(weights, threshold)
    if isinstance(data, (tuple, list)):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        return model.evaluate(
            x,
            y,
            sample_weight=sample_weight,
            batch_size=batch_size,
            verbose=0,
            return_dict=True,
        )
    return model.evaluate(data, verbose=0, return_dict=True)


def _first_metric(model: keras.Model, logs: dict[str, float]) -> str:
    """The first compiled metric; the logs are in alphabetical order."""
    names: list[str] = []
    for metric in model.metrics:
        if metric.name == "compile_metrics" and metric.metrics:
            names.extend(metric.result())
    return next((name for name in names if name in logs), "loss")


def _mode(metric: str) -> str:
    if any(part in metric for part in _BETTER_LOW):
        return "min"
    if any(part in metric for part in _BETTER_HIGH):
        return "max"
    raise ValueError(
        f"Expected to know whether {metric!r} should be high or low. Received "
        "mode='auto' and a name that does not tell. Pass mode='max' or 'min'."
    )


def _last_allowed(
    values: Sequence[float],
    baseline: float,
    max_drop: float,
    metric: str,
    mode: str,
) -> int:
    sign = 1.0 if mode == "max" else -1.0
    last = -1
    for index, value in enumerate(values):
        if not sign * (baseline - value) <= max_drop + _ROUNDING:
            break
        last = index
    if last < 0:
        raise ValueError(
            f"Expected a threshold at which {metric} is within {max_drop} of "
            f"{baseline:.4g}. Received {values[0]:.4g} at the highest one. "
            "Allow a larger `max_drop`, or try higher thresholds."
        )
    return last


def _sparsity(model: keras.layers.Layer) -> float:
    """Fraction of zeros that `strip` would leave in the Bayesian weights."""
    zeros = total = 0
    for each, weight in parametrized_weights(model, Gaussian).values():
        value = _surgery.to_numpy(final(each, weight))
        zeros += value.size - int(np.count_nonzero(value))
        total += value.size
    return zeros / total
