"""One learned threshold for each weight, and one budget for all of them."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_sparse import _surgery
from keras_sparse._straight_through import straight_through
from keras_sparse.parametrizations.parametrization import Parametrization
from keras_sparse.selection import check_sparsity

LAWS = ("gaussian", "laplace", "auto")
UNITS = ("weights", "macs")
# E|w| / sqrt(E w^2) under each law.
GAUSSIAN, LAPLACE = math.sqrt(2 / math.pi), math.sqrt(1 / 2)
LARGEST = 5.0  # In deviations.
TINY = 1e-6


@dataclasses.dataclass(eq=False)
class SharedBudget:
    """Weights with one budget, and what each costs where it is dense."""

    members: Sequence[LearnedThreshold]
    costs: Sequence[float]

    def payer(self) -> LearnedThreshold:
        """The one whose penalty is that of all."""
        return next(each for each in self.members if not each.stays_dense)

    def density(self, asking: LearnedThreshold, w: Any) -> Any:
        """What is left of the cost, by the law; `w` is the asking one's."""
        total = sum(self.costs)
        density: Any = 0.0
        for each, cost in zip(self.members, self.costs, strict=True):
            share: Any = 1.0
            if not each.stays_dense:
                share = each.density(
                    w if each is asking else _surgery.read(each.raw)
                )
            density = density + cost / total * share
        return density


@keras.saving.register_keras_serializable(package="keras_sparse")
class LearnedThreshold(Parametrization):
    """Zero up to b = r sigma, the weight itself above it, with r learned.

    sigma is the weight's root mean square. A law of the weights turns r into
    a sparsity, erf(r / sqrt 2) for the Gaussian and 1 - exp(-b / E|w|) for
    the Laplace law, and the loss pays `strength * log(d / target)^2` for the
    density d of the whole model. Gradients pass straight through to every
    weight; r gets -w / r times those of the pruned weights. So the budget is
    fixed, and which weight gets how much of it is learned.

    Train with `keras_sparse.callbacks.Budget`: it makes one budget of all
    weights and holds the sparsity at what is asked for. Without it each
    weight keeps to the budget by itself, as far as the law is true.

    Args:
        law: `"gaussian"`, `"laplace"`, or `"auto"` (default): between the two
            as E|w| / sigma lies, at each step.
        budget: Sparsity of the whole, in [0, 1).
        of: What is saved: `"weights"` (default) or `"macs"`, the multiply-
            accumulates.
        strength: Weight of the penalty. Defaults to 10.
        rate: How much faster than a weight r is learned by Adam. Defaults to
            1. SGD squares it: .1 there gives the paper's hundredth.
        smallest: Weights with fewer entries stay dense. Defaults to 1000.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Retsinas et al., "Weight pruning via adaptive sparsity loss", 2020,
        arXiv:2006.02768, with a logarithm in the loss, which does not fade
        at high sparsity; law of Laplace: Glentis Georgoulakis, thesis, NTUA
        2023.

    Example:

    >>> import keras, keras_sparse as ks
    >>> learned = ks.LearnedThreshold("gaussian", budget=0.9)
    >>> learned.build((40, 50))
    >>> round(learned.ratio(), 3)  # A start at .6 * .9.
    0.739
    """

    def __init__(
        self,
        law: str = "auto",
        budget: float = 0.9,
        *,
        of: str = "weights",
        strength: float = 10.0,
        rate: float = 1.0,
        smallest: int = 1000,
        **kwargs: Any,
    ) -> None:
        for name, value, known in (("law", law, LAWS), ("of", of, UNITS)):
            if value not in known:
                raise ValueError(
                    f"Expected {name!r} to be one of {known}. Received: "
                    f"{value!r}."
                )
        if not (strength > 0 and rate > 0):
            raise ValueError(
                "Expected a positive strength and rate. Received: "
                f"strength={strength!r}, rate={rate!r}."
            )
        super().__init__(**kwargs)
        self.law, self.of = law, of
        self.budget = check_sparsity(budget, "budget")
        self.strength, self.rate, self.smallest = strength, rate, smallest

    def build(self, shape: tuple[int, ...]) -> None:
        self.size = math.prod(shape)
        self.stays_dense = self.size < self.smallest
        self.shared = SharedBudget([self], [1.0])
        if self.stays_dense:
            return
        start = _deviations(0.6 * self.budget)
        self.learned = self.add_weight(
            name="learned",
            shape=(),
            initializer=keras.initializers.Constant(start / self.rate),
            constraint=lambda x: ops.clip(x, 0.0, LARGEST / self.rate),
            dtype="float32",
            autocast=False,
        )
        for name, value in (("level", 1.0), ("held", -1.0)):
            variable = self.add_weight(
                name=name,
                shape=(),
                initializer=keras.initializers.Constant(value),
                dtype="float32",
                trainable=False,
                autocast=False,
            )
            setattr(self, name, variable)

    def ratio(self) -> float:
        """r, the threshold in deviations at level 1."""
        return self.rate * float(ops.convert_to_numpy(self.learned))

    def density(self, w: Any) -> Any:
        """Share of the weights above the threshold, by the law."""
        w = ops.stop_gradient(w)
        r = self.rate * ops.convert_to_tensor(self.learned)
        kappa = ops.mean(ops.abs(w)) / _deviation(w)
        gaussian = 1.0 - ops.erf(r * math.sqrt(1 / 2))
        laplace = ops.exp(-r / kappa)
        if self.law == "auto":
            share = (kappa - LAPLACE) / (GAUSSIAN - LAPLACE)
            share = ops.clip(share, 0.0, 1.0)
            return share * gaussian + (1.0 - share) * laplace
        return gaussian if self.law == "gaussian" else laplace

    def penalty(self, w: Any) -> Any | None:
        if self.shared.payer() is not self:
            return None
        excess = (self.shared.density(self, w) + TINY) / (1.0 - self.budget)
        return self.strength * ops.square(ops.log(excess))

    def call(self, w: Any, training: bool | None = None) -> Any:
        if self.stays_dense:
            return w
        learned = ops.convert_to_tensor(self.learned)
        level = ops.convert_to_tensor(self.level)
        threshold = level * self.rate * learned * _deviation(w)
        if not training:
            held = ops.convert_to_tensor(self.held)
            threshold = ops.where(held < 0.0, threshold, held)
        kept = ops.abs(w) > threshold
        value = ops.where(kept, w, ops.zeros_like(w))
        if not training:
            return value
        slope = (value - w) / ops.maximum(learned, TINY)
        return straight_through(value, w) + straight_through(
            ops.zeros_like(w), learned, slope
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "law": self.law,
            "budget": self.budget,
            "of": self.of,
            "strength": self.strength,
            "rate": self.rate,
            "smallest": self.smallest,
        }


def _deviation(w: Any) -> Any:
    return ops.sqrt(ops.mean(ops.square(ops.stop_gradient(w)))) + TINY


def _deviations(sparsity: float) -> float:
    """r of the Gaussian law at a sparsity: sqrt 2 * erfinv."""
    return statistics.NormalDist().inv_cdf((1 + sparsity) / 2)
