"""One learned threshold for each weight, and one budget for all of them."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_sparse import _surgery
from keras_sparse._arithmetic import weight_laws
from keras_sparse._arithmetic.between import Between
from keras_sparse._arithmetic.shrinkage import shrink
from keras_sparse._arithmetic.straight_through import straight_through
from keras_sparse.parametrizations.parametrization import Parametrization
from keras_sparse.parametrizations.shared_budget import SharedBudget
from keras_sparse.selection import check_sparsity

UNITS = ("weights", "macs")
LARGEST = 5.0  # In deviations.
TINY = 1e-6
SAME = 1e-3  # Means differ as they are compiled.


@keras.saving.register_keras_serializable(package="keras_sparse")
class LearnedThreshold(Parametrization):
    """Zero up to b = r sigma, with one r learned for the whole weight.

    sigma is the weight's root mean square. A law of the weights turns r into
    a sparsity, erf(r / sqrt 2) for the Gaussian and 1 - exp(-b / E|w|) for
    the Laplace law, and the loss pays `strength * log(d / target)^2` for the
    density d of the whole model. Gradients pass straight through; r gets
    -w / r times those of the pruned weights. So the budget is fixed, and
    which weight gets how much of it is learned.

    Train with `keras_sparse.callbacks.Budget`: it makes one budget of all
    weights and holds the sparsity at what is asked for. Without it each
    weight keeps to the budget by itself, as far as the law is true.

    Args:
        law: `"gaussian"`, `"laplace"`, or `"auto"` (default): between the two
            as E|w| / sigma lies, at each step.
        budget: Sparsity of the whole, in [0, 1).
        of: What is saved: `"weights"` (default) or `"macs"`, the multiply-
            accumulates.
        p: Power of the shrinkage above the threshold, as in `Feather`.
            Defaults to 3. `None` is the hard threshold of the paper: kept
            weights stay as they are, and one that crosses the threshold
            jumps.
        theta: Share of the gradient in [0, 1] that pruned weights get.
            Default: 1 up to a budget of 95%, .5 above.
        strength: Weight of the penalty. Defaults to 10.
        rate: How much faster than a weight r is learned by Adam. Defaults to
            1. SGD squares it: .1 there gives the paper's hundredth.
        start: Sparsity that r starts at, by the Gaussian law, as a share of
            the budget. Defaults to 1: `Budget` ramps the sparsity up by
            itself. Without it take the paper's .6.
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
    >>> round(learned.ratio(), 3)
    1.645
    """

    def __init__(
        self,
        law: str = "auto",
        budget: float = 0.9,
        *,
        of: str = "weights",
        p: float | None = 3.0,
        theta: float | None = None,
        strength: float = 10.0,
        rate: float = 1.0,
        start: float = 1.0,
        smallest: int = 1000,
        **kwargs: Any,
    ) -> None:
        for name, value, known in (
            ("law", law, weight_laws.LAWS),
            ("of", of, UNITS),
        ):
            if value not in known:
                raise ValueError(
                    f"Expected {name!r} to be one of {known}. Received: "
                    f"{value!r}."
                )
        if not (strength > 0 and rate > 0 and 0 <= start <= 1):
            raise ValueError(
                "Expected a positive strength and rate, and a start in [0, 1]."
                f" Received: strength={strength!r}, rate={rate!r}, "
                f"start={start!r}."
            )
        super().__init__(**kwargs)
        self.law, self.of = law, of
        self.p, self.theta = p, theta
        self.budget = check_sparsity(budget, "budget")
        self.strength, self.rate = strength, rate
        self.start, self.smallest = start, smallest

    def build(self, shape: tuple[int, ...]) -> None:
        self.size = math.prod(shape)
        self.stays_dense = self.size < self.smallest
        self.shared = SharedBudget([self], [1.0])
        if self.stays_dense:
            return
        start = weight_laws.deviations(self.start * self.budget)
        self.learned = self.add_weight(
            name="learned",
            shape=(),
            initializer=keras.initializers.Constant(start / self.rate),
            constraint=Between(0.0, LARGEST / self.rate),
            dtype="float32",
            autocast=False,
        )
        for name, value in (("level", 1.0), ("held", 0.0), ("held_at", -1.0)):
            variable = self.add_weight(
                name=name,
                shape=(),
                initializer=keras.initializers.Constant(value),
                dtype="float32",
                trainable=False,
                autocast=False,
            )
            setattr(self, name, variable)

    def hold(self, threshold: float, raw: keras.Variable) -> None:
        """Evaluates with this threshold until training has moved the own."""
        self.held.assign(threshold)
        self.held_at.assign(self._threshold(_surgery.read(raw)))

    def ratio(self) -> float:
        """r, the threshold in deviations at level 1."""
        return self.rate * float(ops.convert_to_numpy(self.learned))

    def density(self, w: Any) -> Any:
        """Share of the weights above the threshold, by the law."""
        r = self.rate * ops.convert_to_tensor(self.learned)
        return weight_laws.density(ops.stop_gradient(w), r, self.law)

    def penalty(self, w: Any) -> Any | None:
        if self.shared.payer() is not self:
            return None
        excess = (self.shared.density(self, w) + TINY) / (1.0 - self.budget)
        return self.strength * ops.square(ops.log(excess))

    def call(self, w: Any, training: bool | None = None) -> Any:
        if self.stays_dense:
            return w
        fixed = ops.stop_gradient(w)
        learned = ops.convert_to_tensor(self.learned)
        threshold = self._threshold(fixed)
        if not training:
            moved = ops.abs(threshold - ops.convert_to_tensor(self.held_at))
            held = ops.convert_to_tensor(self.held)
            threshold = ops.where(moved <= SAME * threshold, held, threshold)
        zeros = ops.zeros_like(w)
        if self.p is None:
            kept = ops.abs(fixed) > threshold
            value = ops.where(kept, fixed, zeros)
        else:
            value, kept = shrink(fixed, threshold, self.p, training)
        theta = self.theta
        if theta is None:
            theta = 1.0 if self.budget <= 0.95 else 0.5
        share = ops.where(kept, 1.0, ops.cast(theta, w.dtype))
        slope = ops.where(kept, zeros, -fixed) / ops.maximum(learned, TINY)
        return straight_through(value, (w, share), (learned, slope))

    def _threshold(self, fixed: Any) -> Any:
        learned = ops.stop_gradient(ops.convert_to_tensor(self.learned))
        threshold = ops.convert_to_tensor(self.level) * self.rate * learned
        return threshold * weight_laws.deviation(fixed)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "law": self.law,
            "budget": self.budget,
            "of": self.of,
            "p": self.p,
            "theta": self.theta,
            "strength": self.strength,
            "rate": self.rate,
            "start": self.start,
            "smallest": self.smallest,
        }
