"""Load and run a `.tflite` file in the LiteRT interpreter."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from keras_sparse.export._quiet import captured
from keras_sparse.export._samples import Arrays, batches
from keras_sparse.export.timing.script import quantized

SETUPS = ("xnnpack", "builtin")
"""With the XNNPACK delegate, as phones run it, and without a delegate."""

_RESOLVERS = {
    "xnnpack": OpResolverType.BUILTIN,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}


def resolver(setup: str) -> OpResolverType:
    """Return LiteRT's name for a set-up."""
    return _RESOLVERS[setup]


def load(
    path: str | os.PathLike, setup: str = "xnnpack", threads: int = 1
) -> Interpreter:
    """Load a file, its tensors allocated; LiteRT may write to stderr.

    Args:
        path: a `.tflite` file that `read_tflite` accepts.
        setup: `"xnnpack"` or `"builtin"`.
        threads: threads of one call.

    Raises:
        RuntimeError: LiteRT refuses the file.
    """
    try:
        interpreter = Interpreter(
            model_path=os.fspath(path),
            num_threads=threads,
            experimental_op_resolver_type=resolver(setup),
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise RuntimeError(
            f"LiteRT ({setup}) expected a file it can run, received "
            f"{str(path)!r}: {error}"
        ) from error
    return interpreter


def run(
    path: str | os.PathLike,
    setup: str,
    names: tuple[str, ...],
    arrays: Arrays,
    outputs: list[str],
    batch_size: int,
) -> Arrays:
    """Run samples through a file with one signature.

    Args:
        path: the file.
        setup: `"xnnpack"` or `"builtin"`.
        names: the names of the inputs.
        arrays: one array of samples for each name.
        outputs: the names of the outputs.
        batch_size: the batch size of the file.

    Returns:
        One array for each output. What the file holds as int8 is float32.
    """
    with captured():
        interpreter = load(path, setup)
        runner = interpreter.get_signature_runner()
    fed, given = runner.get_input_details(), runner.get_output_details()
    rows: list[list[np.ndarray]] = [[] for _ in outputs]
    for batch, count in batches(arrays, batch_size):
        result = runner(
            **{
                name: quantized(array, fed[name])
                for name, array in zip(names, batch, strict=True)
            }
        )
        for kept, name in zip(rows, outputs, strict=True):
            kept.append(dequantized(result[name], given[name])[:count])
    return [np.concatenate(kept) for kept in rows]


def dequantized(array: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Return the real numbers that an output's integers stand for."""
    scale, zero = details["quantization"]
    if array.dtype.kind == "f" or not scale:
        return array
    return ((array.astype("float32") - zero) * scale).astype("float32")
