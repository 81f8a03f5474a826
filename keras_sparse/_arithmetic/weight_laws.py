"""Laws of a weight's entries: how many lie above a threshold."""

from __future__ import annotations

import math
import statistics
from typing import Any

from keras import ops

LAWS = ("gaussian", "laplace", "auto")
# E|w| / sqrt(E w^2) under each law.
GAUSSIAN, LAPLACE = math.sqrt(2 / math.pi), math.sqrt(1 / 2)
TINY = 1e-6


def density(w: Any, r: Any, law: str) -> Any:
    """Share of entries with |w| > r sigma, for sigma the root mean square.

    Args:
        w: Tensor; the laws read E|w| and sigma of it.
        r: Scalar, the threshold in sigmas.
        law: `"gaussian"`: 1 - erf(r / sqrt 2); `"laplace"`:
            exp(-r sigma / E|w|); `"auto"`: between them as E|w| / sigma lies.
    """
    kappa = ops.mean(ops.abs(w)) / deviation(w)
    gaussian = 1.0 - ops.erf(r * math.sqrt(1 / 2))
    laplace = ops.exp(-r / kappa)
    if law == "auto":
        share = ops.clip((kappa - LAPLACE) / (GAUSSIAN - LAPLACE), 0.0, 1.0)
        return share * gaussian + (1.0 - share) * laplace
    return gaussian if law == "gaussian" else laplace


def deviation(w: Any) -> Any:
    """sigma, never zero."""
    return ops.sqrt(ops.mean(ops.square(w))) + TINY


def deviations(sparsity: float) -> float:
    """r of the Gaussian law at a sparsity: sqrt 2 * erfinv."""
    return statistics.NormalDist().inv_cdf((1 + sparsity) / 2)
