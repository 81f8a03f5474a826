"""One tensor of a `.tflite` file: shape, bytes and zeros."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_NAMES = {
    code: name.lower()
    for name, code in vars(schema.TensorType).items()
    if isinstance(code, int)
}
_DTYPES = (
    "float16 float32 float64 int8 int16 int32 int64 "
    "uint8 uint16 uint32 uint64 complex64 complex128 bool"
).split()
_PACKED_BITS = {"int4": 4, "uint4": 4, "int2": 2}
_SHORT_FLOATS = {"bfloat16": "<u2", "float8_e4m3fn": "u1", "float8_e5m2": "u1"}
_VECTORS = {
    schema.SparseIndexVector.Int32Vector: schema.Int32Vector,
    schema.SparseIndexVector.Uint16Vector: schema.Uint16Vector,
    schema.SparseIndexVector.Uint8Vector: schema.Uint8Vector,
}


@dataclass(frozen=True)
class TFLiteTensor:
    """A tensor of a `.tflite` file.

    Args:
        name: its name.
        shape: its shape, `None` for sizes that are not fixed.
        dtype: such as `"float32"` or `"int8"`.
        size: the bytes it takes in the file, the indices of a sparse one
            with them; 0 if it is not a constant.
        zeros: how many entries of a constant stand for 0.0 (of a
            quantised one those at the zero point); `None` where there are
            no numbers.
        quantized: whether it has a scale.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    size: int
    zeros: int | None
    quantized: bool

    @property
    def elements(self) -> int:
        """The number of entries, an open size counted as 1."""
        return math.prod(size or (size is None) for size in self.shape)

    @property
    def is_parameter(self) -> bool:
        """Whether it is a weight, and not, say, a shape or an axis."""
        return self.zeros is not None and (
            self.quantized or "float" in self.dtype
        )


def read_tensor(table: schema.Tensor, data: np.ndarray) -> TFLiteTensor:
    """Read a tensor from its flatbuffer table.

    Args:
        table: the table.
        data: the bytes of its buffer, as uint8; empty if not a constant.

    Raises:
        ValueError: shape, dtype and bytes contradict each other.
    """
    name = (table.Name() or b"").decode("utf-8", "replace")
    dtype = _NAMES.get(table.Type())
    if dtype is None:
        raise ValueError(f"tensor {name!r} has unknown dtype {table.Type()}")
    sizes = [int(size) for size in _numpy(table.ShapeAsNumpy())]
    if min(sizes, default=0) < 0:
        raise ValueError(f"tensor {name!r} has shape {sizes}")
    signature = [int(size) for size in _numpy(table.ShapeSignatureAsNumpy())]
    shape = tuple(
        None if index < len(signature) and signature[index] < 0 else size
        for index, size in enumerate(sizes)
    )
    scales = table.Quantization()
    quantized = scales is not None and scales.ScaleLength() > 0
    zeros, size = None, data.size
    if data.size and (values := _values(data, dtype)) is not None:
        elements = math.prod(sizes)
        sparsity = table.Sparsity()
        if sparsity is None:
            padding = values.size - elements
            if not 0 <= padding < 8 // _PACKED_BITS.get(dtype, 8):
                raise ValueError(
                    f"tensor {name!r} of shape {sizes} and dtype {dtype} "
                    f"holds {data.size} bytes"
                )
            zeros = _count_zeros(values[:elements].reshape(sizes), scales)
        else:
            stored = values.size - _count_zeros(values, scales)
            zeros = max(elements - stored, 0)
            size += _index_bytes(sparsity)
    return TFLiteTensor(name, shape, dtype, size, zeros, quantized)


def _values(data: np.ndarray, dtype: str) -> np.ndarray | None:
    """Return numbers that are 0 exactly where the tensor's entries are."""
    if bits := _PACKED_BITS.get(dtype):
        shifts = np.arange(0, 8, bits, dtype="uint8")
        values = (data[:, None] >> shifts).ravel() & (2**bits - 1)
        if dtype.startswith("u"):
            return values
        return np.where(values >= 2 ** (bits - 1), values - 2.0**bits, values)
    if dtype in _SHORT_FLOATS:
        short = data.view(_SHORT_FLOATS[dtype])
        return short << 1  # drops the sign
    return data.view(dtype) if dtype in _DTYPES else None


def _count_zeros(
    values: np.ndarray, scales: schema.QuantizationParameters | None
) -> int:
    points = _numpy(scales.ZeroPointAsNumpy() if scales else 0)
    if not points.any():
        return values.size - int(np.count_nonzero(values))
    if points.size > 1 and scales is not None:
        axis = scales.QuantizedDimension()
        if not 0 <= axis < values.ndim or values.shape[axis] != points.size:
            raise ValueError(
                f"{points.size} zero points do not fit axis {axis} of a "
                f"tensor of shape {values.shape}"
            )
        around = [1] * values.ndim
        around[axis] = points.size
        points = points.reshape(around)
    return int(np.count_nonzero(values == points))


def _index_bytes(sparsity: schema.SparsityParameters) -> int:
    total = 0
    for number in range(sparsity.DimMetadataLength()):
        dimension = sparsity.DimMetadata(number)
        for kind, table in (
            (dimension.ArraySegmentsType(), dimension.ArraySegments()),
            (dimension.ArrayIndicesType(), dimension.ArrayIndices()),
        ):
            if kind in _VECTORS and table is not None:
                vector = _VECTORS[kind]()
                vector.Init(table.Bytes, table.Pos)
                total += _numpy(vector.ValuesAsNumpy()).nbytes
    return total


def _numpy(values: np.ndarray | int) -> np.ndarray:
    """Return an array where the schema gives 0 for an absent vector."""
    return values if isinstance(values, np.ndarray) else np.empty(0, "int32")
