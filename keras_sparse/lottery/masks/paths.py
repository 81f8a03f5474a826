"""Paths of weights as keys."""

from __future__ import annotations

from collections.abc import Iterable


def unique(paths: Iterable[str]) -> list[str]:
    """The paths; a second one of the same name gets a number.

    Example:

    >>> unique(["b/kernel", "a/kernel", "b/kernel"])
    ['b/kernel', 'a/kernel', 'b/kernel#2']
    """
    found: dict[str, None] = {}
    for path in paths:
        key, count = path, 1
        while key in found:
            count += 1
            key = f"{path}#{count}"
        found[key] = None
    return list(found)
