"""The main graph of a `.tflite` file, to be changed and packed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_sparse.export.flatbuffer.tflite_operator import (
    BUILTIN_NAMES,
    weight_of,
)

_MAGIC = b"TFL3"
_ALIGNMENT = 16  # what the schema asks of the data of a buffer
_CODES = {name: code for code, name in BUILTIN_NAMES.items()}
_LAST_OLD_CODE = 127
_DTYPES: dict[int, np.dtype] = {
    schema.TensorType.FLOAT32: np.dtype("float32"),
    schema.TensorType.FLOAT16: np.dtype("float16"),
    schema.TensorType.INT8: np.dtype("int8"),
    schema.TensorType.INT32: np.dtype("int32"),
}


class FlatbufferGraph:
    """The main graph of a `.tflite` file, as tables that can be changed.

    Args:
        content: the bytes of a file that `read_tflite` accepts.

    Attributes:
        model: the file's root table.
        tensors: the tensors of the main graph.
        operators: its operators, in the order in which they run.
    """

    def __init__(self, content: bytes) -> None:
        self.model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
        graph = self.model.subgraphs[0]
        self.tensors: list[Any] = graph.tensors
        self.operators: list[Any] = graph.operators
        self.inputs = [int(index) for index in graph.inputs]
        self.outputs = [int(index) for index in graph.outputs]

    def name(self, operator: Any) -> str:
        """Return the name of an operator, such as `"CONV_2D"`."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        return BUILTIN_NAMES.get(number, f"BUILTIN_{number}")

    def weight(self, operator: Any) -> int | None:
        """Return the tensor that an operator multiplies with."""
        return weight_of(self.name(operator), indices(operator.inputs))

    def constant(self, index: int) -> np.ndarray | None:
        """Return a dense constant's entries, `None` for other tensors."""
        held = self.entries(index)
        if held is None or self.tensors[index].sparsity is not None:
            return None
        return held.reshape(indices(self.tensors[index].shape))

    def entries(self, index: int) -> np.ndarray | None:
        """Return the entries that are held of a constant, flat."""
        tensor = self.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        dtype = _DTYPES.get(tensor.type)
        if dtype is None or data is None or not len(data):
            return None
        raw = np.asarray(data, "uint8")
        return raw.view(dtype)

    def is_constant(self, index: int) -> bool:
        """Tell whether a tensor's entries are in the file."""
        data = self.model.buffers[self.tensors[index].buffer].data
        return data is not None and len(data) > 0

    def producer(self, index: int) -> Any | None:
        """Return the operator that writes a tensor."""
        for operator in self.operators:
            if index in indices(operator.outputs):
                return operator
        return None

    def consumers(self, index: int) -> list[Any]:
        """Return the operators that read a tensor."""
        return [op for op in self.operators if index in indices(op.inputs)]

    def stored(self, index: int) -> int:
        """Return the constant that DENSIFY and DEQUANTIZE unpack to a tensor.

        Without such operators before it that is the tensor itself.
        """
        source = self.producer(index)
        if source is not None and self.name(source) in (
            "DENSIFY",
            "DEQUANTIZE",
        ):
            return self.stored(int(source.inputs[0]))
        return index

    def add_tensor(
        self,
        like: int,
        dtype: int | None = None,
        shape: list[int] | None = None,
    ) -> int:
        """Add a computed tensor after the model of another one.

        Args:
            like: that other tensor.
            dtype: its type; that of `like`, with its scales, by default.
            shape: its shape; that of `like` by default.
        """
        model = self.tensors[like]
        self.tensors.append(
            schema.TensorT(
                shape=model.shape if shape is None else shape,
                type=model.type if dtype is None else dtype,
                quantization=model.quantization if dtype is None else None,
            )
        )
        return len(self.tensors) - 1

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int]
    ) -> Any:
        """Return a new operator without options, not yet in the graph."""
        version = 5 if name == "DEQUANTIZE" else 1
        return schema.OperatorT(
            opcodeIndex=self.code(name, version),
            inputs=list(inputs),
            outputs=list(outputs),
        )

    def code(self, name: str, version: int) -> int:
        """Return the entry of an operator code, made where there is none."""
        number = _CODES[name]
        codes = self.model.operatorCodes
        for index, code in enumerate(codes):
            known = max(code.builtinCode, code.deprecatedBuiltinCode)
            if known == number and code.version >= version:
                return index
        codes.append(
            schema.OperatorCodeT(
                deprecatedBuiltinCode=min(number, _LAST_OLD_CODE),
                builtinCode=number,
                version=version,
            )
        )
        return len(codes) - 1

    def shares_buffer(self, index: int) -> bool:
        """Tell whether another tensor of the file has the same data."""
        number = self.tensors[index].buffer
        holders = [
            tensor
            for graph in self.model.subgraphs
            for tensor in graph.tensors
            if tensor.buffer == number
        ]
        return len(holders) > 1

    def pack(self) -> bytes:
        """Return the bytes of the file, its buffers aligned."""
        for buffer in self.model.buffers:
            buffer.__class__ = _AlignedBuffer
        for graph in self.model.subgraphs:
            for tensor in graph.tensors:
                if tensor.quantization is not None:
                    tensor.quantization.__class__ = _SharedScales
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), _MAGIC)
        return bytes(builder.Output())


def indices(vector: Any) -> list[int]:
    """Return a list of numbers, empty for a vector that is not there."""
    return [] if vector is None else [int(entry) for entry in vector]


class _AlignedBuffer(schema.BufferT):
    def Pack(self, builder: flatbuffers.Builder) -> int:
        data = None
        if self.data is not None and len(self.data):
            raw = np.asarray(self.data, "uint8").tobytes()
            builder.StartVector(1, len(raw), _ALIGNMENT)
            builder.head = builder.head - len(raw)
            builder.Bytes[builder.head : builder.head + len(raw)] = raw
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


class _SharedScales(schema.QuantizationParametersT):
    """Scales that are written once, however many tensors have them."""

    def Pack(self, builder: flatbuffers.Builder) -> int:
        held = self.__dict__.get("held")
        if held is None or held[0] is not builder:
            held = self.held = (builder, super().Pack(builder))
        return held[1]
