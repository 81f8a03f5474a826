"""Which weights of a model a ticket's go to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
from numpy.typing import NDArray

from keras_sparse._traversal import Filter, choose, walk
from keras_sparse.lottery.masks.masked_model import check_plain


def match_weights(
    model: keras.Model,
    paths: Sequence[str],
    weights: Sequence[NDArray],
    masks: Mapping[int, NDArray],
    exclude: Filter | None = None,
) -> set[int]:
    """Positions in `model.weights` that a ticket's weights go to.

    Args:
        model: A built, plain model.
        paths: Of the ticket's weights.
        weights: The ticket's.
        masks: The ticket's, by position.
        exclude: Layers of the model that take none.

    Raises:
        ValueError: If the model is sparsified or of other weights, or a mask
            is not of its weight's shape.
    """
    check_plain(model)
    variables = list(model.weights)
    if len(variables) != len(weights):
        raise ValueError(
            f"Expected a model with {len(weights)} weights, as the "
            f"ticket has. Received one with {len(variables)}. Build the "
            "architecture that the ticket was found in."
        )
    kept: set[int] = set()
    if exclude is not None:
        layers = [x for x in walk(model) if x is not model and x.weights]
        chosen = {id(x) for x in choose(layers, None, exclude)}
        kept = {
            id(variable)
            for layer in layers
            if id(layer) not in chosen
            for variable in layer.weights
        }
    taken = {i for i, v in enumerate(variables) if id(v) not in kept}
    for i in sorted(masks.keys() & taken):
        if masks[i].shape != weights[i].shape:
            raise ValueError(
                f"Expected masks of their weights' shapes. Received one "
                f"of {masks[i].shape} for {paths[i]}, which is "
                f"{weights[i].shape}. Make the ticket anew."
            )
    different = [
        f"{variables[i].path} {tuple(variables[i].shape)} (the ticket's "
        f"{paths[i]} is {weights[i].shape})"
        for i in sorted(taken)
        if tuple(variables[i].shape) != weights[i].shape
    ]
    if different:
        raise ValueError(
            "Expected weights of the ticket's shapes. Received "
            f"{'; '.join(different)}. Name the layers that are another's, "
            "such as a new output layer, in `exclude` of `apply`."
        )
    return taken
