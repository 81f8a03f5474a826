"""What flows along a model's graph: tensors whose channels have identities."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(eq=False)
class Signal:
    """A tensor of the graph.

    Args:
        shape: Its shape, batch first, `None` where unknown.
        axis: The axis of its channels, or `None` if no axis is followed.
        ids: The identity of each channel along `axis`.
    """

    shape: tuple[int | None, ...]
    axis: int | None = None
    ids: NDArray | None = None

    def is_followed_on(self, axis: int) -> bool:
        """Whether `axis` (from the front) is the axis of its channels."""
        return self.axis is not None and self.axis == axis

    def moved(
        self, shape: Sequence[int | None], axis: int | None = None
    ) -> Signal:
        """The same channels in a tensor of another shape."""
        axis = self.axis if axis is None else axis
        return Signal(tuple(shape), axis, self.ids)


@dataclasses.dataclass(eq=False)
class Call:
    """One call of a layer or operation.

    Args:
        operation: The layer or operation.
        node: Keras' record of the call.
        signals: The signal of each symbolic tensor that the call mentions.
        inputs: Its input signals, in the order of Keras' record.
        outputs: Its output signals, once they are known.
        gather: For calls that rearrange: which input channels stand behind
            each output channel, of shape (outputs, behind).
    """

    operation: Any
    node: Any
    signals: dict[int, Signal]
    inputs: list[Signal]
    outputs: list[Signal] = dataclasses.field(default_factory=list)
    gather: NDArray | None = None

    def argument(self, name: str, position: int) -> Any:
        """An argument of the call: a signal for a tensor."""
        args, kwargs = self.node.arguments.args, self.node.arguments.kwargs
        value = args[position] if position < len(args) else kwargs.get(name)
        return self.signals.get(id(value), value)

    def shapes(self) -> list[tuple[int | None, ...]]:
        """The shapes of its outputs."""
        return [tuple(each.shape) for each in self.node.outputs]


@dataclasses.dataclass(eq=False)
class Mix:
    """A kernel that makes output channels of sums over input channels.

    Args:
        layer: The layer that holds it.
        kernel: The variable.
        in_axis: Its axis of input channels; `in_ids` run along it, for each
            of `blocks` blocks in turn.
        out_axes: Its axes of output channels, flattened.
        in_ids: Identities of the input channels.
        out_ids: Identities of the output channels, flattened.
        bias: The variable that is added to the sums, if any.
        can_add_bias: Whether the layer takes a bias it does not have yet.
        takes_constants: Whether a channel that is the same everywhere adds
            the same to every output position, which zero padding prevents.
        blocks: Groups of a grouped convolution.
        recurrent: Whether its outputs come back as its inputs.
    """

    layer: keras.layers.Layer
    kernel: keras.Variable
    in_axis: int
    out_axes: tuple[int, ...]
    in_ids: NDArray
    out_ids: NDArray
    bias: keras.Variable | None = None
    can_add_bias: bool = False
    takes_constants: bool = True
    blocks: int = 1
    recurrent: bool = False

    def matrix(self, kernel: NDArray) -> NDArray:
        """The kernel as (inputs, the window, outputs), without blocks."""
        window = [
            axis
            for axis in range(kernel.ndim)
            if axis != self.in_axis and axis not in self.out_axes
        ]
        order = (self.in_axis, *window, *self.out_axes)
        outputs = int(np.prod([kernel.shape[a] for a in self.out_axes]))
        return kernel.transpose(order).reshape(
            kernel.shape[self.in_axis], -1, outputs
        )

    @property
    def takes_bias(self) -> bool:
        """Whether a constant can be added to its sums."""
        return self.bias is not None or self.can_add_bias

    def spread(self, matrix: NDArray) -> NDArray:
        """An (inputs, outputs) matrix with the zeros between blocks."""
        if self.blocks == 1:
            return matrix
        rows, columns = matrix.shape
        wide = np.zeros((self.blocks * rows, columns), matrix.dtype)
        step = columns // self.blocks
        for block in range(self.blocks):
            across = slice(block * step, (block + 1) * step)
            wide[block * rows : (block + 1) * rows, across] = matrix[:, across]
        return wide
