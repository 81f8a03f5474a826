"""Which units can go without changing a prediction, and what they leave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keras_sparse.structured.constants import Constants, weighted
from keras_sparse.structured.groups import Groups
from keras_sparse.structured.signals import Mix
from keras_sparse.structured.values import Values


def without_effect(found: Groups, constants: Constants) -> NDArray:
    """Units that every reader ignores, or whose value its bias can hold.

    Args:
        found: The groups of a model.
        constants: Its constant channels.

    Returns:
        For each unit of the model whether it can go. One unit of each group
        stays in any case.
    """
    candidates = np.zeros(found.trace.count, bool)
    for group in found:
        candidates[group.units] = True
    for ids, signal, zero_is_neutral in found.trace.normalized:
        value = constants.at(signal)
        held = ~(value == 0) if zero_is_neutral else np.ones(len(ids), bool)
        candidates[found.unit_of[ids[held]]] = False
    mixes = [mix for each in found.trace.mixes.values() for mix in each]
    readers = [_reader(found, mix, constants) for mix in mixes]
    dead = np.zeros(found.trace.count, bool)
    while True:
        gone = candidates.copy()
        for reads, makes, used in readers:
            needed = used[:, ~dead[makes]].any(axis=1)
            gone[reads[needed]] = False
        if (gone == dead).all():
            break
        dead = gone
    for group in found:
        if dead[group.units].all():
            dead[group.units[0]] = False
    return dead


def _reader(
    found: Groups, mix: Mix, constants: Constants
) -> tuple[NDArray, NDArray, NDArray]:
    """The units that a kernel reads, makes, and which it cannot do without."""
    reads, makes = found.unit_of[mix.in_ids], found.unit_of[mix.out_ids]
    value = constants.read(mix)
    foldable = value == 0
    if mix.takes_constants and mix.takes_bias:
        foldable |= np.isfinite(value)
    needed = ~foldable
    kernel = mix.matrix(constants.values[mix.kernel])
    used = mix.spread((kernel != 0).any(axis=1)) & needed[:, None]
    if mix.recurrent:
        used &= reads[:, None] != makes[None, :]
    return reads, makes, used


def fold_constants(
    found: Groups, constants: Constants, kept: NDArray, values: Values
) -> None:
    """Adds what channels that go leave behind to the readers' biases.

    Args:
        found: The groups of the model.
        constants: Its constant channels.
        kept: For each channel whether it stays.
        values: The weights to change.
    """
    for mixes in found.trace.mixes.values():
        for mix in mixes:
            value = constants.read(mix)
            gone = ~kept[mix.in_ids] & np.isfinite(value) & (value != 0)
            if not gone.any() or not mix.takes_bias:
                continue
            kernel = mix.matrix(values[mix.kernel])
            add_to_bias(
                mix, weighted(mix, kernel, np.where(gone, value, 0)), values
            )


def add_to_bias(mix: Mix, sums: NDArray, values: Values) -> None:
    """Adds to what a kernel makes; its layer gets a bias if it has none."""
    if mix.bias is None:
        before = values.biases.get(id(mix.layer), 0)
        values.biases[id(mix.layer)] = (before + sums).astype("float32")
        return
    bias = values[mix.bias].copy()
    flat = bias.reshape(-1)
    flat[: len(sums)] += sums.astype(bias.dtype)
    values[mix.bias] = bias
