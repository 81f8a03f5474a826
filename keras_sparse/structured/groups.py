"""Groups of channels that have to go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import overload

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse._traversal import Filter
from keras_sparse.structured.follow import follow
from keras_sparse.structured.ignored import fix_ignored
from keras_sparse.structured.tracing import Axis, Trace


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """One axis of a variable, along which the units of a group lie.

    Args:
        layer: The layer that holds the variable.
        variable: The variable.
        axis: The axis, from the front.
        role: "out" where a kernel makes the channels, "in" where it reads
            them, "bias", "scale", or "other".
        units: For each index along the axis the number of the unit, or -1
            where it belongs to another group.
    """

    layer: keras.layers.Layer
    variable: keras.Variable
    axis: int
    role: str
    units: NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Units of one kind: each is a set of channels that go together.

    Args:
        size: How many units there are.
        makers: Names of the layers that make the channels.
        through: Names of layers with variables for each of the channels.
        readers: Names of the layers that read them.
        fixed: Why no unit can go; empty where units can.
        members: Where the units lie in the variables.
        units: The number of each unit within the whole model.
    """

    size: int
    makers: tuple[str, ...]
    through: tuple[str, ...]
    readers: tuple[str, ...]
    fixed: tuple[str, ...]
    members: tuple[Member, ...]
    units: NDArray

    def __str__(self) -> str:
        text = f"{self.size} units of {' + '.join(self.makers)}"
        if self.through:
            text += f", through {_listed(self.through)}"
        if self.readers:
            text += f", read by {_listed(self.readers)}"
        if self.fixed:
            text += f"; fixed: {_listed(self.fixed)}"
        return text


class Groups(Sequence[Group]):
    """The groups of a model whose units can go; `fixed` holds the others.

    Args:
        trace: What was found out about the model.
        found: All groups.
        unit_of: For each channel the number of its unit.
    """

    def __init__(
        self, trace: Trace, found: list[Group], unit_of: NDArray
    ) -> None:
        self.trace = trace
        self.unit_of = unit_of
        self._prunable = [each for each in found if not each.fixed]
        self.fixed = [each for each in found if each.fixed]

    @overload
    def __getitem__(self, index: int) -> Group: ...

    @overload
    def __getitem__(self, index: slice) -> list[Group]: ...

    def __getitem__(self, index: int | slice) -> Group | list[Group]:
        return self._prunable[index]

    def __len__(self) -> int:
        return len(self._prunable)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._prunable)

    def __str__(self) -> str:
        lines = [f"{len(self)} groups, {len(self.fixed)} fixed"]
        lines += [f"  {each}" for each in (*self._prunable, *self.fixed)]
        return "\n".join(lines)


def groups(model: keras.Model, *, ignored: Filter | None = None) -> Groups:
    """Which channels of which layers have to go together.

    The channels are followed through Keras' own graph of the model: nothing
    is traced, no data is needed. What cannot be followed keeps its size, and
    is named with the reason in `.fixed`.

    Args:
        model: A built Functional or Sequential model; models in it too.
        ignored: Layers whose channels are to stay: a regular expression
            searched in the layer's path, a list of them, or a callable from
            layer to bool.

    Returns:
        A sequence of `Group` that prints readably.

    Raises:
        TypeError: If `model` is no Keras model.
        ValueError: If it is subclassed, not built, sparsified (call `strip`
            first), or a rule matches nothing.

    Example:

    >>> import keras, keras_sparse.structured as structured
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((8,)),
    ...         keras.layers.Dense(4, "relu", name="hidden"),
    ...         keras.layers.Dense(2, name="logits"),
    ...     ]
    ... )
    >>> print(structured.groups(model))
    1 groups, 1 fixed
      4 units of hidden, read by logits
      2 units of logits; fixed: the model's output

    Reference:
        Fang et al., "DepGraph: Towards Any Structural Pruning" (CVPR 2023),
        section 3, for the idea of closing dependencies into groups.
    """
    trace = follow(model)
    fix_ignored(trace, model, ignored)
    unit_of = trace.components()
    found = _partition(trace, unit_of)
    return Groups(trace, found, unit_of)


def _partition(trace: Trace, unit_of: NDArray) -> list[Group]:
    """Units of the same makers, fixed for the same reasons, make a group."""
    kinds: dict[int, list[int]] = {}
    for number, (maker, ids) in enumerate(trace.made):
        if maker:
            for unit in np.unique(unit_of[ids]):
                kinds.setdefault(int(unit), []).append(number)
    reasons: dict[int, dict[str, None]] = {}
    for ids, why in trace.fixed:
        for unit in np.unique(unit_of[ids]):
            reasons.setdefault(int(unit), {})[why] = None
    by_kind: dict[tuple, list[int]] = {}
    for unit, makers in kinds.items():
        key = (tuple(makers), tuple(reasons.get(unit, ())))
        by_kind.setdefault(key, []).append(unit)
    members = _members(trace, unit_of, list(by_kind.values()))
    return [
        _describe(trace, key, np.array(units), members[number])
        for number, (key, units) in enumerate(by_kind.items())
    ]


def _members(
    trace: Trace, unit_of: NDArray, parts: list[list[int]]
) -> list[list[Member]]:
    group_of = np.full(trace.count, -1)
    place = np.zeros(trace.count, int)
    for number, units in enumerate(parts):
        group_of[units] = number
        place[units] = np.arange(len(units))
    members: list[list[Member]] = [[] for _ in parts]
    for axis in trace.axes.values():
        units = unit_of[axis.ids]
        for number in np.unique(group_of[units]):
            if number >= 0:
                inside = group_of[units] == number
                members[number].append(
                    _member(axis, np.where(inside, place[units], -1))
                )
    return members


def _member(axis: Axis, units: NDArray) -> Member:
    return Member(axis.layer, axis.variable, axis.axis, axis.role, units)


def _describe(
    trace: Trace, key: tuple, units: NDArray, members: list[Member]
) -> Group:
    makers = dict.fromkeys(trace.made[number][0] for number in key[0])
    readers = dict.fromkeys(m.layer.name for m in members if m.role == "in")
    through = dict.fromkeys(
        m.layer.name
        for m in members
        if m.layer.name not in makers and m.layer.name not in readers
    )
    return Group(
        len(units),
        *(tuple(makers), tuple(through), tuple(readers), key[1]),
        members=tuple(members),
        units=units,
    )


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = len(names) - most
    shown = ", ".join(names[:most])
    return f"{shown} and {more} more" if more > 0 else shown
