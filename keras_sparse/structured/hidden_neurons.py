"""The neurons of a dense layer, and every weight that reads them."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from keras_sparse.structured.activations import mixes_channels, named
from keras_sparse.structured.batch_norm_fold import (
    BatchNormFold,
    batch_norm_fold,
)
from keras_sparse.structured.groups import Group, Groups
from keras_sparse.structured.neuron_saliency import Merge
from keras_sparse.structured.scales import Neighbours, commutes, passes
from keras_sparse.structured.signals import Call, Mix
from keras_sparse.structured.values import Values

_READERS = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
# Layers that do the same to every channel, whatever they do.
_ALIKE = (
    layers.Concatenate,
    layers.ELU,
    layers.Flatten,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.LeakyReLU,
    layers.ReLU,
)


class CannotMerge(Exception):
    """Why the neurons of a layer cannot stand in for each other."""


@dataclasses.dataclass
class HiddenNeurons:
    """The neurons of a dense layer.

    Args:
        maker: The kernel that makes them.
        units: The number of each in the model.
        readers: The kernels that read them, each with the rows of every
            neuron, of shape (neurons, rows).
        folds: BatchNormalizations on the way.
        scalable: Whether twice the neuron's input is twice its output.
    """

    maker: Mix
    units: NDArray
    readers: list[tuple[Mix, NDArray]]
    folds: list[BatchNormFold]
    scalable: bool

    def incoming(self, values: Values) -> tuple[NDArray, NDArray]:
        """The kernel (inputs, neurons) and the bias, float64."""
        mix = self.maker
        bias = values.biases.get(id(mix.layer), np.zeros(len(self.units)))
        if mix.bias is not None:
            bias = values[mix.bias]
        return values[mix.kernel].astype("float64"), bias.astype("float64")

    def outgoing(self, values: Values) -> NDArray:
        """The weights that read each neuron, of shape (neurons, outputs)."""
        parts = []
        for mix, rows in self.readers:
            kernel = np.moveaxis(values[mix.kernel], mix.in_axis, 0)
            parts.append(kernel[rows].reshape(len(rows), -1))
        return np.concatenate(parts, axis=1)

    def merge(self, done: list[Merge], norms: NDArray, values: Values) -> None:
        """Adds the outgoing weights of what goes to those of what stays.

        Args:
            done: The merges, in their order.
            norms: What a neuron is larger by than its share of a merge.
            values: The weights to change.
        """
        for mix, rows in self.readers:
            changed = values[mix.kernel].astype("float64")
            kernel = np.moveaxis(changed, mix.in_axis, 0)
            for each in done:
                ratio = 1.0
                if norms[each.survivor] > 0:
                    ratio = norms[each.gone] / norms[each.survivor]
                kernel[rows[each.survivor]] += ratio * kernel[rows[each.gone]]
                kernel[rows[each.gone]] = 0
            values[mix.kernel] = changed.astype(mix.kernel.dtype)


def hidden_neurons(
    found: Groups, graph: Neighbours, layer: layers.Dense
) -> HiddenNeurons:
    """Follows the neurons of a layer to everything that reads them.

    Args:
        found: The groups of a model.
        graph: The neighbours in its graph.
        layer: One of its dense layers.

    Raises:
        CannotMerge: If something on the way does not treat them alike.
    """
    units = _units(found, layer)
    maker = found.trace.mixes[id(layer)][0]
    way = _Way(graph, layer)
    index = np.full(found.trace.count, -1)
    index[units] = np.arange(len(units))
    readers = []
    for mix in way.mixes:
        neuron = index[found.unit_of[mix.in_ids]]
        rows = np.flatnonzero(neuron >= 0)
        rows = rows[np.argsort(neuron[rows], kind="stable")]
        if mix.blocks > 1 or len(rows) % len(units) or not len(rows):
            raise CannotMerge(f"{mix.layer.name} reads them in blocks")
        readers.append((mix, rows.reshape(len(units), -1)))
    if not readers:
        raise CannotMerge("no kernel reads them")
    return HiddenNeurons(maker, units, readers, way.folds, way.scalable)


def _units(found: Groups, layer: layers.Dense) -> NDArray:
    mixes = found.trace.mixes.get(id(layer))
    if not mixes:
        raise CannotMerge("its outputs are not followed")
    mine = [g for g in (*found, *found.fixed) if _makes(g, layer)]
    units = found.unit_of[mixes[0].out_ids]
    reasons = dict.fromkeys(why for group in mine for why in group.fixed)
    if reasons:
        raise CannotMerge("; ".join(reasons))
    if len(mine) != 1 or mine[0].size != len(units):
        raise CannotMerge("its neurons lie in several groups")
    if len(mine[0].makers) > 1:
        others = [name for name in mine[0].makers if name != layer.name]
        raise CannotMerge(f"tied to those of {', '.join(others)}")
    if len(units) == 1:
        raise CannotMerge("it has one neuron")
    return units


def _makes(group: Group, layer: keras.layers.Layer) -> bool:
    return any(m.layer is layer and m.role == "out" for m in group.members)


class _Way:
    """From a layer to its readers, call by call."""

    def __init__(self, graph: Neighbours, layer: layers.Dense) -> None:
        self.graph, self.layer = graph, layer
        self.mixes: list[Mix] = []
        self.folds: list[BatchNormFold] = []
        self.scalable = commutes(layer.activation, np.ones(1))
        reached: set[int] = set()
        for call in graph.trace.calls:
            if any(id(signal) in reached for signal in call.inputs):
                if not self.passes(call):
                    continue
            elif call.operation is not layer:
                continue
            reached.update(id(signal) for signal in call.outputs)

    def passes(self, call: Call) -> bool:
        """Whether the neurons go on behind a call, or a kernel reads them."""
        layer = call.operation
        if layer is None or (passes(layer, np.ones(1)) and not _slopes(layer)):
            return True
        if isinstance(layer, layers.BatchNormalization):
            fold = batch_norm_fold(self.graph, call)
            if fold is None:
                raise CannotMerge(f"{layer.name} cannot be folded")
            self.folds.append(fold)
            return True
        if isinstance(layer, _READERS) and layer is not self.layer:
            mixes = self.graph.trace.mixes[id(layer)]
            self.mixes += [mix for mix in mixes if mix not in self.mixes]
            return False
        if isinstance(layer, layers.Activation):
            if mixes_channels(layer.activation):
                raise CannotMerge(f"{named(layer.activation)} behind it")
        elif not isinstance(layer, _ALIKE):
            raise CannotMerge(
                f"{layer.name} ({type(layer).__name__}) may treat them "
                "differently"
            )
        if not isinstance(layer, (layers.Concatenate, layers.Flatten)):
            self.scalable = False
        return True


def _slopes(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, layers.PReLU)
