"""Kernels of noise, whose groups `structured_bayes.py` closes.

The variances and what the priors learn start far from where they end, so they
may learn faster than the weights. Which log alpha closes a group is decided on
images held out of training, layer by layer.
"""

from __future__ import annotations

import keras_sparse as ks

HELD_OUT = 5000  # training images
DROP = 0.1  # points of accuracy on them that closing all groups may cost
THRESHOLDS = range(20, -9, -1)
PRIORS = {
    "group_ard": ks.priors.GroupARD,
    "normal_jeffreys": ks.priors.NormalJeffreys,
    "half_cauchy": ks.priors.HalfCauchy,
}


def adam(model, rate, schedule):
    """Adam under which what is not a weight of the network learns faster."""
    import keras

    fast = {
        id(variable.value)
        for _, _, each in ks.parametrized(model)
        for variable in each.trainable_variables
    }

    class Adam(keras.optimizers.Adam):
        def update_step(self, gradient, variable, learning_rate):
            factor = rate if id(variable) in fast else 1.0
            super().update_step(gradient, variable, factor * learning_rate)

    return Adam(schedule)


def close_groups(model, x, y):
    """Sets each layer's threshold, the last layer's first; returns them.

    Each layer may use an equal share of `DROP`, and what others left of
    theirs.
    """

    def accuracy():
        return 100 * model.evaluate(x, y, 1000, verbose=0)[1]

    noisy = [each for _, _, each in ks.parametrized(model)]
    for each in noisy:
        each.threshold.assign(float("inf"))
    lowest = accuracy()
    for each in reversed(noisy):
        lowest -= DROP / len(noisy)
        kept = float("inf")
        for threshold in THRESHOLDS:
            each.threshold.assign(threshold)
            if accuracy() < lowest:
                break
            kept = threshold
        each.threshold.assign(kept)
    return [float(each.threshold.numpy()) for each in noisy]
