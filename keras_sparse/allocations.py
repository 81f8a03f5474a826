"""Allocations: how a sparsity is shared out among weights.

Each is `(weights, sparsity, scores=None) -> {path: sparsity}`, where `weights`
and `scores` map paths to arrays; only `global_` and `std_threshold` read more
than shapes. Allocations with settings are classes in lower case, since they
stand where a function can stand.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_sparse._arithmetic.histogram import chunks
from keras_sparse._smallest_counts import smallest_counts
from keras_sparse.selection import check_no_nan, check_sparsity

Arrays = Mapping[str, Any]
Allocation = Callable[..., dict[str, float]]


def uniform(
    weights: Arrays, sparsity: float, scores: Arrays | None = None
) -> dict[str, float]:
    """The same sparsity for every weight.

    Args:
        weights: Maps paths to arrays.
        sparsity: Fraction of zeros, in [0, 1).
        scores: Not used.

    Raises:
        ValueError: If `sparsity` is outside [0, 1).

    Example:

    >>> uniform({"a": np.ones((2, 2)), "b": np.ones((3, 1))}, 0.5)
    {'a': 0.5, 'b': 0.5}
    """
    return dict.fromkeys(weights, check_sparsity(sparsity))


def global_(
    weights: Arrays, sparsity: float, scores: Arrays | None = None
) -> dict[str, float]:
    """The share of each weight below one threshold over all scores.

    Exactly `round(sparsity * total)` entries are dropped. Entries tied at
    the threshold are shared out in proportion to their number. No weight is
    emptied: one that would be keeps its largest entry, and another entry is
    dropped elsewhere, as long as there is one.

    Args:
        weights: Maps paths to arrays.
        sparsity: Fraction of zeros over all weights, in [0, 1).
        scores: Maps the same paths to scores. Defaults to `None`, the
            absolute values of the weights.

    Raises:
        ValueError: If `sparsity` is outside [0, 1), the paths of `scores`
            are not those of `weights`, or a score is NaN.

    Example:

    >>> global_({"a": np.array([.1, .9, -.2, .5]), "b": np.array([.7, .8])}, .5)
    {'a': 0.75, 'b': 0.0}

    Reference:
        [Lee et al., 2019](https://arxiv.org/abs/1810.02340), algorithm 1.
    """
    key = np.abs if scores is None else None
    arrays = weights if scores is None else _checked(scores, weights)
    sizes = {path: math.prod(np.shape(w)) for path, w in weights.items()}
    total = sum(sizes.values())
    budget = round(check_sparsity(sparsity) * total)
    budget = min(budget, total - len(sizes))
    full: dict[str, int] = {}
    while True:
        rest = {path: arrays[path] for path in weights if path not in full}
        zeros = smallest_counts(rest, budget - sum(full.values()), key)
        emptied = {p: sizes[p] - 1 for p in rest if zeros[p] == sizes[p]}
        if not emptied:
            zeros |= full
            return {path: zeros[path] / sizes[path] for path in weights}
        full |= emptied


def erdos_renyi(
    weights: Arrays, sparsity: float, scores: Arrays | None = None
) -> dict[str, float]:
    """Density in proportion to `sum(shape) / prod(shape)`: large ones sparser.

    For matrices this is Erdos-Renyi, for convolution kernels its extension
    ERK. A weight whose density would pass 1 stays dense, and the others share
    what is left of the budget.

    Args:
        weights: Maps paths to arrays.
        sparsity: Fraction of zeros over all weights, in [0, 1).
        scores: Not used.

    Raises:
        ValueError: If `sparsity` is outside [0, 1).

    Example:

    >>> erdos_renyi({"a": np.ones((4, 4)), "b": np.ones((8, 8))}, 0.75)
    {'a': 0.5833333333333333, 'b': 0.7916666666666666}

    Reference:
        [Evci et al., 2020](https://arxiv.org/abs/1911.11134), section 3.
    """
    density = 1 - check_sparsity(sparsity)
    sizes = {path: math.prod(w.shape) for path, w in weights.items()}
    edges = {path: sum(w.shape) or 1 for path, w in weights.items()}
    dense: set[str] = set()
    while True:
        rest = [path for path in weights if path not in dense]
        budget = density * sum(sizes.values()) - sum(sizes[p] for p in dense)
        scale = budget / max(sum(edges[path] for path in rest), 1)
        share = {path: scale * edges[path] / sizes[path] for path in rest}
        # Rounding must not leave a trace of sparsity where there is none.
        overfull = {path for path in rest if share[path] > 1 - 1e-9}
        if not overfull:
            most = math.nextafter(1.0, 0.0)  # where densities round to 0
            return {p: min(1 - share.get(p, 1.0), most) for p in weights}
        dense |= overfull


@dataclass(frozen=True)
class std_threshold:
    """The share of each weight below `q` times its standard deviation.

    The standard deviation is that of all entries. The sparsity follows from
    `q` alone, and the one that is asked for is not used. A weight of which
    all entries are below keeps its largest one.

    Args:
        q: Number, 0 or more, or a dict of such from path to number. Weights
            that the dict does not name stay dense.

    Raises:
        ValueError: If `q` is negative, names a path that does not exist, or
            a weight has NaN.

    Example:

    >>> w = np.array([-3.0, -1.0, 1.0, 3.0])  # The deviation is sqrt(5).
    >>> std_threshold(0.5)({"a": w}, 0.0)
    {'a': 0.5}

    Reference:
        [Han et al., 2015](https://arxiv.org/abs/1506.02626), section 4.
    """

    q: float | Mapping[str, float]

    def __post_init__(self):
        qs = self.q.values() if isinstance(self.q, Mapping) else [self.q]
        if not all(q >= 0 for q in qs):
            raise ValueError(
                "Expected q as a number, 0 or more, of standard deviations. "
                f"Received: q={self.q!r}. Values from 0.5 to 2 are usual."
            )

    def __call__(
        self, weights: Arrays, sparsity: float, scores: Arrays | None = None
    ) -> dict[str, float]:
        qs = self.q
        if not isinstance(qs, Mapping):
            qs = dict.fromkeys(weights, qs)
        _check_paths(qs, weights)
        shares = {}
        for path, w in weights.items():
            w = np.asarray(w)
            check_no_nan(w, f"weight {path!r}")
            threshold = qs.get(path, 0.0) * _deviation(w)
            below = sum(
                int(np.count_nonzero(np.abs(chunk) < threshold))
                for chunk in chunks([w], w.dtype)
            )
            shares[path] = min(below, w.size - 1) / w.size
        return shares


@dataclass(frozen=True)
class explicit:
    """A sparsity of its own at which each named weight stops.

    A named weight gets the smaller one of its own sparsity and the one that
    is asked for, so that it follows a schedule up to there. The others get
    the one that is asked for.

    Args:
        targets: Dict from path to sparsity, in [0, 1).

    Raises:
        ValueError: If a sparsity is outside [0, 1) or a path does not exist.

    Example:

    >>> weights = {"a": np.ones((2, 2)), "b": np.ones((3, 1))}
    >>> explicit({"b": 0.25})(weights, 0.5)
    {'a': 0.5, 'b': 0.25}
    """

    targets: Mapping[str, float]

    def __post_init__(self):
        for path, target in self.targets.items():
            check_sparsity(target, f"the sparsity of {path!r}")

    def __call__(
        self, weights: Arrays, sparsity: float, scores: Arrays | None = None
    ) -> dict[str, float]:
        sparsity = check_sparsity(sparsity)
        _check_paths(self.targets, weights)
        return {
            path: min(self.targets.get(path, sparsity), sparsity)
            for path in weights
        }


@dataclass(frozen=True)
class _Unscored:
    """A function of weights and sparsity that is not told the scores."""

    function: Allocation

    def __call__(self, weights, sparsity, scores=None) -> dict[str, float]:
        return self.function(weights, sparsity)


def get(allocation: Any) -> Allocation:
    """Turn whatever stands for an allocation into one.

    Args:
        allocation: An allocation, a dict for `explicit`, or a callable of
            `(weights, sparsity)`.

    Returns:
        A callable of `(weights, sparsity, scores=None)`.

    Raises:
        ValueError: If `allocation` is none of these.

    Example:

    >>> get({"a": 0.5})
    explicit(targets={'a': 0.5})
    """
    if isinstance(allocation, Mapping):
        return explicit(allocation)
    if not callable(allocation) or isinstance(allocation, type):
        raise ValueError(
            "Expected an allocation: a function such as "
            "`allocations.erdos_renyi`, an object such as "
            "`allocations.std_threshold(1.0)`, or a dict from path to "
            f"sparsity. Received: {allocation!r}."
        )
    parameters = inspect.signature(allocation).parameters
    takes_scores = "scores" in parameters or any(
        p.kind is p.VAR_KEYWORD for p in parameters.values()
    )
    return allocation if takes_scores else _Unscored(allocation)


def _deviation(w: NDArray) -> float:
    """The standard deviation of all entries, a cacheful at a time."""
    mean = w.mean(dtype=np.float64)
    squares = [
        np.square(chunk - mean).sum()
        for chunk in chunks([w], np.dtype(np.float64))
    ]
    return math.sqrt(sum(squares) / w.size)


def _checked(scores: Arrays, weights: Arrays) -> Arrays:
    """The scores, one for each weight."""
    if scores.keys() != weights.keys():
        raise ValueError(
            f"Expected one score for each weight of {list(weights)}. "
            f"Received: {list(scores)}. Compute a score for every path."
        )
    return scores


def _check_paths(named: Iterable[str], weights: Arrays) -> None:
    """Raise if a path is named that is not the path of a weight."""
    unknown = [path for path in named if path not in weights]
    if unknown:
        raise ValueError(
            f"Expected paths of weights, which are {list(weights)}. "
            f"Received: {unknown}. Correct the spelling or leave them out."
        )
