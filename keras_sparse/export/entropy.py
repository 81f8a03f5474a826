"""How small the weights of a file could be."""

from __future__ import annotations

import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_DTYPES: dict[int, str] = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.FLOAT16: "float16",
    schema.TensorType.FLOAT64: "float64",
    schema.TensorType.INT8: "int8",
    schema.TensorType.INT16: "int16",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
}
_FLOATS = ("float16", "float32", "float64")


def entropy_bits(values: NDArray) -> float:
    """The bits that one weight takes in an ideal coder.

    Of n entries m are not zero, and these have d different values, of b bits
    each as they are stored. Where the zeros are takes

        n h(m / n),  h(p) = -p log2 p - (1 - p) log2(1 - p),

    and the m values the lesser of m b, as they are, and

        m H + d b,  H = -sum over the different values of q log2 q,

    with q a value's share of the m: codes of the best lengths, and the table
    of what they stand for. Nothing is assumed of how entries depend on each
    other; a coder that knew of rows of zeros, or a prior, could go below.

    Args:
        values: Array of the stored numbers.

    Example:

    >>> entropy_bits(np.array([0, 5, 0, 5], np.int8))  # 4 + 2 * 0 + 8
    12.0
    """
    held = values[values != 0]
    size, nonzeros = values.size, held.size
    if not nonzeros:
        return 0.0
    zeros = size - nonzeros
    where = _codes(np.array([nonzeros, zeros])) if zeros else 0.0
    bits = 8 * values.itemsize
    counts = np.unique(held, return_counts=True)[1]
    return where + min(_codes(counts) + counts.size * bits, nonzeros * bits)


def entropy_bytes(content: bytes) -> int:
    """The least bytes for the weights of a dense `.tflite` file.

    The sum of `entropy_bits` over its constants that are floats or have a
    scale, rounded up to a byte. The graph, the names and the scales are not
    in it.

    Args:
        content: Bytes of a file without sparse encodings.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    weights: dict[int, NDArray] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            dtype = _DTYPES.get(tensor.type)
            data = model.buffers[tensor.buffer].data
            if dtype is None or data is None or not len(data):
                continue
            scales = getattr(tensor.quantization, "scale", None)
            if dtype in _FLOATS or (scales is not None and len(scales)):
                weights[tensor.buffer] = np.asarray(data, "uint8").view(dtype)
    return math.ceil(sum(map(entropy_bits, weights.values())) / 8)


def _codes(counts: NDArray) -> float:
    """The bits of ideal codes for symbols that come so often."""
    total = counts.sum()
    return float(total * np.log2(total) - np.sum(counts * np.log2(counts)))
