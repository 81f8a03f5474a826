"""Finding the layers of a model, and those that a rule names."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

import keras

from keras_sparse import _surgery, adapters
from keras_sparse.parametrizations.parametrization import Parametrization

Filter = str | Sequence[str] | Callable[[keras.layers.Layer], bool]


def walk(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """The layer and all below it, each once.

    Without parametrizations, and without the layers for which the adapter of
    a layer above them answers, such as the cell of an LSTM.
    """
    seen: set[int] = set()
    answered_for: set[int] = set()
    stack = [layer]
    while stack:
        each = stack.pop()
        if id(each) in seen or isinstance(each, Parametrization):
            continue
        seen.add(id(each))
        if id(each) not in answered_for:
            yield each
            if each.built:
                for slot in adapters.slots_of(each):
                    answered_for.update(map(id, slot.owners(each)))
        stack.extend(reversed(_surgery.sublayers(each)))


def layers_with_weights(
    model: keras.layers.Layer,
) -> tuple[list[keras.layers.Layer], list[keras.layers.Layer]]:
    """The layers whose weights are known, and others that hold variables."""
    layers, others = [], []
    for layer in walk(model):
        if layer.built and adapters.slots_of(layer):
            layers.append(layer)
        elif _surgery.own_variables(layer) or (
            adapters.find_adapter(layer) and not layer.built
        ):
            others.append(layer)
    return layers, others


def choose(
    layers: list[keras.layers.Layer],
    where: Filter | None,
    exclude: Filter | None,
) -> list[keras.layers.Layer]:
    """The layers that `where` takes and `exclude` does not."""
    chosen = layers if where is None else matching(layers, where, "where")
    if exclude is not None:
        left_out = {id(x) for x in matching(layers, exclude, "exclude")}
        chosen = [layer for layer in chosen if id(layer) not in left_out]
    return chosen


def matching(
    layers: list[keras.layers.Layer], rule: Filter, argument: str
) -> list[keras.layers.Layer]:
    rules: Sequence[Any] = rule if isinstance(rule, (list, tuple)) else [rule]
    matched: dict[int, keras.layers.Layer] = {}
    for each in rules:
        test = _test(each, argument)
        found = [layer for layer in layers if test(layer)]
        if not found:
            raise ValueError(
                f"Expected `{argument}` to match a layer with a known weight. "
                f"Received {each!r}, which matches none of {names(layers)}."
            )
        matched.update({id(layer): layer for layer in found})
    return [layer for layer in layers if id(layer) in matched]


def _test(rule: Any, argument: str) -> Callable[[keras.layers.Layer], bool]:
    try:
        if isinstance(rule, str):
            pattern = re.compile(rule)
            return lambda x: bool(pattern.search(x.path or x.name))
    except re.error as error:
        raise ValueError(
            f"Expected `{argument}` to be a regular expression. Received "
            f"{rule!r}: {error}. `re.escape` makes a literal name one."
        ) from error
    if not callable(rule) or isinstance(rule, (type, keras.layers.Layer)):
        raise TypeError(
            f"Expected `{argument}` to be a regular expression, a callable "
            f"from a layer to a bool, or a list of these. Received: {rule!r}. "
            "For a layer pass its path, for a class "
            "`lambda layer: isinstance(layer, TheClass)`."
        )
    return rule


def names(layers: Sequence[keras.layers.Layer]) -> str:
    """The paths of layers, for a message."""
    return ", ".join(layer.path or layer.name for layer in layers)


def unused_path(path: str, taken: Container[str]) -> str:
    """The path, with a number where others have it already."""
    unused, count = path, 1
    while unused in taken:
        count += 1
        unused = f"{path}#{count}"
    return unused
