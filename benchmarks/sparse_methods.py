"""The settings of each sparse-training method, for one recipe.

Each function puts a method on a plain model, and returns its callbacks.
"""

from __future__ import annotations

from recipes import BATCH


def _gradual(allocation, every=100):
    def prepare(ks, model, sparsity, steps, train):
        ks.sparsify(model, ks.Mask(), verbose=False)
        schedule = ks.schedules.Polynomial(
            sparsity, int(0.1 * steps), int(0.6 * steps)
        )
        allocate = getattr(ks.allocations, allocation)
        return [ks.callbacks.Prune(schedule, every=every, allocation=allocate)]

    return prepare


def _feather(allocation):
    def prepare(ks, model, sparsity, steps, train):
        ks.sparsify(model, ks.Feather(), verbose=False)
        schedule = ks.schedules.Polynomial(sparsity, 0, steps // 2)
        allocate = getattr(ks.allocations, allocation)
        return [ks.callbacks.Threshold(schedule, allocation=allocate)]

    return prepare


def _learned(law):
    def prepare(ks, model, sparsity, steps, train):
        learned = ks.LearnedThreshold(law, budget=sparsity)
        ks.sparsify(model, learned, verbose=False)
        return [ks.callbacks.Budget(end=steps // 2)]

    return prepare


def _rigl(ks, model, sparsity, steps, train):
    import numpy as np

    rng = np.random.default_rng(0)

    def batch():
        chosen = rng.integers(0, len(train.x), BATCH)
        return train.x[chosen], train.y[chosen]

    ks.sparsify(model, ks.Mask(), verbose=False)
    return [
        ks.callbacks.DropAndGrow(
            "rigl", sparsity=sparsity, end=3 * steps // 4, data=batch
        )
    ]


# These two have no sparsity to ask for: a penalty chooses it, and their rows
# are to be read at the sparsity that they reached.
DECAYS = {0.9: 0.045, 0.95: 0.105, 0.98: 0.5, 0.99: 1.2}
PRICES = {0.9: 1.05e-5, 0.95: 1.8e-5, 0.98: 3.6e-5, 0.99: 7.5e-5}


def _soft(ks, model, sparsity, steps, train):
    made = ks.SoftThreshold(DECAYS[sparsity], initial=-5.0, rate=5.0)
    ks.sparsify(model, made, verbose=False)
    return []


def _gate(ks, model, sparsity, steps, train):
    price = PRICES[sparsity]
    ks.sparsify(model, ks.WeightGate(price, price / 10), verbose=False)
    return []


METHODS = {
    "dense": lambda ks, model, sparsity, steps, train: [],
    "gradual uniform": _gradual("uniform"),
    "gradual erk": _gradual("erdos_renyi"),
    "gradual global": _gradual("global_"),
    "gradual uniform, finer": _gradual("uniform", every=None),
    "gradual global, finer": _gradual("global_", every=None),
    "gradual uniform every 10": _gradual("uniform", every=10),
    "gradual global every 10": _gradual("global_", every=10),
    "feather global": _feather("global_"),
    "feather erk": _feather("erdos_renyi"),
    "feather uniform": _feather("uniform"),
    "rigl": _rigl,
    "str": _soft,
    "weight gate": _gate,
    "learned gaussian": _learned("gaussian"),
    "learned laplace": _learned("laplace"),
    "learned auto": _learned("auto"),
}
