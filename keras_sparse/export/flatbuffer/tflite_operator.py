"""One operator of a `.tflite` file, and its multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ai_edge_litert import schema_py_generated as schema

from keras_sparse.export.flatbuffer.tflite_tensor import TFLiteTensor

BUILTIN_NAMES = {
    code: name
    for name, code in vars(schema.BuiltinOperator).items()
    if isinstance(code, int)
}


@dataclass(frozen=True)
class TFLiteOperator:
    """An operator of a `.tflite` file.

    Args:
        name: such as `"CONV_2D"`; of a custom one its custom name.
        inputs: indices of its input tensors, -1 for one left out.
        outputs: indices of its output tensors.
        macs: multiply-accumulates of one call; `None` where the operator
            is of another kind or a shape is not fixed.
        subgraph: 0 for the main graph; loop bodies have their own.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int | None
    subgraph: int = 0


def weight_of(name: str, inputs: Sequence[int]) -> int | None:
    """Return the index of the tensor that an operator multiplies with."""
    known = name in _FORMULAS and len(inputs) > 1
    return inputs[1] if known and inputs[1] >= 0 else None


def operator_macs(
    name: str,
    inputs: Sequence[int],
    outputs: Sequence[int],
    tensors: Sequence[TFLiteTensor],
) -> int | None:
    """Count the multiply-accumulates of one call of an operator.

    Args:
        name: such as `"CONV_2D"`.
        inputs: indices of its inputs.
        outputs: indices of its outputs.
        tensors: the tensors of the graph.

    Returns:
        The count, as if no weight were zero, or `None` where not known.

    Example:

    A 3 x 3 convolution from 8 to 16 channels, on 5 x 5 positions:

    >>> x, w, y = (
    ...     TFLiteTensor("", shape, "float32", 0, None, False)
    ...     for shape in ((1, 5, 5, 8), (16, 3, 3, 8), (1, 5, 5, 16))
    ... )
    >>> operator_macs("CONV_2D", (0, 1), (2,), [x, w, y])
    28800
    """
    weight = weight_of(name, inputs)
    if weight is None or not outputs:
        return None
    shapes = [tensors[weight].shape, tensors[outputs[0]].shape]
    source = inputs[2 if name == "TRANSPOSE_CONV" else 0 : 3][:1]
    if not source or source[0] < 0:
        return None
    shapes.append(tensors[source[0]].shape)
    if not all(shapes) or any(None in shape for shape in shapes):
        return None
    return _FORMULAS[name](*shapes)


def _convolution(weight: tuple, output: tuple, _: tuple) -> int:
    return math.prod(output) * math.prod(weight[1:])


def _depthwise(weight: tuple, output: tuple, _: tuple) -> int:
    return math.prod(output) * math.prod(weight[1:-1])


def _convolution_3d(weight: tuple, output: tuple, _: tuple) -> int:
    return math.prod(output) * math.prod(weight[:-1])


def _transposed(weight: tuple, _: tuple, source: tuple) -> int:
    return math.prod(source) * math.prod(weight[:-1])


def _matrix_product(_: tuple, output: tuple, source: tuple) -> int:
    return math.prod(output) * source[-1]


_FORMULAS = {
    "CONV_2D": _convolution,
    "CONV_3D": _convolution_3d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _convolution,
    "BATCH_MATMUL": _matrix_product,
}
