"""Recurrent layers, attention, and the wrappers around layers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from keras_sparse.structured.rules import follows, halt, has_rule, rule_of
from keras_sparse.structured.signals import Call, Mix, Signal
from keras_sparse.structured.tracing import Trace, count

_GATES = {
    layers.SimpleRNN: 1,
    layers.GRU: 3,
    layers.LSTM: 4,
    layers.ConvLSTM1D: 4,
    layers.ConvLSTM2D: 4,
    layers.ConvLSTM3D: 4,
}
CONV_LSTM = (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)


def gates_of(layer: Any) -> int:
    """How many kernels of a recurrent layer lie side by side."""
    return next(n for kind, n in _GATES.items() if isinstance(layer, kind))


def units_of(trace: Trace, layer: Any, signal: Signal) -> NDArray:
    """Gives a recurrent layer's variables to the trace; returns its units."""
    cell, gates = layer.cell, gates_of(layer)
    convolves = isinstance(layer, CONV_LSTM)
    axis = -1
    if convolves and layer.data_format == "channels_first":
        axis = 2
    read = trace.enter(layer, signal, axis)
    units = trace.leave(layer, cell.filters if convolves else cell.units)
    every = np.tile(units, gates)
    trace.hold(layer, cell.kernel, -2, read, "in")
    trace.hold(layer, cell.kernel, -1, every, "out")
    trace.hold(layer, cell.recurrent_kernel, -2, units, "in")
    trace.hold(layer, cell.recurrent_kernel, -1, every, "out")
    if cell.bias is not None:
        trace.hold(layer, cell.bias, -1, every, "bias")
    rank = len(cell.kernel.shape)
    own = (rank - 2, (rank - 1,))
    trace.mix(
        Mix(
            *(layer, cell.kernel, *own, read, every, cell.bias),
            takes_constants=not convolves or layer.padding == "valid",
        )
    )
    trace.mix(
        Mix(
            *(layer, cell.recurrent_kernel, *own, units, every),
            takes_constants=False,
            recurrent=True,
        )
    )
    name = "filters" if convolves else "units"
    trace.size(layer, lambda kept: {name: count(kept, units)})
    return units


@follows(*_GATES)
def recurrent(trace: Trace, call: Call) -> list[Signal]:
    """Units in every gate, in the state and in the recurrent kernel."""
    layer = call.operation
    sequence = call.inputs[0]
    given = keras.tree.flatten(call.argument("initial_state", 1))
    given = [call.signals.get(id(each), each) for each in given]
    states = [each for each in given if isinstance(each, Signal)]
    units = units_of(trace, layer, sequence)
    for state in states:
        if state.ids is None or state.axis != len(state.shape) - 1:
            trace.fix(units, f"{layer.name} starts from a state of fixed size")
        else:
            trace.tie(units, state.ids)
    first = getattr(layer, "data_format", "") == "channels_first"
    outputs = []
    for shape in call.shapes():
        spatial = len(layer.kernel_size) if hasattr(layer, "kernel_size") else 0
        axis = len(shape) - 1 - spatial if first else len(shape) - 1
        outputs.append(Signal(shape, axis, units))
    return outputs


@follows(layers.Bidirectional)
def bidirectional(trace: Trace, call: Call) -> list[Signal]:
    """Two recurrent layers side by side, of as many units: Keras counts on it
    when it tells the shape of both together."""
    layer = call.operation
    halves = (layer.forward_layer, layer.backward_layer)
    if type(halves[0]) not in _GATES or len(call.inputs) > 1:
        return halt(trace, call, "what it wraps is not known to be followed")
    ids = [units_of(trace, half, call.inputs[0]) for half in halves]
    trace.tie(*ids)
    shapes = call.shapes()
    last = [len(shape) - 1 for shape in shapes]
    if layer.merge_mode == "concat":
        merged = [np.concatenate(ids)]
    elif layer.merge_mode is None:
        merged = ids
    else:
        merged = [ids[0]]
    states = (len(shapes) - len(merged)) // 2
    owners = merged + [ids[0]] * states + [ids[1]] * states
    trace.size(
        layer,
        lambda kept: {
            "layer": edited(trace, halves[0], kept),
            "backward_layer": edited(trace, halves[1], kept),
        },
    )
    return [
        Signal(shape, axis, owner)
        for shape, axis, owner in zip(shapes, last, owners, strict=True)
    ]


@follows(layers.TimeDistributed)
def time_distributed(trace: Trace, call: Call) -> list[Signal]:
    """A layer at each step."""
    outer, inner = call.operation, call.operation.layer
    signal, shape = call.inputs[0], call.shapes()[0]
    if isinstance(inner, keras.Model) or not has_rule(inner):
        return halt(trace, call, "what it wraps is not known to be followed")
    if signal.axis == 1:
        return halt(trace, call, "its steps are channels")
    call_inside = _OneStep(inner, signal, shape)
    made = rule_of(inner)(trace, call_inside)[0]  # type: ignore[arg-type]
    call.gather = call_inside.gather
    trace.size(outer, lambda kept: {"layer": edited(trace, inner, kept)})
    if made.axis is None:
        return [Signal(shape)]
    return [made.moved(shape, made.axis + 1)]


class _OneStep:
    """The call of a layer on each step of a sequence."""

    def __init__(self, layer: Any, signal: Signal, shape: Any) -> None:
        axis = None if signal.axis is None else signal.axis - 1
        step = (signal.shape[0], *signal.shape[2:])
        self.operation = layer
        self.inputs = [Signal(step, axis, signal.ids)]
        self.gather: NDArray | None = None
        self._shape = (shape[0], *shape[2:])

    def shapes(self) -> list:
        return [self._shape]


def edited(trace: Trace, layer: Any, kept: NDArray) -> dict[str, Any]:
    """A wrapped layer, serialised with its new sizes."""
    serialized = keras.saving.serialize_keras_object(layer)
    serialized.pop("build_config", None)
    if id(layer) in trace.sizes:
        serialized["config"].update(trace.sizes[id(layer)](kept))
    return serialized


@follows(layers.MultiHeadAttention)
def multi_head_attention(trace: Trace, call: Call) -> list[Signal]:
    """Heads go as wholes."""
    layer = call.operation
    query, value = call.argument("query", 0), call.argument("value", 1)
    key = call.argument("key", 2)
    key = value if key is None else key
    given = layer.get_config()["output_shape"]
    if given is not None and len(given) > 1:
        return halt(trace, call, "its outputs have several axes")
    heads = trace.leave(layer, layer.num_heads, "heads")
    made = _projections(
        trace, layer, (query, key, value), (heads, heads, heads)
    )
    outputs = call.shapes()
    if len(outputs) > 1:
        trace.fix(heads, f"{layer.name} returns the scores of each head")
    read = trace.enter(layer, query, -1, "query")

    def sizes(kept: NDArray) -> dict:
        changed: dict[str, Any] = {"num_heads": count(kept, heads)}
        if given is not None or count(kept, made) != count(kept, read):
            changed["output_shape"] = [count(kept, made)]
        return changed

    trace.size(layer, sizes)
    first = Signal(outputs[0], len(outputs[0]) - 1, made)
    return [first, *(Signal(shape) for shape in outputs[1:])]


@follows(layers.GroupQueryAttention)
def group_query_attention(trace: Trace, call: Call) -> list[Signal]:
    """A key-value head goes with the query heads that use it."""
    layer = call.operation
    query, value = call.argument("query", 0), call.argument("value", 1)
    key = call.argument("key", 2)
    key = value if key is None else key
    shared = trace.leave(layer, layer.num_key_value_heads, "heads")
    repeats = layer.num_query_heads // layer.num_key_value_heads
    heads = trace.port(layer, "query_heads", np.repeat(shared, repeats))
    made = _projections(
        trace, layer, (query, key, value), (heads, shared, shared)
    )
    # The layer makes as many channels as its query has.
    trace.tie(trace.enter(layer, query, -1, "query"), made)
    outputs = call.shapes()
    if len(outputs) > 1:
        trace.fix(shared, f"{layer.name} returns the scores of each head")
    trace.size(
        layer,
        lambda kept: {
            "num_query_heads": count(kept, heads),
            "num_key_value_heads": count(kept, shared),
        },
    )
    first = Signal(outputs[0], len(outputs[0]) - 1, made)
    return [first, *(Signal(shape) for shape in outputs[1:])]


def _projections(
    trace: Trace,
    layer: Any,
    signals: tuple[Signal, Signal, Signal],
    heads: tuple[NDArray, NDArray, NDArray],
) -> NDArray:
    """The kernels (channels, heads, size) in, (heads, size, channels) out."""
    names = ("query", "key", "value")
    projections = [
        (getattr(layer, f"_{name}_dense"), signal, own, name)
        for name, signal, own in zip(names, signals, heads, strict=True)
    ]
    gate = getattr(layer, "_gate_dense", None)
    if gate is not None:
        projections.append((gate, signals[0], heads[0], "query"))
    for each, signal, own, port in projections:
        read = trace.enter(layer, signal, -1, port)
        size = each.kernel.shape[2]
        trace.hold(layer, each.kernel, 0, read, "in")
        trace.hold(layer, each.kernel, 1, own, "out")
        trace.hold(layer, each.bias, 0, own, "bias")
        trace.mix(
            Mix(
                *(layer, each.kernel, 0, (1, 2), read, np.repeat(own, size)),
                each.bias,
            )
        )
    last = layer._output_dense
    size = last.kernel.shape[1]
    made = trace.leave(layer, last.kernel.shape[2])
    trace.hold(layer, last.kernel, 0, heads[0], "in")
    trace.hold(layer, last.kernel, 2, made, "out")
    trace.hold(layer, last.bias, 0, made, "bias")
    trace.mix(Mix(layer, last.kernel, 0, (2,), heads[0], made, last.bias))
    return made


@follows(layers.Attention, layers.AdditiveAttention)
def attention(trace: Trace, call: Call) -> list[Signal]:
    """Queries and keys are compared channel by channel; values pass."""
    layer = call.operation
    if isinstance(layer, layers.AdditiveAttention) and layer.use_scale:
        for signal in call.inputs[:2]:
            trace.fix(signal.ids, f"{layer.name} scales each channel")
    query, value = call.inputs[:2]
    key = call.inputs[2] if len(call.inputs) > 2 else value
    shape = call.shapes()[0]
    last = len(shape) - 1
    if query.axis == last and key.axis == last:
        trace.tie(query.ids, key.ids)  # type: ignore[arg-type]
        trace.normalize(query, zero_is_neutral=True)
        trace.normalize(key, zero_is_neutral=True)
    else:
        for signal in (query, key):
            trace.fix(signal.ids, f"{layer.name} meets an axis of fixed size")
    first = value.moved(shape) if value.axis == last else Signal(shape)
    return [first, *(Signal(each) for each in call.shapes()[1:])]
