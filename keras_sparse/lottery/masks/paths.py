"""Paths of weights as keys."""

from __future__ import annotations

from collections.abc import Iterable

from keras_sparse._traversal import unused_path


def unique(paths: Iterable[str]) -> list[str]:
    """The paths; a second one of the same name gets a number.

    Example:

    >>> unique(["b/kernel", "a/kernel", "b/kernel"])
    ['b/kernel', 'a/kernel', 'b/kernel#2']
    """
    found: dict[str, None] = {}
    for path in paths:
        found[unused_path(path, found)] = None
    return list(found)
