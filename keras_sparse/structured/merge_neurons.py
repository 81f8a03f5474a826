"""Data-free merging of neurons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_sparse import _surgery
from keras_sparse._traversal import Filter, choose
from keras_sparse.structured.groups import groups
from keras_sparse.structured.hidden_neurons import (
    CannotMerge,
    HiddenNeurons,
    hidden_neurons,
)
from keras_sparse.structured.neuron_saliency import (
    DISTANCES,
    RULES,
    cut_off,
    merges,
    saliency,
    squared_distances,
)
from keras_sparse.structured.rebuild import rebuild
from keras_sparse.structured.scales import Neighbours
from keras_sparse.structured.values import Values


def merge_neurons(
    model: keras.Model,
    remove: str | int | float | Mapping[str, int] = "mode",
    *,
    where: Filter | None = None,
    exclude: Filter | None = None,
    distance: str = "euclidean",
    verbose: bool = True,
) -> keras.Model:
    """Lets neurons with similar weights stand in for each other.

    Of two neurons with the same incoming weights one can go, if the other
    takes over its outgoing weights. Here the most similar ones are merged
    like that, one pair after the other; no data and no training is needed,
    only the weights. Neurons behind ReLU (and leaky ReLU) count as similar
    where one is a multiple of the other. Dense layers are merged, those near
    the input first, through activations, dropout, pooling, and through
    BatchNormalization, which is folded into a kernel.

    Args:
        model: A built Functional or Sequential model. It is not changed.
        remove: How many neurons of each layer go: a number, or a share in
            (0, 1), or a map from layer names to numbers (other layers stay),
            or a rule that looks at the weights only. `"mode"` (default):
            merges go on until one costs more than the most frequent saliency
            of two neurons. `"foot"`: up to the foot of the steep end of the
            saliencies.
        where: Which dense layers: a regular expression searched in the
            layer's path, a list of them, or a callable from layer to bool.
            Default: all that can be merged.
        exclude: Which of these to leave as they are.
        distance: Between incoming weights: `"euclidean"`, bias included, or
            `"relative"`, after the paper's heuristic: the difference of the
            weights over their sum, plus the same of the biases (here both
            are of neurons scaled alike).
        verbose: Whether to print what was merged and what could not be.

    Returns:
        A new plain model, not compiled, with the same layer names.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If it has no graph or is sparsified, if an argument is not
            as above, if a layer that `where` or `remove` names cannot be
            merged, or if no layer can.

    Reference:
        Srinivas and Babu, "Data-free parameter pruning for deep neural
        networks", BMVC 2015, algorithm 1; section 4 for the cut-offs, which
        it takes from plots.

    Example:

    >>> import keras, numpy as np, keras_sparse.structured as structured
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((2,)),
    ...         keras.layers.Dense(3, "relu"),
    ...         keras.layers.Dense(1),
    ...     ]
    ... )
    >>> kernel = np.array([[1, 2, 0], [0, 0, 1]])  # 1, its double, another
    >>> model.layers[0].set_weights([kernel, np.zeros(3)])
    >>> model.layers[1].set_weights([np.ones((3, 1)), np.zeros(1)])
    >>> small = structured.merge_neurons(model, 1, verbose=False)
    >>> small.layers[1].get_weights()[0].ravel().tolist()
    [1.5, 1.0]
    """
    _check(remove, distance)
    found = groups(model)
    trace, values, graph = found.trace, Values(), Neighbours(found.trace)
    kept = np.ones(trace.count, bool)
    lines: list[str] = []
    refused: list[str] = []
    dropped: dict[int, Any] = {}
    for layer, is_named in _chosen(trace, remove, where, exclude):
        try:
            neurons = hidden_neurons(found, graph, layer)
        except CannotMerge as reason:
            refused.append(f"{layer.name} ({reason})")
            if is_named:
                raise ValueError(
                    f"Expected layers whose neurons can be merged. Received "
                    f"{refused[-1]}. Leave it out."
                ) from reason
            continue
        for fold in neurons.folds:
            if id(fold.layer) not in dropped:  # several layers may lead to it
                fold.apply(values)
                dropped[id(fold.layer)] = None
        gone = _merge(neurons, layer, remove, distance, values)
        kept[np.isin(found.unit_of, neurons.units[gone])] = False
        size = len(neurons.units)
        lines.append(f"{layer.name} {size} to {size - len(gone)}")
    if not lines:
        raise ValueError(
            "Expected a dense layer whose neurons can be merged. Received "
            f"{'; '.join(refused) or 'a model without dense layers'}."
        )
    if verbose:
        left = f"; not merged: {', '.join(refused)}" if refused else ""
        _surgery.say(f"merge_neurons: {', '.join(lines)}{left}")
    return rebuild(model, trace, kept, values, dropped)


def _merge(
    neurons: HiddenNeurons,
    layer: layers.Dense,
    remove: Any,
    distance: str,
    values: Values,
) -> list[int]:
    """Merges the neurons of one layer; returns which ones go."""
    kernel, bias = neurons.incoming(values)
    norms = np.ones(len(bias))
    if neurons.scalable:
        norms = np.sqrt(np.square(kernel).sum(axis=0) + np.square(bias))
    unit = np.where(norms > 0, norms, 1)
    squared = squared_distances(kernel / unit, bias / unit, distance)
    outgoing = neurons.outgoing(values) * norms[:, None]
    order = merges(squared, outgoing)
    if isinstance(remove, str):
        number = cut_off(remove, saliency(squared, outgoing), order)
    else:
        number = _number(remove, layer, len(bias))
    neurons.merge(order[:number], norms, values)
    return [each.gone for each in order[:number]]


def _number(remove: Any, layer: layers.Dense, size: int) -> int:
    if isinstance(remove, Mapping):
        number = remove[layer.name]
    else:
        number = round(remove * size) if 0 < remove < 1 else int(remove)
    if not 0 <= number < size:
        raise ValueError(
            f"Expected to remove fewer neurons than there are. Received "
            f"{number} for {layer.name!r}, which has {size}."
        )
    return number


def _chosen(
    trace: Any, remove: Any, where: Filter | None, exclude: Filter | None
) -> list[tuple[layers.Dense, bool]]:
    """Dense layers from the input on, and whether somebody named them."""
    dense = [x for x in trace.layers.values() if isinstance(x, layers.Dense)]
    if not isinstance(remove, Mapping):
        chosen = choose(dense, where, exclude)
        return [(layer, where is not None) for layer in chosen]
    unknown = set(remove) - {layer.name for layer in dense}
    if unknown:
        raise ValueError(
            "Expected `remove` to name dense layers of the model. Received "
            f"{sorted(unknown)}; there are {[x.name for x in dense]}."
        )
    return [(layer, True) for layer in dense if layer.name in remove]


def _check(remove: Any, distance: Any) -> None:
    if distance not in DISTANCES:
        raise ValueError(
            f"Expected `distance` to be one of {DISTANCES}. Received: "
            f"{distance!r}."
        )
    in_map = isinstance(remove, Mapping)
    for number in list(remove.values()) or [None] if in_map else [remove]:
        whole = isinstance(number, (int, np.integer)) and number >= 0
        share = isinstance(number, float) and 0 < number < 1
        rule = isinstance(number, str) and number in RULES
        if isinstance(number, bool) or not (
            whole or (not in_map and (rule or share))
        ):
            raise ValueError(
                "Expected `remove` to be a number of neurons, a share in "
                f"(0, 1), one of {RULES}, or a map from layer names to "
                f"numbers. Received: {remove!r}."
            )
