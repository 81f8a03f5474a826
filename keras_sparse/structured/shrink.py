"""A new, smaller plain model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse._traversal import Filter
from keras_sparse.structured.budget import COSTS, Cost, Ranking, reach
from keras_sparse.structured.constant_rules import constants_of
from keras_sparse.structured.cut import fold_constants, without_effect
from keras_sparse.structured.groups import Groups, groups
from keras_sparse.structured.importance import NAMES, Importance, scores
from keras_sparse.structured.merge_linear import linear_before, merge_linear
from keras_sparse.structured.rebuild import rebuild
from keras_sparse.structured.scales import fold_scales
from keras_sparse.structured.values import Values

_DEFAULTS = ("parameters", "magnitude", "group")
_STEPS, _MEASURED_STEPS = 30, 7


def shrink(
    model: keras.Model,
    remove: float | None = None,
    *,
    of: str | Callable[[keras.Model], float] = "parameters",
    importance: Importance = "magnitude",
    scope: str = "group",
    data: Any = None,
    loss: Any = None,
    round_to: int = 1,
    ignored: Filter | None = None,
    verbose: bool = False,
) -> keras.Model:
    """Cuts neurons, filters, recurrent units and heads out of a model.

    Without `remove` only what has no effect goes: channels that every reader
    ignores (zero rows in its kernel), and channels that are the same for
    every input (a zero kernel; the bias behind it, ReLU and BatchNorm make a
    constant), which go into the readers' biases. Predictions stay the same
    to float rounding. A constant other than zero stays where zero padding
    would have changed it at the border, and where a reader takes no bias.

    With `remove` the least important units go as well, until that share of
    the cost is gone. Constants that they leave are folded too, there at
    borders approximately. Fine-tune the result by plain `fit`, and shrink it
    again if you like.

    Layers with a method `channel_scale()` (gates that end as a fixed
    multiplication) are folded into their neighbours and dropped. Dense layers
    on both sides of a `TriStateReLU` that became the identity become one,
    where that makes the model smaller.

    Args:
        model: A built Functional or Sequential model. It is not changed.
        remove: The share of the cost to take away, in [0, 1); at least that
            much goes. `None` cuts only what has no effect.
        of: The cost: `"parameters"`, `"macs"`, or a callable from a model to
            a number, such as a measured latency. A callable sees a new model
            about ten times.
        importance: Which units go first. `"magnitude"`: the Euclidean norm of
            the kernel entries that go with the unit. `"batchnorm"`: |gamma|
            (groups without BatchNorm stay whole). `"taylor"`: the squared
            first-order change of the loss. `"activation"`: the energy that
            readers draw from the unit on `data` (attention heads stay).
            Or a callable from a `Group` to an array of its size.
        scope: `"group"`: the same share of each group goes. `"global"`: the
            lowest scores of the whole model go; magnitudes, energies and your
            own scores are divided by their group's mean first.
        data: For `"taylor"` (x, y) or a list of such pairs; for
            `"activation"` x, or a list of arrays, one for each input of the
            model. For both a `tf.data.Dataset` of batches, or an iterator.
        loss: For `"taylor"`: a Keras loss or its name; defaults to the loss
            that the model is compiled with.
        round_to: The number of units left in each group is a multiple of
            this, where the group is that large. At least one stays always.
        ignored: Layers whose channels stay: a regular expression searched in
            the layer's path, a list of them, or a callable from layer to
            bool.
        verbose: Whether to print one line of what went.

    Returns:
        A new plain model, not compiled, with the same layer names, inputs
        and outputs.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If it has no graph or is sparsified, if an argument is not
            as above, or if that much cannot go.

    Example:

    >>> import keras, numpy as np, keras_sparse.structured as structured
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((8,)),
    ...         keras.layers.Dense(16, "relu"),
    ...         keras.layers.Dense(2),
    ...     ]
    ... )
    >>> small = structured.shrink(model, 0.45)
    >>> [layer.units for layer in small.layers], model.count_params()
    ([8, 2], 178)
    >>> small.count_params()
    90

    Reference:
        Fang et al., "DepGraph" (CVPR 2023) for groups and their norm; Liu et
        al., "Network Slimming" (ICCV 2017) for BatchNorm scales; Molchanov
        et al., "Importance Estimation for Neural Network Pruning" (CVPR
        2019), equation 8, for the gates.
    """
    _check(remove, of, importance, scope, round_to)
    found = groups(model, ignored=ignored)
    trace, values = found.trace, Values()
    scales = fold_scales(trace, values)
    constants = constants_of(trace, values, scales.folded)
    gone = without_effect(found, constants)

    def build(kept: NDArray) -> keras.Model:
        own = values.copy()
        fold_constants(found, constants, kept, own)
        return rebuild(model, trace, kept, own, scales.replacements(kept))

    if remove is None:
        kept = _without(found, gone, round_to)
    else:
        given = scores(
            *(model, found, values, importance, data, loss),
            normalize=scope == "global",
        )
        ranking = Ranking(found, given, gone, scope, round_to)
        if callable(of):
            kept = reach(
                ranking, lambda k: float(of(build(k))), remove, _MEASURED_STEPS
            )
        else:
            kept = reach(ranking, Cost(model, trace, of), remove, _STEPS)
    small = build(kept)
    before = linear_before(trace)
    if before:
        small = merge_linear(small, where=lambda layer: layer.name in before)
    if verbose:
        _surgery.say(
            f"shrink: {model.count_params():,} to {small.count_params():,} "
            f"parameters; {len(found)} groups, {len(found.fixed)} fixed"
        )
    return small


def _without(found: Groups, gone: NDArray, round_to: int) -> NDArray:
    """Only units without effect go, so as many as rounding allows."""
    units = np.ones(found.trace.count, bool)
    for group in found:
        going = group.units[gone[group.units]]
        left = group.size - len(going)
        rounded = min(group.size, -(-left // round_to) * round_to)
        units[going[: group.size - rounded]] = False
    return units[found.unit_of]


def _check(
    remove: Any, of: Any, importance: Any, scope: Any, round_to: Any
) -> None:
    if remove is not None and not 0 <= remove < 1:
        raise ValueError(
            "Expected `remove` to be a share in [0, 1), or None. "
            f"Received: {remove!r}."
        )
    if remove is None and (of, importance, scope) != _DEFAULTS:
        raise ValueError(
            "Expected `remove`, the share to take away, with `of`, "
            "`importance` or `scope`: without it only what has no effect goes. "
            f"Received: of={of!r}, importance={importance!r}, scope={scope!r}."
        )
    if not callable(of) and of not in COSTS:
        raise ValueError(
            f"Expected `of` to be one of {COSTS} or a callable from a model "
            f"to its cost. Received: {of!r}."
        )
    if not callable(importance) and importance not in NAMES:
        raise ValueError(
            f"Expected `importance` to be one of {NAMES} or a callable from "
            f"a group to its scores. Received: {importance!r}."
        )
    if scope not in ("group", "global"):
        raise ValueError(
            f"Expected `scope` 'group' or 'global'. Received: {scope!r}."
        )
    if not isinstance(round_to, int) or round_to < 1:
        raise ValueError(
            f"Expected `round_to` to be an int of at least 1. "
            f"Received: {round_to!r}."
        )
