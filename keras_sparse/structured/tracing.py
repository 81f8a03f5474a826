"""Identities of channels, and everything that holds one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from keras_sparse.structured.signals import Call, Mix, Signal

# From which channels are kept, by identity, to changes of a layer's config.
Sizes = Callable[[NDArray], dict[str, Any]]


@dataclasses.dataclass(eq=False)
class Axis:
    """One axis of a variable, along which channels lie.

    Args:
        layer: The layer that holds the variable.
        variable: The variable.
        axis: The axis, from the front.
        ids: The identity of the channel at each index.
        role: "out" where a kernel makes the channels, "in" where it reads
            them, "bias" where a constant is added to them, "scale" and
            "other" for the variables of layers that treat each by itself.
    """

    layer: keras.layers.Layer
    variable: keras.Variable
    axis: int
    ids: NDArray
    role: str


class Trace:
    """What following a model's graph finds out.

    Rules (see `rules.py`) call these methods; `groups` reads the result.
    """

    def __init__(self) -> None:
        self.count = 0
        self.starts: list[Signal] = []
        self.ends: list[Signal] = []
        self.entered: dict[int, list[Signal]] = {}
        self.calls: list[Call] = []
        self.axes: dict[tuple[int, int], Axis] = {}
        self.mixes: dict[int, list[Mix]] = {}
        self.sizes: dict[int, Sizes] = {}
        self.layers: dict[int, Any] = {}
        self.made: list[tuple[str, NDArray]] = []
        self.fixed: list[tuple[NDArray, str]] = []
        self.normalized: list[tuple[NDArray, Signal, bool]] = []
        self._ties: list[tuple[NDArray, NDArray]] = []
        self._ports: dict[tuple[int, str], NDArray] = {}

    def new(self, size: int, maker: str) -> NDArray:
        """New identities for the channels that `maker` makes."""
        ids = np.arange(self.count, self.count + size)
        self.count += size
        self.made.append((maker, ids))
        return ids

    def fix(self, ids: NDArray | None, why: str) -> None:
        """Channels that have to stay, and the reason."""
        if ids is not None and len(ids):
            self.fixed.append((ids, why))

    def tie(self, one: NDArray, other: NDArray) -> None:
        """Channels that stay or go together, one by one."""
        if one is not other:
            self._ties.append((one.ravel(), other.ravel()))

    def port(self, layer: Any, name: str, ids: NDArray) -> NDArray:
        """The identities at a layer's port, the same at each of its calls."""
        first = self._ports.setdefault((id(layer), name), ids)
        self.tie(first, ids)
        return first

    def enter(
        self, layer: Any, signal: Signal, axis: int, name: str = "in"
    ) -> NDArray:
        """The identities that a layer reads along an axis of a signal."""
        axis %= len(signal.shape)
        if signal.is_followed_on(axis):
            return self.port(layer, name, signal.ids)  # type: ignore[arg-type]
        size = signal.shape[axis]
        if size is None:
            raise ValueError(
                f"Expected {layer.name!r} to know the size of axis {axis} of "
                f"its input. Received a tensor of shape {signal.shape}."
            )
        ids = self._ports.get((id(layer), name))
        if ids is None:
            ids = self.new(size, "")
        self.fix(
            ids, f"{layer.name} reads an axis that is not the channels' axis"
        )
        return self.port(layer, name, ids)

    def leave(self, layer: Any, size: int, name: str = "out") -> NDArray:
        """The identities of the channels that a layer makes."""
        known = self._ports.get((id(layer), name))
        if known is not None:
            return known
        return self.port(layer, name, self.new(size, layer.name))

    def hold(
        self,
        layer: Any,
        variable: keras.Variable | None,
        axis: int,
        ids: NDArray,
        role: str,
    ) -> None:
        """Channels lie along an axis of a variable."""
        if variable is None:
            return
        key = (id(variable), axis % len(variable.shape))
        known = self.axes.get(key)
        if known is None:
            self.axes[key] = Axis(layer, variable, key[1], ids, role)
        else:
            self.tie(known.ids, ids)

    def mix(self, mix: Mix) -> None:
        """A layer sums over channels; noted once for each kernel."""
        known = self.mixes.setdefault(id(mix.layer), [])
        if all(each.kernel is not mix.kernel for each in known):
            known.append(mix)

    def size(self, layer: Any, sizes: Sizes) -> None:
        """How a layer's config follows from the channels that are kept."""
        self.layers[id(layer)] = layer
        self.sizes[id(layer)] = sizes

    def normalize(self, signal: Signal, zero_is_neutral: bool = False) -> None:
        """A layer computes with all channels at once, so none is ignored."""
        if signal.ids is not None:
            self.normalized.append((signal.ids, signal, zero_is_neutral))

    def components(self) -> NDArray:
        """For each identity, the number of the unit it belongs to."""
        ones = [one for one, _ in self._ties] or [np.zeros(0, int)]
        others = [other for _, other in self._ties] or [np.zeros(0, int)]
        rows, columns = np.concatenate(ones), np.concatenate(others)
        graph = coo_array(
            (np.ones(len(rows), bool), (rows, columns)),
            shape=(self.count, self.count),
        )
        return connected_components(graph, directed=False)[1]


def count(kept: NDArray, ids: NDArray) -> int:
    """How many of some channels are kept."""
    return int(kept[ids].sum())


def all_fixed(trace: Trace, ids: NDArray) -> bool:
    """Whether these very identities have been fixed before."""
    return any(np.shares_memory(ids, fixed) for fixed, _ in trace.fixed)
