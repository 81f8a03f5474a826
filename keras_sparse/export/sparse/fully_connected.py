"""FULLY_CONNECTED as a convolution, where int8 weights are to be sparse.

XNNPACK unpacks sparse int8 weights for convolutions alone, and a matrix
product is a convolution of 1 x 1 over one position.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_sparse.export.flatbuffer.graph import FlatbufferGraph, indices

_PER_CHANNEL = 3  # version of CONV_2D that takes int8 weights by channel


def can_be_convolution(graph: FlatbufferGraph, operator: Any) -> bool:
    """Tell whether `as_convolution` takes an operator."""
    inputs = indices(operator.inputs)
    return (
        graph.name(operator) == "FULLY_CONNECTED"
        and len(graph.consumers(inputs[1])) == 1
    )


def as_convolution(graph: FlatbufferGraph, operator: Any) -> None:
    """Turn a FULLY_CONNECTED into RESHAPE, CONV_2D and RESHAPE.

    The weight keeps its entries; its shape gets two axes of 1.
    """
    source, weight, *bias = (i for i in operator.inputs if i >= 0)
    bias = bias or [_zero_bias(graph, source, weight)]
    (target,) = indices(operator.outputs)
    units, features = indices(graph.tensors[weight].shape)
    rows = math.prod(indices(graph.tensors[source].shape)) // features
    graph.tensors[weight].shape = [units, 1, 1, features]
    graph.tensors[weight].shapeSignature = None
    wide = graph.add_tensor(source, shape=[rows, 1, 1, features])
    given = graph.add_tensor(target, shape=[rows, 1, 1, units])
    place = next(
        index for index, each in enumerate(graph.operators) if each is operator
    )
    graph.operators.insert(place, _reshape(graph, source, wide))
    graph.operators.insert(place + 2, _reshape(graph, given, target))
    operator.opcodeIndex = graph.code("CONV_2D", _PER_CHANNEL)
    operator.inputs = [wide, weight, *bias]
    operator.outputs = [given]
    activation = operator.builtinOptions.fusedActivationFunction
    operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    operator.builtinOptions = schema.Conv2DOptionsT(
        padding=schema.Padding.VALID,
        strideW=1,
        strideH=1,
        fusedActivationFunction=activation,
    )


def _zero_bias(graph: FlatbufferGraph, source: int, weight: int) -> int:
    """Add the bias that CONV_2D insists on."""
    units = indices(graph.tensors[weight].shape)[0]
    scale = graph.tensors[source].quantization.scale[0]
    scales = np.asarray(graph.tensors[weight].quantization.scale)
    zeros = np.zeros(units, "int32").view("uint8")
    graph.model.buffers.append(schema.BufferT(data=zeros))
    graph.tensors.append(
        schema.TensorT(
            shape=[units],
            type=schema.TensorType.INT32,
            buffer=len(graph.model.buffers) - 1,
            quantization=schema.QuantizationParametersT(
                scale=list(scale * scales),
                zeroPoint=[0] * len(scales),
            ),
        )
    )
    return len(graph.tensors) - 1


def _reshape(graph: FlatbufferGraph, source: int, target: int) -> Any:
    operator = graph.operator("RESHAPE", [source], [target])
    operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = schema.ReshapeOptionsT(
        newShape=indices(graph.tensors[target].shape)
    )
    return operator
