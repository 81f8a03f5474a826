"""Which operators XNNPACK computes with sparse 1x1 convolutions around them.

Every answer was measured on ARM64 (`tests/arm64`): what is not named here
either keeps the sparse path off or, in newer runtimes, gives wrong outputs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_sparse.export.flatbuffer.graph import FlatbufferGraph, indices

Finding = tuple[str, str] | None  # what is in the way, and what mends it

_FLOAT = schema.TensorType.FLOAT32
_ELEMENTWISE = {
    "RELU",
    "RELU6",
    "RELU_0_TO_1",
    "HARD_SWISH",
    "LOGISTIC",
    "LEAKY_RELU",
    "ELU",
    "GELU",
    "TANH",
    "EXP",
    "ABS",
    "SQUARE",
}
_MULTIPLYING = {"CONV_2D", "DEPTHWISE_CONV_2D"}
_READY = "sparse_ready(model) does it."
_IN_INT8 = "it computes in int8"
IN_FLOATS = (
    'quantize="dynamic" with sparse="fast" makes it compute in floats, once '
    "nothing else is in the way."
)
"""What mends int8 arithmetic, in the words of `export_tflite`."""


def is_pointwise(graph: FlatbufferGraph, operator: Any) -> bool:
    """Tell whether an operator is a convolution of 1 x 1 and stride 1."""
    if graph.name(operator) != "CONV_2D":
        return False
    kernel = indices(graph.tensors[int(operator.inputs[1])].shape)
    options = operator.builtinOptions
    return kernel[1:3] == [1, 1] and (options.strideH, options.strideW) == (
        1,
        1,
    )


def padding_before(graph: FlatbufferGraph, index: int) -> list[int] | None:
    """Return top, bottom, left and right of a PAD that writes a tensor.

    `None` without one, or if it pads other axes or has other readers: then
    XNNPACK does not merge it into the convolution.
    """
    source = graph.producer(index)
    if source is None or graph.name(source) != "PAD":
        return None
    amounts = graph.constant(int(source.inputs[1]))
    if amounts is None or amounts.shape != (4, 2):
        return None
    if amounts[[0, 3]].any() or len(graph.consumers(index)) != 1:
        return None
    return [int(size) for size in amounts[1:3].reshape(-1)]


def stem_problem(graph: FlatbufferGraph, operator: Any) -> Finding:
    """Return what keeps a convolution from opening the sparse region."""
    source, weight = (int(index) for index in operator.inputs[:2])
    kernel = indices(graph.tensors[weight].shape)
    options = operator.builtinOptions
    strides = options.strideH, options.strideW
    if not graph.is_constant(graph.stored(weight)):
        return "its kernel is not a constant", "Use a plain Conv2D."
    if kernel[1:3] != [3, 3]:
        return (
            f"its kernel is {kernel[1]} x {kernel[2]}, not 3 x 3",
            "Begin the model with a 3 x 3 convolution of stride 2.",
        )
    if kernel[3] != 3:
        return (
            f"it reads {kernel[3]} channels, not 3",
            "Feed three channels, for instance a grey image repeated.",
        )
    if strides != (2, 2):
        return f"its stride is {strides}, not (2, 2)", "Use strides=2."
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        return "it is dilated", "Use dilation_rate=1."
    if options.padding == schema.Padding.SAME or padding_before(
        graph, source
    ) != [1, 1, 1, 1]:
        return (
            "its padding is not 1 on each side, set apart from it",
            'Put ZeroPadding2D(1) before it and padding="valid"; ' + _READY,
        )
    if is_int8(graph, source) or is_int8(graph, weight):
        return _IN_INT8, IN_FLOATS
    return None


def body_problem(
    graph: FlatbufferGraph, operator: Any, region: set[int]
) -> Finding:
    """Return what keeps an operator from a place in the sparse region.

    Args:
        graph: the graph.
        operator: one that reads a tensor of the region.
        region: the tensors that XNNPACK would hold channels first.
    """
    problem = _form_problem(graph, operator, region)
    if problem:
        return problem
    name = graph.name(operator)
    multiplied = name in _MULTIPLYING and is_int8(
        graph, int(operator.inputs[1])
    )
    if multiplied or any(is_int8(graph, int(i)) for i in operator.outputs):
        return _IN_INT8, IN_FLOATS
    if any(graph.tensors[int(i)].type != _FLOAT for i in operator.outputs):
        return "it does not compute in floats", "Export float32."
    return None


def _form_problem(
    graph: FlatbufferGraph, operator: Any, region: set[int]
) -> Finding:
    """What is in the way whatever numbers the operator computes with."""
    name = graph.name(operator)
    if name == "CONV_2D":
        return _pointwise_problem(graph, operator)
    if name == "DEPTHWISE_CONV_2D":
        return _depthwise_problem(graph, operator)
    if name in ("ADD", "MUL"):
        return _binary_problem(operator, region)
    if name == "PAD":
        return _padding_problem(graph, operator)
    if name == "MEAN":
        return _mean_problem(graph, operator)
    if name in _ELEMENTWISE or _heads_pooled(graph, operator):
        return None
    if name in ("QUANTIZE", "DEQUANTIZE"):
        return _IN_INT8, IN_FLOATS
    return (
        f"{name} has no place between sparse convolutions",
        "Replace it, or move it behind GlobalAveragePooling2D.",
    )


def is_int8(graph: FlatbufferGraph, index: int) -> bool:
    """Tell whether a tensor is int8 where it is computed with."""
    return graph.tensors[index].type == schema.TensorType.INT8


def _pointwise_problem(graph: FlatbufferGraph, operator: Any) -> Finding:
    weight = int(operator.inputs[1])
    kernel = indices(graph.tensors[weight].shape)
    if kernel[1:3] != [1, 1]:
        return (
            f"its kernel is {kernel[1]} x {kernel[2]}, not 1 x 1",
            "Make it a DepthwiseConv2D and a Conv2D of 1 x 1.",
        )
    if not is_pointwise(graph, operator):
        return (
            "it is 1 x 1 with a stride",
            "Put the stride on the depthwise convolution before it.",
        )
    source = indices(graph.tensors[int(operator.inputs[0])].shape)
    if kernel[3] != source[3]:
        return "it has groups", "Use groups=1."
    return None


def _depthwise_problem(graph: FlatbufferGraph, operator: Any) -> Finding:
    source, weight = (int(index) for index in operator.inputs[:2])
    kernel = indices(graph.tensors[weight].shape)
    size = kernel[1]
    options = operator.builtinOptions
    strides = options.strideH, options.strideW
    if kernel[1:3] not in ([3, 3], [5, 5]):
        return (
            f"its kernel is {kernel[1]} x {kernel[2]}, not 3 x 3 or 5 x 5",
            "Use a kernel of 3 or 5.",
        )
    if kernel[3] != indices(graph.tensors[source].shape)[3]:
        return "its depth multiplier is not 1", "Use depth_multiplier=1."
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        return "it is dilated", "Use dilation_rate=1."
    if strides not in ((1, 1), (2, 2)):
        return f"its stride is {strides}", "Use strides=1 or 2."
    same = options.padding == schema.Padding.SAME
    if same and strides == (1, 1):
        return None
    if same or padding_before(graph, source) != [size // 2] * 4:
        return (
            f"its padding is not {size // 2} on each side",
            f'Put ZeroPadding2D({size // 2}) before it and padding="valid"'
            f"; {_READY}",
        )
    return None


def _binary_problem(operator: Any, region: set[int]) -> Finding:
    if all(int(index) in region for index in operator.inputs):
        return None
    return (
        "it combines the features with something from outside",
        "Combine features with features; put BatchNormalization directly "
        "behind a convolution, where it is folded.",
    )


def _padding_problem(graph: FlatbufferGraph, operator: Any) -> Finding:
    (target,) = indices(operator.outputs)
    readers = {graph.name(each) for each in graph.consumers(target)}
    if readers == {"DEPTHWISE_CONV_2D"} and padding_before(graph, target):
        return None
    return (
        "a padding that is not a depthwise convolution's",
        "Pad directly before a depthwise convolution only.",
    )


def _heads_pooled(graph: FlatbufferGraph, operator: Any) -> bool:
    source = graph.producer(int(operator.inputs[0]))
    return (
        graph.name(operator) == "FULLY_CONNECTED"
        and source is not None
        and graph.name(source) == "MEAN"
    )


def _mean_problem(graph: FlatbufferGraph, operator: Any) -> Finding:
    axes = graph.constant(int(operator.inputs[1]))
    rank = len(indices(graph.tensors[int(operator.inputs[0])].shape))
    if axes is not None and sorted(int(a) % rank for a in axes.flat) == [1, 2]:
        return None
    return "a mean over other axes", "Use GlobalAveragePooling2D."


def sparsity_of(graph: FlatbufferGraph, operators: list[Any]) -> float:
    """Return the zeros in the kernels of operators, as a fraction."""
    zeros = total = 0
    for operator in operators:
        entries, nonzeros = kernel_counts(graph, int(operator.inputs[1]))
        zeros, total = zeros + entries - nonzeros, total + entries
    return zeros / total if total else 0.0


def kernel_counts(graph: FlatbufferGraph, weight: int) -> tuple[int, int]:
    """Return the entries of a kernel, and those that are not zero."""
    stored = graph.stored(weight)
    entries = math.prod(indices(graph.tensors[stored].shape))
    held = graph.entries(stored)
    return entries, entries if held is None else int(np.count_nonzero(held))
