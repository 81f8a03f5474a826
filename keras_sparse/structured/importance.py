"""How much a unit matters: by weights, BatchNorm, gradients, activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse._batches import inputs_of, pairs_of
from keras_sparse._selection.gradients import differentiate
from keras_sparse.structured.groups import Group, Groups
from keras_sparse.structured.replay import mean_squares
from keras_sparse.structured.tracing import Axis
from keras_sparse.structured.values import Values

Importance = str | Callable[[Group], Any]
NAMES = ("magnitude", "batchnorm", "taylor", "activation")
# Scores whose size means the same in every group are compared as they are.
_COMPARABLE = ("batchnorm", "taylor")
_BATCH = 32


def scores(
    model: keras.Model,
    found: Groups,
    values: Values,
    importance: Importance,
    data: Any = None,
    loss: Any = None,
    *,
    normalize: bool = False,
) -> list[NDArray]:
    """A score for every unit of every group that can be cut.

    Args:
        model: The model.
        found: Its groups.
        values: Its weights.
        importance: One of `NAMES`, or a callable from a group to an array.
        data: For `"taylor"` what `pairs_of` takes, for `"activation"` what
            `inputs_of` takes.
        loss: For `"taylor"`; the compiled loss if not given.
        normalize: Whether to divide by the mean of each group.

    Returns:
        An array for each group; NaN where a unit has no score.
    """
    if callable(importance):
        given = [_checked(importance, group) for group in found]
    else:
        total = _totals(model, found, values, importance, data, loss)
        given = [total[group.units] for group in found]
    if normalize and importance not in _COMPARABLE:
        given = [each / (np.abs(each).mean() or 1.0) for each in given]
    return given


def _totals(
    model: keras.Model,
    found: Groups,
    values: Values,
    importance: str,
    data: Any,
    loss: Any,
) -> NDArray:
    if importance == "magnitude":
        return _magnitude(found, values)
    if importance == "batchnorm":
        return _batchnorm(found, values)
    if data is None:
        raise ValueError(
            f"Expected data for importance={importance!r}. Received none. "
            "Pass data=(x, y), or data=x for 'activation'; 'magnitude' and "
            "'batchnorm' need none."
        )
    if importance == "taylor":
        return _taylor(model, found, values, data, loss)
    return _activation(found, values, data)


def _checked(importance: Callable[[Group], Any], group: Group) -> NDArray:
    score = np.asarray(importance(group), "float64")
    if score.shape != (group.size,):
        raise ValueError(
            "Expected `importance` to return one number for each of the "
            f"{group.size} units. Received an array of shape {score.shape} "
            f"for: {group}."
        )
    return score


def _squares(axis: Axis, values: Values) -> NDArray:
    weight = values[axis.variable]
    letters = list(range(weight.ndim))
    return np.einsum(weight, letters, weight, letters, [axis.axis])


def _magnitude(found: Groups, values: Values) -> NDArray:
    """Euclidean norm of all kernel entries that go with a unit."""
    total = np.zeros(found.trace.count)
    for axis in found.trace.axes.values():
        if axis.role in ("in", "out"):
            np.add.at(total, found.unit_of[axis.ids], _squares(axis, values))
    return np.sqrt(total)


def _batchnorm(found: Groups, values: Values) -> NDArray:
    """Mean |gamma| of the BatchNorms on a unit's way; NaN without any."""
    total = np.zeros(found.trace.count)
    number = np.zeros(found.trace.count)
    for axis in found.trace.axes.values():
        if axis.role == "scale" and isinstance(
            axis.layer, layers.BatchNormalization
        ):
            units = found.unit_of[axis.ids]
            np.add.at(total, units, np.abs(values[axis.variable]))
            np.add.at(number, units, 1)
    return np.divide(
        total, number, out=np.full(len(total), np.nan), where=number > 0
    )


def _taylor(
    model: keras.Model, found: Groups, values: Values, data: Any, loss: Any
) -> NDArray:
    """Mean over batches of (dL/dz z)^2, z = 1 a gate on what readers read.

    A gate before a linear reader has the derivative of the loss along the
    rows that it multiplies: the sum of gradient times weight.
    """
    readers = [a for a in found.trace.axes.values() if a.role == "in"]
    variables = list({id(a.variable): a.variable for a in readers}.values())
    loss = _loss_of(model, loss)
    total = np.zeros(found.trace.count)
    batches = 0
    for x, y in pairs_of(data, _BATCH):
        tensors = [_surgery.read(variable) for variable in variables]

        def of(tensors: list[Any], x: Any = x, y: Any = y) -> Any:
            mapping = list(zip(variables, tensors, strict=True))
            with keras.StatelessScope(state_mapping=mapping):
                return loss(x, y, model(x, training=False))

        gradients = differentiate(of, tensors)
        by_variable = {
            id(variable): gradient * values[variable]
            for variable, gradient in zip(variables, gradients, strict=True)
        }
        gate = np.zeros(found.trace.count)
        for axis in readers:
            product = by_variable[id(axis.variable)]
            others = tuple(a for a in range(product.ndim) if a != axis.axis)
            along = product.sum(axis=others, dtype="float64")
            np.add.at(gate, found.unit_of[axis.ids], along)
        total += gate**2
        batches += 1
    return total / max(batches, 1)


def _loss_of(model: keras.Model, loss: Any) -> Callable:
    if loss is not None:
        function = keras.losses.get(loss)
        return lambda x, y, prediction: keras.ops.mean(function(y, prediction))
    if not model.compiled:
        raise ValueError(
            "Expected a loss for importance='taylor'. Received a model that "
            "is not compiled. Pass loss=..., or call `model.compile` first."
        )
    return lambda x, y, prediction: model.compute_loss(
        x=x, y=y, y_pred=prediction
    )


def _activation(found: Groups, values: Values, data: Any) -> NDArray:
    """Root of the energy that readers draw from a unit.

    Mean square of each channel over samples and positions, times the squared
    norm of the kernel rows that read it, summed over readers.
    """
    total = np.full(found.trace.count, np.nan)
    by_layer: dict[int, list[Axis]] = {}
    for axis in found.trace.axes.values():
        if axis.role == "in":
            by_layer.setdefault(id(axis.layer), []).append(axis)
    batches = inputs_of(data, _BATCH)
    for call, signal, squares in mean_squares(found.trace, batches):
        units = found.unit_of[signal.ids]
        for axis in by_layer.get(id(call.operation), []):
            read = found.unit_of[axis.ids]
            if np.array_equal(read, units):
                energy = squares * _squares(axis, values)
                fresh = np.isnan(total[units])
                total[units[fresh]] = 0.0
                np.add.at(total, units, energy)
    return np.sqrt(total)
