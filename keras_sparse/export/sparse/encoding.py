"""Rewrite constants of a `.tflite` file in the format's sparse encodings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_sparse.export.flatbuffer.graph import FlatbufferGraph, indices
from keras_sparse.export.sparse.fully_connected import (
    as_convolution,
    can_be_convolution,
)
from keras_sparse.export.sparse.layout import (
    SparseLayout,
    compressed,
    narrow,
    smallest,
)

_OVERHEAD = 800  # bytes of tables for one more encoded tensor, rounded up
_SPARSE_VERSION = 8  # of FULLY_CONNECTED, the first that takes sparse weights
_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
_FLOAT, _HALF, _INT8 = (
    schema.TensorType.FLOAT32,
    schema.TensorType.FLOAT16,
    schema.TensorType.INT8,
)
_VECTORS = {
    "uint8": (schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT),
    "uint16": (schema.SparseIndexVector.Uint16Vector, schema.Uint16VectorT),
    "int32": (schema.SparseIndexVector.Int32Vector, schema.Int32VectorT),
}


@dataclass(frozen=True)
class EncodedTensor:
    """A weight that a file holds in a sparse encoding.

    Args:
        name: its name in the file.
        encoding: `"CSR"` or `"1x4 blocks"`.
        dense_bytes: what it takes in the dense file.
        sparse_bytes: what it takes now, indices and all.
    """

    name: str
    encoding: str
    dense_bytes: int
    sparse_bytes: int


@dataclass(frozen=True)
class Weight:
    """A constant that one or more operators multiply with.

    Args:
        stored: the index of the constant.
        array: its entries.
        consumers: the operators that multiply with it.
        decoder: the DEQUANTIZE between constant and consumers, if any.
        hybrid: whether it is int8 and its consumers take floats.
        integer: whether its consumers take int8.
    """

    stored: int
    array: np.ndarray
    consumers: list[Any]
    decoder: Any | None
    hybrid: bool
    integer: bool


def weights(graph: FlatbufferGraph) -> list[Weight]:
    """Return the constants of a graph that may be held sparse."""
    found: dict[int, Weight] = {}
    for operator in graph.operators:
        used = graph.weight(operator)
        if used is None or graph.name(operator) not in _WEIGHTED:
            continue
        decoder = graph.producer(used)
        stored = used if decoder is None else int(decoder.inputs[0])
        array = graph.constant(stored)
        if stored in found or array is None or graph.shares_buffer(stored):
            continue
        if decoder is not None and graph.name(decoder) != "DEQUANTIZE":
            continue
        consumers = graph.consumers(used)
        if any(graph.weight(each) != used for each in consumers):
            continue
        kind = graph.tensors[stored].type
        fed = {graph.tensors[int(each.inputs[0])].type for each in consumers}
        if kind not in (_FLOAT, _HALF, _INT8) or len(fed) > 1:
            continue
        if kind == _INT8 and not _is_symmetric(graph.tensors[stored]):
            continue
        integer = fed == {_INT8}
        if integer and not all(_takes_int8(graph, op) for op in consumers):
            continue
        hybrid = kind == _INT8 and decoder is None and not integer
        found[stored] = Weight(
            stored, array, consumers, decoder, hybrid, integer
        )
    return list(found.values())


def encode_csr(graph: FlatbufferGraph, weight: Weight) -> EncodedTensor | None:
    """Hold a weight as compressed rows, unpacked by DENSIFY, if it saves.

    An int8 weight of a hybrid operator is unpacked to floats as well.
    """
    layout = smallest(weight.array)
    if layout.nbytes + _OVERHEAD >= weight.array.nbytes:
        return None
    for operator in weight.consumers if weight.integer else ():
        if graph.name(operator) == "FULLY_CONNECTED":
            as_convolution(graph, operator)
            layout = smallest(weight.array[:, None, None])
    _store(graph, weight.stored, layout)
    dense = graph.add_tensor(weight.stored)
    graph.operators.insert(
        0, graph.operator("DENSIFY", [weight.stored], [dense])
    )
    _redirect(weight, weight.stored, dense)
    if weight.hybrid:
        dequantize(graph, dense, weight.consumers, place=1)
    return _encoded(graph, weight, layout, "CSR")


def encode_direct(
    graph: FlatbufferGraph, weight: Weight, block: int = 1
) -> EncodedTensor | None:
    """Hold a float weight of FULLY_CONNECTED so that it multiplies as it is.

    Args:
        graph: the graph.
        weight: one of its weights.
        block: 1 for compressed rows, 4 for blocks of 1 x 4.

    Returns:
        The weight as encoded, `None` where it cannot be or saves nothing.
    """
    names = {graph.name(each) for each in weight.consumers}
    plain = weight.array.dtype == np.float32 and weight.decoder is None
    if not plain or names != {"FULLY_CONNECTED"}:
        return None
    if weight.array.shape[-1] % block:
        return None
    layout = compressed(weight.array, block=block)
    if layout.nbytes + _OVERHEAD >= weight.array.nbytes:
        return None
    _store(graph, weight.stored, layout)
    for operator in weight.consumers:
        old = graph.model.operatorCodes[operator.opcodeIndex].version
        version = max(old, _SPARSE_VERSION)
        operator.opcodeIndex = graph.code("FULLY_CONNECTED", version)
    kind = "CSR" if block == 1 else f"1x{block} blocks"
    return _encoded(graph, weight, layout, kind)


def dequantize(
    graph: FlatbufferGraph, index: int, consumers: list[Any], place: int = 0
) -> None:
    """Unpack an int8 tensor, so that its consumers compute in floats."""
    real = graph.add_tensor(index, _FLOAT)
    operator = graph.operator("DEQUANTIZE", [index], [real])
    graph.operators.insert(place, operator)
    for each in consumers:
        _replace(each, index, real)


def _takes_int8(graph: FlatbufferGraph, operator: Any) -> bool:
    name = graph.name(operator)
    return name == "CONV_2D" or can_be_convolution(graph, operator)


def _is_symmetric(tensor: Any) -> bool:
    scales = tensor.quantization
    if scales is None or scales.scale is None:
        return False
    return not any(indices(scales.zeroPoint))


def _redirect(weight: Weight, old: int, new: int) -> None:
    readers = [weight.decoder] if weight.decoder else weight.consumers
    for each in readers:
        _replace(each, old, new)


def _replace(operator: Any, old: int, new: int) -> None:
    operator.inputs = [
        new if index == old else index for index in indices(operator.inputs)
    ]


def _store(graph: FlatbufferGraph, index: int, layout: SparseLayout) -> None:
    tensor = graph.tensors[index]
    raw = np.ascontiguousarray(layout.values).view("uint8")
    graph.model.buffers[tensor.buffer].data = raw
    rank = len(layout.shape)
    sizes = [layout.shape[axis] for axis in layout.order]
    if layout.block > 1:
        sizes[-1] //= layout.block
        sizes.append(layout.block)
    tensor.sparsity = schema.SparsityParametersT(
        traversalOrder=[*layout.order, *range(rank, len(sizes))],
        blockMap=[rank - 1] if layout.block > 1 else [],
        dimMetadata=[
            _compressed_axis(layout)
            if level == layout.level
            else schema.DimensionMetadataT(
                format=schema.DimensionType.DENSE, denseSize=size
            )
            for level, size in enumerate(sizes)
        ],
    )


def _compressed_axis(layout: SparseLayout) -> Any:
    fields: dict[str, Any] = {}
    for name in ("segments", "indices"):
        vector = narrow(getattr(layout, name))
        kind, table = _VECTORS[str(vector.dtype)]
        fields[f"array{name.title()}Type"] = kind
        fields[f"array{name.title()}"] = table(values=vector)
    return schema.DimensionMetadataT(
        format=schema.DimensionType.SPARSE_CSR, **fields
    )


def _encoded(
    graph: FlatbufferGraph, weight: Weight, layout: SparseLayout, kind: str
) -> EncodedTensor:
    name = graph.tensors[weight.stored].name or b""
    return EncodedTensor(
        name=name.decode("utf-8", "replace"),
        encoding=kind,
        dense_bytes=weight.array.nbytes,
        sparse_bytes=layout.nbytes,
    )
