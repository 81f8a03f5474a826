"""A look at which weights are noise."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_sparse import _surgery
from keras_sparse.bayesian.weights import gaussian_weights


def plot_log_alpha(model: keras.layers.Layer, bins: int = 60) -> Any:
    """Histogram of log alpha for each Bayesian weight of a model.

    Weights right of the dashed line, the threshold, are zero in evaluation.
    A good threshold lies in the valley between the two hills.

    Args:
        model: A model with `Gaussian` weights, before `strip`.
        bins: Of each histogram.

    Returns:
        A `matplotlib.figure.Figure`; `figure.savefig("log_alpha.png")`.

    Raises:
        ValueError: If the model has no Bayesian weights.

    Example:

    >>> import keras, keras_sparse as ks
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> model = ks.sparsify(model, ks.Gaussian(), verbose=False)
    >>> figure = ks.plot_log_alpha(model)
    >>> figure.axes[0].get_xlabel()
    'log alpha'
    """
    from matplotlib.figure import Figure

    weights = gaussian_weights(model)
    columns = min(3, len(weights))
    rows = math.ceil(len(weights) / columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (path, weight) in zip(grid, weights.items(), strict=False):
        log_alpha = weight.log_alpha(_surgery.read(weight.raw))
        values = _surgery.to_numpy(log_alpha).ravel()
        threshold = float(np.asarray(weight.threshold))
        axes.hist(np.clip(values, -15.0, 15.0), bins=bins)
        axes.axvline(threshold, linestyle="--", color="gray")
        share = float((values >= threshold).mean())
        axes.set_title(f"{path}: {share:.1%} zero", fontsize="small")
        axes.set_xlabel("log alpha")
        axes.set_ylabel("weights")
    for axes in list(grid):
        axes.set_visible(False)
    return figure
