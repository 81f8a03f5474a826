"""Arguments of a search, checked before the first training."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

MOST_ROUNDS = 255


def check_count(value: Any, name: str, most: int | None = None) -> int:
    """The value as an integer, 0 or more, of any integer type."""
    try:
        count = operator.index(value)
    except TypeError:
        count = -1
    if count < 0 or (most is not None and count > most):
        limits = "0 or more" if most is None else f"from 0 to {most}"
        raise ValueError(
            f"Expected `{name}` to be an integer, {limits}. "
            f"Received: {value!r}."
        )
    return count


def check_rounds(rounds: Any) -> int:
    """A number of rounds that can be run."""
    return check_count(rounds, "rounds", MOST_ROUNDS)


def check_choice(value: Any, name: str, allowed: Sequence[str]) -> None:
    """Raises unless a value is one of those that there are."""
    if value not in allowed:
        raise ValueError(
            f"Expected `{name}` to be of {tuple(allowed)}. Received: {value!r}."
        )


def check_controls(names: Any, allowed: Sequence[str]) -> list[str]:
    """The names of controls as a list."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(
            f"Expected `controls` to be a list of {tuple(allowed)}. "
            f"Received: {names!r}. Pass a list of one for one."
        )
    names = list(names)
    for each in names:
        check_choice(each, "controls", allowed)
    return names


def check_control_rounds(rounds: Any) -> list[int] | None:
    """The rounds that get controls; the first, dense one has none."""
    if rounds is None:
        return None
    try:
        found = [operator.index(each) for each in rounds]
    except TypeError:
        found = [0]
    if any(each < 1 for each in found):
        raise ValueError(
            "Expected `control_rounds` to be a list of rounds from 1 on. "
            f"Received: {rounds!r}. Pass [1, 3] for the first and the third."
        )
    return found


def check_data_name(name: Any) -> None:
    """Raises unless a name can be written into a ticket's provenance."""
    if name is not None and not isinstance(name, str):
        raise ValueError(
            "Expected `data_name` to be a string. Received: "
            f"{type(name).__name__}. Pass the name, the data in `fit`."
        )


def check_fit(fit: Any) -> None:
    """Raises unless there are arguments of `fit`, or what makes them."""
    if not callable(fit):
        check_arguments(fit)


def check_arguments(arguments: Any, name: str = "fit") -> None:
    """Raises unless they are a dict of arguments of `fit`.

    Callbacks are none of them, for these remember things.
    """
    if not isinstance(arguments, Mapping):
        raise ValueError(
            f"Expected `{name}` to be a dict of arguments of `model.fit`. "
            f"Received: {type(arguments).__name__}. "
            "Pass {'x': x, 'y': y, 'epochs': 10}."
        )
    if "callbacks" in arguments:
        raise ValueError(
            "Expected callbacks in `callbacks`, a callable that makes new "
            "ones for each training. Received them in arguments of `fit`."
        )


def check_callbacks(callbacks: Any) -> None:
    """Raises unless it is what makes a list of callbacks."""
    kind = keras.callbacks.Callback
    made = isinstance(callbacks, kind) or not callable(callbacks)
    if made or (isinstance(callbacks, type) and issubclass(callbacks, kind)):
        raise ValueError(
            "Expected `callbacks` to be a callable that makes a list of new "
            f"callbacks for each training. Received: {callbacks!r}. Pass "
            "lambda: [keras.callbacks.TerminateOnNaN()]."
        )


def made_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    """The callbacks for one training."""
    made = callbacks()
    each_is_one = isinstance(made, (list, tuple)) and all(
        isinstance(each, keras.callbacks.Callback) for each in made
    )
    if not each_is_one:
        raise ValueError(
            "Expected `callbacks` to make a list of callbacks. "
            f"Received: {made!r}."
        )
    return list(made)
