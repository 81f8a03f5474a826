"""Which neurons of a layer can stand in for others, and at what cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DISTANCES = ("euclidean", "relative")
RULES = ("mode", "foot")
_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Merge:
    """Neuron `gone` leaves its outgoing weights to neuron `survivor`.

    Args:
        survivor: Index of the neuron that stays.
        gone: Index of the neuron that goes.
        saliency: What the merge costs, as `saliency` counts it.
    """

    survivor: int
    gone: int
    saliency: float


def squared_distances(
    kernel: NDArray, bias: NDArray, distance: str = "euclidean"
) -> NDArray:
    """How far apart the incoming weights of each two neurons are, squared.

    Args:
        kernel: Of shape (inputs, neurons).
        bias: Of shape (neurons,).
        distance: `"euclidean"`: ||(W_i, b_i) - (W_j, b_j)||. `"relative"`:
            ||W_i - W_j|| / ||W_i + W_j|| + |b_i - b_j| / |b_i + b_j|.

    Returns:
        An array of shape (neurons, neurons), infinite on the diagonal.
    """
    if distance == "euclidean":
        squared = _euclidean(np.vstack([kernel, bias]))
    else:
        difference = np.sqrt(_euclidean(kernel))
        total = np.sqrt(_euclidean(kernel, sign=-1))
        apart = np.abs(bias[:, None] - bias)
        together = np.abs(bias[:, None] + bias)
        squared = np.square(
            difference / (total + _TINY) + apart / (together + _TINY)
        )
    np.fill_diagonal(squared, np.inf)
    return squared


def saliency(squared: NDArray, outgoing: NDArray) -> NDArray:
    """s_ij = <a_j^2> ||e_ij||^2: what it costs that i stands in for j.

    Args:
        squared: Squared distances of the neurons.
        outgoing: Outgoing weights a, of shape (neurons, outputs).

    Returns:
        An array of the shape of `squared`.
    """
    apart = np.isfinite(squared)
    costs = np.where(apart, squared, 0.0) * np.square(outgoing).mean(axis=1)
    return np.where(apart, costs, np.inf)


def merges(squared: NDArray, outgoing: NDArray) -> list[Merge]:
    """All neurons into one, the cheapest merge first.

    Outgoing weights add up at the survivor, which makes it dearer to remove.
    The cheapest survivor of a neuron is the nearest one, whatever its
    outgoing weights are, so only that one is kept track of.

    Args:
        squared: Squared distances of the neurons.
        outgoing: Their outgoing weights, of shape (neurons, outputs).
    """
    squared, outgoing = squared.copy(), outgoing.astype("float64")
    places = np.arange(len(squared))
    alive = np.ones(len(squared), bool)
    nearest = squared.argmin(axis=0)
    energy = np.square(outgoing).mean(axis=1)
    found = []
    for _ in places[1:]:
        cost = np.full(len(squared), np.inf)
        cost[alive] = energy[alive] * squared[nearest[alive], places[alive]]
        gone = int(cost.argmin())
        survivor = int(nearest[gone])
        found.append(Merge(survivor, gone, float(cost[gone])))
        outgoing[survivor] += outgoing[gone]
        energy[survivor] = np.square(outgoing[survivor]).mean()
        alive[gone] = False
        squared[gone] = np.inf
        stale = alive & (nearest == gone)
        nearest[stale] = squared[:, stale].argmin(axis=0)
    return found


def cut_off(rule: str, matrix: NDArray, found: Sequence[Merge]) -> int:
    """How many of the merges to do, without data.

    Args:
        rule: `"mode"`: until one costs more than the most frequent saliency
            in the matrix, by a histogram of logarithms. `"foot"`: up to the
            foot of the steep end of the merges' saliencies: where, among the
            dearer half, their logarithms lie farthest below the chord.
        matrix: Saliencies before any merge, infinite on the diagonal.
        found: The merges in their order.
    """
    costs = np.array([each.saliency for each in found])
    if rule == "mode":
        dearer = np.flatnonzero(costs > _mode(matrix[np.isfinite(matrix)]))
        return int(dearer[0]) if len(dearer) else len(costs)
    half = len(costs) // 2
    rise = np.log(np.maximum(costs[half:], _TINY))
    chord = np.linspace(rise[0], rise[-1], len(rise))
    return half + int(np.argmax(chord - rise)) + 1


def _euclidean(columns: NDArray, sign: int = 1) -> NDArray:
    columns = columns.astype("float64")
    squares = np.square(columns).sum(axis=0)
    product = columns.T @ columns
    return np.maximum(squares[:, None] + squares - 2 * sign * product, 0)


def _mode(values: NDArray) -> float:
    """The middle of the fullest bin of the logarithms."""
    positive = values[values > 0]
    if not len(positive):
        return 0.0
    logs = np.log(positive)
    quarters = np.subtract(*np.percentile(logs, [75, 25]))
    width = 2 * quarters / len(logs) ** (1 / 3)  # Freedman and Diaconis
    bins = np.ptp(logs) / width if width > 0 else 1.0
    counts, edges = np.histogram(logs, int(np.clip(bins, 1, len(logs))))
    fullest = int(counts.argmax())
    return float(np.exp(edges[fullest : fullest + 2].mean()))
