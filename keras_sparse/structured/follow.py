"""Following channels through the graph that Keras keeps of a model."""

from __future__ import annotations

from typing import Any

import keras

from keras_sparse import _surgery
from keras_sparse.structured import (
    rules_linear,
    rules_operations,
    rules_pointwise,
    rules_sequence,
    rules_shape,
)
from keras_sparse.structured.rules import rule_of, stop
from keras_sparse.structured.signals import Call, Signal
from keras_sparse.structured.tracing import Trace

# Imported for the rules that they register.
RULES = (
    rules_linear,
    rules_operations,
    rules_pointwise,
    rules_sequence,
    rules_shape,
)


def follow(model: keras.Model) -> Trace:
    """Gives every channel of a model an identity, and ties them.

    Args:
        model: A Functional or Sequential model that is built.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If the model has no graph, as a subclassed one.
    """
    graph = graph_or_error(model)
    trace = Trace()
    inputs = []
    for tensor in graph.inputs:
        shape = tuple(tensor.shape)
        signal = Signal(shape)
        if len(shape) > 1 and shape[-1] is not None:
            signal = Signal(shape, len(shape) - 1, trace.new(shape[-1], ""))
            trace.fix(signal.ids, f"the model's input {tensor.name!r}")
        inputs.append(signal)
    trace.starts = inputs
    outputs = _through(trace, graph, inputs)
    trace.ends = outputs
    for signal in outputs:
        trace.fix(signal.ids, "the model's output")
    return trace


def graph_or_error(model: Any) -> Any:
    """The graph of a model that has one."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            "Expected a keras.Model: Functional or Sequential. "
            f"Received: {model!r}."
        )
    graph = _surgery.graph_of(model)
    if graph is not None:
        return graph
    if isinstance(model, keras.Sequential):
        raise ValueError(
            f"Expected a built model. Received {model.name!r}, whose shapes "
            "are not known. Start it with a keras.Input."
        )
    raise ValueError(
        "Expected a model whose graph of layers Keras knows: Functional or "
        f"Sequential. Received {model.name!r}, a subclassed "
        f"{type(model).__name__}, whose `call` is free code. Rewrite it with "
        "the functional API, or make its parts Functional and pass these."
    )


def _through(trace: Trace, graph: Any, inputs: list[Signal]) -> list[Signal]:
    """Follows the calls of a graph in order."""
    signals: dict[int, Signal] = {}
    for tensor, signal in zip(graph.inputs, inputs, strict=True):
        signals[id(tensor)] = _at_boundary(trace, signal, tensor)
    for node in _surgery.graph_nodes(graph):
        if node.is_input or not all(
            id(tensor) in signals for tensor in node.input_tensors
        ):
            continue
        reads = [signals[id(tensor)] for tensor in node.input_tensors]
        call = Call(node.operation, node, signals, reads)
        call.outputs = _outputs(trace, call)
        trace.layers[id(node.operation)] = node.operation
        for tensor, signal in zip(node.outputs, call.outputs, strict=True):
            signals[id(tensor)] = signal
    return [signals[id(tensor)] for tensor in graph.outputs]


def _outputs(trace: Trace, call: Call) -> list[Signal]:
    operation = call.operation
    inner = None
    if isinstance(operation, keras.Model):
        inner = _surgery.graph_of(operation)
    if inner is None or not _matches(inner, call):
        rule = stop if inner is not None else rule_of(operation)
        outputs = rule(trace, call)
        call.outputs = outputs
        trace.calls.append(call)
        return outputs
    for number, signal in enumerate(call.inputs):
        if signal.ids is not None:
            trace.port(operation, f"input {number}", signal.ids)
    trace.entered.setdefault(id(operation), call.inputs)
    outputs = _through(trace, inner, call.inputs)
    return [
        _at_boundary(trace, signal, tensor)
        for signal, tensor in zip(outputs, call.node.outputs, strict=True)
    ]


def _matches(inner: Any, call: Call) -> bool:
    """Whether a nested model gets its inputs in the order of its graph."""
    wanted = _surgery.graph_structure(inner)[0]
    given = call.node.arguments.args[:1]
    return len(inner.inputs) == len(call.inputs) and (
        len(call.inputs) == 1
        or isinstance(wanted, dict) == any(isinstance(g, dict) for g in given)
    )


def _at_boundary(trace: Trace, signal: Signal, tensor: Any) -> Signal:
    """A signal as the graph on the other side of a call names its shape."""
    shape = tuple(tensor.shape)
    if shape == signal.shape:
        return signal
    same = Signal(shape)
    if signal.axis is not None and len(shape) == len(signal.shape):
        same = signal.moved(shape)
    elif signal.ids is not None:
        trace.fix(signal.ids, "a nested model takes another rank")
    trace.calls.append(Call(None, None, {}, [signal], [same]))
    return same
