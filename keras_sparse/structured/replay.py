"""Running a model call by call, to see every tensor on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse.structured.signals import Call, Signal
from keras_sparse.structured.tracing import Trace


def mean_squares(
    trace: Trace, batches: Iterable[Any]
) -> Iterator[tuple[Call, Signal, NDArray]]:
    """Mean square of each channel that a call reads, over data.

    Args:
        trace: What `follow` found out about the model.
        batches: Inputs, each an array or arrays in the structure of the
            model's inputs.

    Yields:
        The call, the signal that it reads, and one number for each channel.
    """
    totals: dict[tuple[int, int], NDArray] = {}
    calls = {}
    size = 0
    for batch in batches:
        arrays = keras.tree.flatten(batch)
        if len(arrays) != len(trace.starts):
            raise ValueError(
                f"Expected data for {len(trace.starts)} inputs. Received "
                f"{len(arrays)} arrays."
            )
        size += len(arrays[0])
        for number, call, signal, tensor in _run(trace, arrays):
            key = (number, id(signal))
            others = tuple(
                a for a in range(len(signal.shape)) if a != signal.axis
            )
            values = _surgery.to_numpy(tensor).astype("float64")
            squares = np.square(values).mean(axis=others) * len(values)
            totals[key] = totals.get(key, 0.0) + squares
            calls[key] = (call, signal)
    for key, squares in totals.items():
        yield *calls[key], squares / size


def _run(
    trace: Trace, inputs: list[Any]
) -> Iterator[tuple[int, Call, Signal, Any]]:
    last = {
        id(signal): number
        for number, call in enumerate(trace.calls)
        for signal in call.inputs
    }
    tensors = {
        id(signal): keras.ops.convert_to_tensor(value)
        for signal, value in zip(trace.starts, inputs, strict=True)
    }
    for number, call in enumerate(trace.calls):
        reads = [tensors[id(signal)] for signal in call.inputs]
        seen: set[int] = set()
        for signal, tensor in zip(call.inputs, reads, strict=True):
            if signal.ids is not None and id(signal) not in seen:
                seen.add(id(signal))
                yield number, call, signal, tensor
        for signal, tensor in zip(
            call.outputs, _called(call, reads), strict=True
        ):
            tensors[id(signal)] = tensor
        for signal in call.inputs:
            if last[id(signal)] == number:
                tensors.pop(id(signal), None)


def _called(call: Call, reads: list[Any]) -> list[Any]:
    if call.operation is None:
        return reads
    by_tensor = {
        id(tensor): read
        for tensor, read in zip(call.node.input_tensors, reads, strict=True)
    }
    args, kwargs = call.node.arguments.fill_in(by_tensor)
    return keras.tree.flatten(call.operation(*args, **kwargs))
