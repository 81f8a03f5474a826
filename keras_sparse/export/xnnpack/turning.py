"""Where a strided convolution looks, and how to make its padding even."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Pads = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Reach:
    """How far a convolution looks past the borders of one axis.

    Args:
        size: length of the axis, unpadded.
        kernel: length of the kernel.
        stride: step from one output to the next.
        before: entries it looks past the beginning.
        outputs: how many outputs it has.
    """

    size: int
    kernel: int
    stride: int
    before: int
    outputs: int

    @property
    def after(self) -> int:
        """Entries it looks past the end; less than 0 if it stops short."""
        last = self.stride * (self.outputs - 1) - self.before
        return last + self.kernel - self.size

    def turned(self) -> Reach:
        """Return the same for the axis read from its end.

        Example:

        `"same"` with stride 2 on 8 entries looks past the end alone:

        >>> reach = same_reach(8, kernel=3, stride=2)
        >>> (reach.before, reach.after), reach.turned().before
        ((0, 1), 1)
        """
        return Reach(
            self.size, self.kernel, self.stride, self.after, self.outputs
        )

    def padding(self) -> tuple[int, int]:
        """Return what to pad, as even as leaves the outputs what they are.

        Raises:
            ValueError: the convolution stops short of the beginning.
        """
        if self.before < 0:
            raise ValueError("it leaves out the last rows or columns")
        half = self.kernel // 2
        reached = self.size + 2 * half - self.kernel
        if self.before == half and reached // self.stride + 1 == self.outputs:
            return half, half
        return self.before, max(self.after, 0)


def same_reach(size: int, kernel: int, stride: int) -> Reach:
    """Return the reach of padding `"same"`."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return Reach(size, kernel, stride, total // 2, outputs)


def valid_reach(
    size: int, kernel: int, stride: int, pads: tuple[int, int] = (0, 0)
) -> Reach:
    """Return the reach of padding `"valid"` after explicit padding."""
    outputs = (size + sum(pads) - kernel) // stride + 1
    return Reach(size, kernel, stride, pads[0], outputs)


def reaches(layer: Any, shape: tuple, pads: Pads) -> tuple[Reach, Reach]:
    """Return the reach of a convolution along height and width.

    Args:
        layer: a Conv2D or DepthwiseConv2D without dilation.
        shape: the shape of its input before `pads`, batch axis first.
        pads: what a ZeroPadding2D before it adds.
    """
    both = []
    for axis in (0, 1):
        size, kernel = shape[1 + axis], layer.kernel_size[axis]
        stride = layer.strides[axis]
        if layer.padding == "same":
            padded = size + sum(pads[axis])
            inner = same_reach(padded, kernel, stride)
            before = inner.before + pads[axis][0]
            both.append(Reach(size, kernel, stride, before, inner.outputs))
        else:
            both.append(valid_reach(size, kernel, stride, pads[axis]))
    return both[0], both[1]
