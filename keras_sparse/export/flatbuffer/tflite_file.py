"""Read what a `.tflite` file holds, without running it.

The schema classes are those of `ai_edge_litert`, the package that also runs
the files here: they come with it, load in a tenth of a second and know its
newest operators, while TensorFlow's copy would load TensorFlow.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_sparse.export.flatbuffer.tflite_operator import (
    BUILTIN_NAMES,
    TFLiteOperator,
    operator_macs,
    weight_of,
)
from keras_sparse.export.flatbuffer.tflite_tensor import (
    TFLiteTensor,
    read_tensor,
)
from keras_sparse.weight_table import Summary, WeightRow

T = TypeVar("T")
_MAGIC = b"TFL3"
_DECODERS = {"DEQUANTIZE", "DENSIFY"}


@dataclass(frozen=True)
class TFLiteFile:
    """What a `.tflite` file holds.

    Args:
        path: the file.
        raw_bytes: its size.
        gzip_bytes: its size after gzip at level 9.
        tensors: the tensors of each subgraph; the first is the main graph.
        operators: all operators, in the order in which they run.
        inputs: indices of the main graph's inputs.
        outputs: indices of its outputs.
    """

    path: str
    raw_bytes: int
    gzip_bytes: int
    tensors: tuple[tuple[TFLiteTensor, ...], ...]
    operators: tuple[TFLiteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def constants(self) -> tuple[TFLiteTensor, ...]:
        """The tensors whose values are in the file."""
        return tuple(t for graph in self.tensors for t in graph if t.size)

    @property
    def parameters(self) -> int:
        """The number of weights, biases and all."""
        return sum(t.elements for t in self.constants if t.is_parameter)

    @property
    def nonzeros(self) -> int:
        """How many of the weights are not zero."""
        zeros = sum(t.zeros or 0 for t in self.constants if t.is_parameter)
        return self.parameters - zeros

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one call, at the file's batch size.

        `None` where there are none, or where they sit in a loop: how often
        a loop runs is not in the file.
        """
        counts = [op for op in self.operators if op.macs is not None]
        if not counts or any(op.subgraph for op in counts):
            return None
        return sum(op.macs or 0 for op in counts)

    def summary(self) -> Summary:
        """Return one row for each weight, as `keras_sparse.summary` does."""
        counts = self._macs_by_weight()
        rows = [
            WeightRow(
                name=tensor.name,
                kind=tensor.dtype,
                shape=tuple(size or 0 for size in tensor.shape),
                parameters=tensor.elements,
                nonzeros=tensor.elements - (tensor.zeros or 0),
                macs=counts.get((graph, index)),
                size=tensor.size,
            )
            for graph, tensors in enumerate(self.tensors)
            for index, tensor in enumerate(tensors)
            if tensor.is_parameter
        ]
        return Summary(os.path.basename(self.path), tuple(rows))

    def _macs_by_weight(self) -> dict[tuple[int, int], int]:
        counts: dict[tuple[int, int], int] = {}
        source: dict[tuple[int, int], tuple[int, int]] = {}
        for op in self.operators:
            if op.name in _DECODERS and op.inputs and op.outputs:
                stored = op.subgraph, op.inputs[0]
                source[op.subgraph, op.outputs[0]] = source.get(stored, stored)
            weight = weight_of(op.name, op.inputs)
            if weight is not None and op.macs is not None:
                used = op.subgraph, weight
                key = source.get(used, used)
                counts[key] = counts.get(key, 0) + op.macs
        return counts


def read_tflite(path: str | os.PathLike) -> TFLiteFile:
    """Read the tensors and operators of a `.tflite` file.

    Args:
        path: the file.

    Returns:
        A `TFLiteFile`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or no `.tflite` file.
    """
    with open(path, "rb") as file:
        content = file.read()
    name = os.fspath(path)
    if len(content) < 8 or content[4:8] != _MAGIC:
        raise ValueError(
            f"Expected a .tflite file, received {name!r} with "
            f"{len(content)} bytes and without the identifier 'TFL3'. Is "
            "it another kind of file, or a download that stopped?"
        )
    with damage_named(name):
        return _parse(name, content)


@contextlib.contextmanager
def damage_named(name: str) -> Iterator[None]:
    """Turns what reading damaged bytes raises into an error of that file."""
    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        raise ValueError(
            f"Expected a whole .tflite file, received {name!r}, which is "
            f"damaged: {error}. Copy or export it again."
        ) from error


def _parse(path: str, content: bytes) -> TFLiteFile:
    model = schema.Model.GetRootAs(content, 0)
    if model.Version() != 3:
        raise ValueError(f"its version is {model.Version()}, not 3")
    limit = len(content) // 4

    def items(count: int, get: Callable[[int], T | None]) -> list[T]:
        if count > limit:
            raise ValueError(f"it claims {count} entries")
        found = [get(index) for index in range(count)]
        return [entry for entry in found if entry is not None]

    data = [
        _buffer_bytes(buffer, content)
        for buffer in items(model.BuffersLength(), model.Buffers)
    ]
    names = [
        _operator_name(code)
        for code in items(model.OperatorCodesLength(), model.OperatorCodes)
    ]
    graphs = items(model.SubgraphsLength(), model.Subgraphs)
    if not graphs:
        raise ValueError("it has no graph")
    tensors = tuple(
        tuple(
            read_tensor(table, data[_within(table.Buffer(), len(data))])
            for table in items(graph.TensorsLength(), graph.Tensors)
        )
        for graph in graphs
    )
    operators = tuple(
        _read_operator(operator, names, tensors[number], number)
        for number, graph in enumerate(graphs)
        for operator in items(graph.OperatorsLength(), graph.Operators)
    )
    ends = [
        _indices(vector, len(held), first=0)
        for graph, held in zip(graphs, tensors, strict=True)
        for vector in (graph.InputsAsNumpy(), graph.OutputsAsNumpy())
    ]
    return TFLiteFile(
        path=path,
        raw_bytes=len(content),
        gzip_bytes=len(gzip.compress(content, 9, mtime=0)),
        tensors=tensors,
        operators=operators,
        inputs=ends[0],
        outputs=ends[1],
    )


def _read_operator(
    operator: schema.Operator,
    names: list[str],
    tensors: tuple[TFLiteTensor, ...],
    subgraph: int,
) -> TFLiteOperator:
    name = names[_within(operator.OpcodeIndex(), len(names))]
    inputs = _indices(operator.InputsAsNumpy(), len(tensors), first=-1)
    outputs = _indices(operator.OutputsAsNumpy(), len(tensors), first=-1)
    macs = operator_macs(name, inputs, outputs, tensors)
    return TFLiteOperator(name, inputs, outputs, macs, subgraph)


def _operator_name(code: schema.OperatorCode) -> str:
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = BUILTIN_NAMES.get(number, f"BUILTIN_{number}")
    if name == "CUSTOM":
        return (code.CustomCode() or b"CUSTOM").decode("utf-8", "replace")
    return name


def _buffer_bytes(buffer: schema.Buffer, content: bytes) -> np.ndarray:
    if buffer.Offset() > 1:  # a file beyond 2 GiB holds its data at the end
        return np.frombuffer(
            content, "uint8", buffer.Size(), offset=buffer.Offset()
        )
    data: Any = buffer.DataAsNumpy()
    return data if isinstance(data, np.ndarray) else np.empty(0, "uint8")


def _within(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise ValueError(f"it points to entry {index} of {count}")
    return index


def _indices(vector: Any, count: int, first: int) -> tuple[int, ...]:
    values = vector if isinstance(vector, np.ndarray) else np.empty(0, "int32")
    if values.size and not (first <= values.min() and values.max() < count):
        raise ValueError(f"a tensor index lies outside 0 to {count - 1}")
    return tuple(int(value) for value in values)
