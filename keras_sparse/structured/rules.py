"""Which rule follows the channels through a call of a layer or operation."""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_sparse.structured.signals import Call, Signal
from keras_sparse.structured.tracing import Trace

# From a call to its output signals. A rule gives the layer's ports, ties and
# held variables to the trace, and never guesses: what it cannot follow it
# passes to `stop`.
Rule = Callable[[Trace, Call], list[Signal]]

_BY_CLASS: dict[type, Rule] = {}
_BY_NAME: dict[str, Rule] = {}


def follows(*classes: type) -> Callable[[Rule], Rule]:
    """Makes a function the rule of layer classes and their subclasses."""

    def register(rule: Rule) -> Rule:
        for each in classes:
            _BY_CLASS[each] = rule
        return rule

    return register


def follows_named(*names: str) -> Callable[[Rule], Rule]:
    """The same for classes of Keras that have no public name.

    `"Relu"` stands for an operation of `keras.ops`, `"convnext.LayerScale"`
    for a layer in a module of `keras.applications`.
    """

    def register(rule: Rule) -> Rule:
        for each in names:
            _BY_NAME[each] = rule
        return rule

    return register


def rule_of(operation: object) -> Rule:
    """The rule of the nearest class in the ancestry, or `stop`."""
    if callable(getattr(operation, "channel_scale", None)):
        return _BY_NAME["channel_scale"]
    kind = type(operation)
    for ancestor in kind.__mro__:
        rule = _BY_CLASS.get(ancestor) or _BY_NAME.get(_name(ancestor))
        if rule is not None:
            # A subclass with a `call` of its own may do anything.
            same = getattr(kind, "call", 0) is getattr(ancestor, "call", 0)
            return rule if same else stop
    return stop


def has_rule(operation: object) -> bool:
    """Whether a layer or operation can be followed."""
    return rule_of(operation) is not stop


def stop(trace: Trace, call: Call) -> list[Signal]:
    """Fixes all channels that go in, and follows none that come out."""
    kind = type(call.operation).__name__
    return halt(trace, call, f"{kind} is not known to be followed")


def halt(trace: Trace, call: Call, why: str) -> list[Signal]:
    """Fixes all channels that go in, with a reason."""
    for signal in call.inputs:
        trace.fix(signal.ids, f"{call.operation.name}: {why}")
    return [Signal(shape) for shape in call.shapes()]


def _name(ancestor: type) -> str:
    module = ancestor.__module__
    if module.startswith("keras.src.ops."):
        return ancestor.__name__
    if module.startswith("keras.src.applications."):
        return f"{module.rsplit('.', 1)[-1]}.{ancestor.__name__}"
    return ""


def channel_axis(layer: keras.layers.Layer, rank: int) -> int:
    """The axis of the channels in a layer that has a data format."""
    first = getattr(layer, "data_format", None) == "channels_first"
    return 1 if first else rank - 1
