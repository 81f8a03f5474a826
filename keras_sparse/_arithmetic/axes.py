"""Which axes number groups of weights, and which the channels of inputs."""

from __future__ import annotations

from typing import Any

Axis = str | int | tuple[int, ...]


def checked_axis(axis: Any) -> Any:
    """An `axis` argument as it was given, if it can be one.

    Args:
        axis: `"outputs"`, `"inputs"`, an axis or several.
    """
    if isinstance(axis, list):  # as JSON returns a tuple
        axis = tuple(axis)
    numbers = axis if isinstance(axis, tuple) else (axis,)
    if axis in ("outputs", "inputs") or all(
        isinstance(number, int) for number in numbers
    ):
        return axis
    raise ValueError(
        "Expected `axis` to be 'outputs', 'inputs', an axis of the weight or "
        f"a tuple of them. Received: {axis!r}."
    )


def group_axes(
    axis: Axis,
    rank: int,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
) -> tuple[int, ...]:
    """The axes that number groups, counted from the front.

    Args:
        axis: `"outputs"`, `"inputs"`, an axis or several.
        rank: Rank of the weight.
        inputs: The weight's input axes, from the end.
        outputs: The weight's output axes, from the end.
    """
    kept = {"outputs": outputs, "inputs": inputs}.get(axis, axis)  # type: ignore[arg-type]
    axes: Any = (kept,) if isinstance(kept, int) else kept
    if not all(-rank <= each < rank for each in axes):
        raise ValueError(
            f"Expected axes of a weight with {rank} axes. Received: "
            f"axis={axis!r}. Choose another, or leave the weight out with "
            "`exclude`."
        )
    return tuple(each % rank for each in axes)


def channel_axis(axis: int, shape: tuple[int | None, ...]) -> int:
    """The axis of a layer's channels, counted from the front.

    Args:
        axis: As the user gave it.
        shape: Of the inputs, batch first.
    """
    rank = len(shape)
    found = axis + rank if axis < 0 else axis
    if not 0 < found < rank:
        raise ValueError(
            "Expected `axis` to be an axis of the inputs after the batch. "
            f"Received: axis={axis} with inputs of shape {tuple(shape)}."
        )
    return found


def channel_count(axis: int, shape: tuple[int | None, ...], name: str) -> int:
    """How many channels the layer `name` gets on an axis."""
    channels = shape[channel_axis(axis, shape)]
    if channels is None:
        raise ValueError(
            f"Expected a known number of channels on axis {axis} for "
            f"{name!r}. Received inputs of shape {tuple(shape)}. Give that "
            "axis a size, or choose another `axis`."
        )
    return channels
