"""Two dense layers with nothing between them are one."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from keras_sparse._traversal import Filter, matching
from keras_sparse.structured.batch_norm_fold import PASSED, is_linear
from keras_sparse.structured.cut import add_to_bias
from keras_sparse.structured.groups import groups
from keras_sparse.structured.rebuild import rebuild
from keras_sparse.structured.scales import Neighbours, learned_away
from keras_sparse.structured.signals import Call
from keras_sparse.structured.tracing import Trace
from keras_sparse.structured.values import Values


def merge_linear(
    model: keras.Model, *, where: Filter | None = None
) -> keras.Model:
    """Puts dense layers together that have no activation between them.

    W = W1 W2 and b = b1 W2 + b2, where that takes no more parameters than the
    two layers; a bottleneck stays. Dropout between the two goes as well.
    `shrink` calls it for layers whose `TriStateReLU` became the identity.

    Args:
        model: A built Functional or Sequential model. It is not changed.
        where: Which layers may be put into the next one: a regular expression
            searched in the layer's path, a list of them, or a callable from
            layer to bool. Default: all dense layers.

    Returns:
        A new plain model, not compiled. A layer that both became has the name
        and the settings of the second.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If it has no graph or is sparsified, or if `where` matches
            nothing.

    Reference:
        Srinivas and Babu, "Learning neural network architectures using
        backpropagation", BMVC 2016, section 3.

    Example:

    >>> import keras, keras_sparse.structured as structured
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((8,)),
    ...         keras.layers.Dense(20),
    ...         keras.layers.Dense(3),
    ...     ]
    ... )
    >>> model.count_params(), structured.merge_linear(model).count_params()
    (243, 27)
    """
    trace = groups(model).trace
    graph, values = Neighbours(trace), Values()
    dropped: dict[int, Any] = {}
    dense = [x for x in trace.layers.values() if isinstance(x, layers.Dense)]
    chosen = dense if where is None else matching(dense, where, "where")
    allowed = {id(layer) for layer in chosen}
    for call in trace.calls:
        if id(call.operation) in allowed:
            way = _way_to_next(graph, call)
            if way and _put_together(graph, call, way[-1], values):
                dropped |= {id(each.operation): None for each in way[:-1]}
                dropped[id(call.operation)] = None
    return rebuild(model, trace, np.ones(trace.count, bool), values, dropped)


def linear_before(trace: Trace) -> set[str]:
    """Names of dense layers whose activation was learned away."""
    graph, names = Neighbours(trace), set()
    for call in trace.calls:
        if not learned_away(call.operation):
            continue
        signal = call.inputs[0]
        while (maker := graph.maker.get(id(signal))) is not None:
            if isinstance(maker.operation, layers.Dense):
                names.add(maker.operation.name)
            if not isinstance(maker.operation, PASSED):
                break
            signal = maker.inputs[0]
    return names


def _way_to_next(graph: Neighbours, call: Call) -> list[Call]:
    """The calls behind a linear layer, up to the dense layer that reads it."""
    way: list[Call] = []
    if not is_linear(call.operation):
        return way
    while True:
        signal = call.outputs[0]
        if graph.calls[id(call.operation)] > 1 or not graph.is_read_once(
            signal
        ):
            return []
        call = graph.readers[id(signal)][0]
        way.append(call)
        if isinstance(call.operation, layers.Dense):
            return way if graph.calls[id(call.operation)] == 1 else []
        if not isinstance(call.operation, PASSED):
            return []


def _put_together(
    graph: Neighbours, first: Call, second: Call, values: Values
) -> bool:
    """Multiplies two kernels into the second, if that makes them smaller."""
    mixes = graph.trace.mixes
    [one], [two] = (
        mixes.get(id(each.operation), [None]) for each in (first, second)
    )
    if one is None or two is None or len(one.out_ids) != len(two.in_ids):
        return False
    before, behind = values[one.kernel], values[two.kernel]
    inputs, hidden = before.shape
    outputs = behind.shape[1]
    if inputs * outputs > hidden * (inputs + outputs):
        return False
    bias = values.biases.get(id(one.layer))
    if one.bias is not None:
        bias = values[one.bias]
    if bias is not None:
        add_to_bias(two, bias.astype("float64") @ behind, values)
    product = before.astype("float64") @ behind
    values[two.kernel] = product.astype(behind.dtype)
    return True
