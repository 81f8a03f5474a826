"""What a model costs, and which units go to reach a share of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import adapters
from keras_sparse._traversal import walk
from keras_sparse.macs import uses
from keras_sparse.structured.groups import Groups
from keras_sparse.structured.tracing import Trace

COSTS = ("parameters", "macs")


class Cost:
    """Parameters or multiply-accumulates of a model with fewer channels.

    Args:
        model: The model.
        trace: What `follow` found out about it.
        of: `"parameters"` or `"macs"`.
    """

    def __init__(self, model: keras.Model, trace: Trace, of: str) -> None:
        times = _uses(model) if of == "macs" else None
        self._terms = []
        for variable in {id(v): v for v in model.weights}.values():
            factor = 1 if times is None else times.get(id(variable), 0)
            along = []
            for axis, size in enumerate(variable.shape):
                held = trace.axes.get((id(variable), axis))
                if held is None:
                    factor *= size
                else:
                    along.append(held.ids)
            if factor:
                self._terms.append((factor, along))

    def __call__(self, kept: NDArray) -> float:
        return float(
            sum(
                factor * math.prod(int(kept[ids].sum()) for ids in along)
                for factor, along in self._terms
            )
        )


def _uses(model: keras.Model) -> dict[int, int]:
    found = {}
    for layer in walk(model):
        for slot in adapters.slots_of(layer) if layer.built else ():
            times = uses(layer, slot)
            if times is None:
                raise ValueError(
                    "Expected a model with known sizes for of='macs'. "
                    f"Received one in which those of {layer.name!r} depend "
                    "on the input. Give the inputs whole shapes, or choose "
                    "of='parameters'."
                )
            found[id(slot.weight(layer))] = times
    return found


class Ranking:
    """Units in the order in which they go.

    Args:
        found: The groups of a model.
        scores: The score of each unit of each group; a group with a NaN
            among them stays whole.
        first: For each unit of the model whether it goes in any case.
        scope: `"group"` takes the same share of every group, `"global"` the
            units of the lowest scores.
        round_to: What the number of units left in a group is a multiple of.
    """

    def __init__(
        self,
        found: Groups,
        scores: Sequence[NDArray],
        first: NDArray,
        scope: str,
        round_to: int,
    ) -> None:
        self.found, self.round_to = found, round_to
        self._first = [int(first[group.units].sum()) for group in found]
        ranked = [
            np.where(first[group.units], -np.inf, score)
            for group, score in zip(found, scores, strict=True)
        ]
        self._whole = [bool(np.isnan(score).any()) for score in ranked]
        self._order = [np.argsort(score, kind="stable") for score in ranked]
        self._places = self._globally(ranked) if scope == "global" else None

    def _globally(self, ranked: Sequence[NDArray]) -> list[NDArray]:
        """For each group the places of its units in the order of all.

        Of equal scores those go first that are low within their group.
        """
        values = [
            score[o] for score, o in zip(ranked, self._order, strict=True)
        ]
        within = [np.arange(len(score)) / len(score) for score in ranked]
        ends = np.cumsum([0, *map(len, ranked)])
        self._number = int(ends[-1])
        place = np.empty(self._number, int)
        if self._number:
            order = np.lexsort((np.concatenate(within), np.concatenate(values)))
            place[order] = np.arange(self._number)
        return [place[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]

    def kept(self, share: float) -> NDArray:
        """For each channel whether it stays when a share of the units goes."""
        units = np.ones(self.found.trace.count, bool)
        for number, group in enumerate(self.found):
            if self._places is None:
                going = int(share * group.size)
            else:
                limit = int(share * self._number)
                going = int(np.searchsorted(self._places[number], limit))
            if self._whole[number]:
                going = 0
            going = max(going, self._first[number])
            going = group.size - self._rounded(group.size - going, group.size)
            units[group.units[self._order[number][:going]]] = False
        return units[self.found.unit_of]

    def _rounded(self, left: int, size: int) -> int:
        steps = max(1, math.ceil(left / self.round_to))
        return min(size, steps * self.round_to)


def reach(
    ranking: Ranking,
    cost: Callable[[NDArray], float],
    remove: float,
    steps: int,
) -> NDArray:
    """The fewest units that must go for a share of the cost to go.

    Those without effect go in any case.

    Args:
        ranking: The units in order.
        cost: What is left, of the channels that are kept.
        remove: The share of the cost that is to go.
        steps: How often to halve the interval of the share of units.

    Returns:
        For each channel whether it stays.
    """
    whole = cost(np.ones(ranking.found.trace.count, bool))
    least = ranking.kept(1.0)
    most = 1 - cost(least) / whole
    if most < remove:
        raise ValueError(
            f"Expected a share that can go. Received remove={remove}, but with "
            f"one step of units left in every group {most:.3f} of the cost "
            "is gone. Look at `groups(model).fixed` for what has to stay, "
            "and at `ignored`, `round_to` and `importance`."
        )
    none = ranking.kept(0.0)
    if 1 - cost(none) / whole >= remove:
        return none
    low, high, best = 0.0, 1.0, least
    for _ in range(steps):
        middle = (low + high) / 2
        kept = ranking.kept(middle)
        if 1 - cost(kept) / whole >= remove:
            high, best = middle, kept
        else:
            low = middle
    return best
