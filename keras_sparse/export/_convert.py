"""From a Keras model to the bytes of a `.tflite` file."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_sparse.export._quiet import captured, known_warnings_ignored
from keras_sparse.export._samples import Arrays, batches
from keras_sparse.export._signature import Signature, unique_names

_LOOPS = {"While", "StatelessWhile", "If", "StatelessIf", "Case"}
_MISSING = re.compile(r"'(tf\.\w+)' op is neither a custom op nor a flex op")
_CHATTER = re.compile(r"[IW]\d{4} |INFO: |loc\(")
_SAID, _TOLD, _WIDTH = 3, 8, 200  # lines of error and log; characters


def convert(
    model: keras.Model,
    signature: Signature,
    *,
    quantize: str | None = None,
    samples: Arrays | None = None,
    batch_size: int = 1,
    io_dtype: str = "float32",
) -> tuple[bytes, list[str]]:
    """Convert a model, without a word on stdout or stderr.

    The model is traced once at a fixed batch size and handed over as a
    module that holds this one function and the variables. That is faster
    than a SavedModel of the whole model (0.1 s against 0.5 s for a small
    one), keeps the names of inputs and outputs, and lets the converter
    turn the loops of LSTM and GRU layers into LiteRT's own operators,
    which it cannot do while the batch size is open.

    Args:
        model: a built model on the TensorFlow backend.
        signature: its inputs, every dimension known.
        quantize: `None`, `"float16"`, `"dynamic"` or `"int8"`.
        samples: what int8 is calibrated on; one array for each input.
        batch_size: the fixed size of the first axis.
        io_dtype: `"float32"`, or `"int8"` for int8 inputs and outputs.

    Returns:
        The bytes, and the names of the outputs in the order in which
        `keras.tree.flatten` gives them.

    Raises:
        RuntimeError: the converter failed; the message ends with its log.
    """
    with _explained(model):
        function, outputs = _trace(model, signature, batch_size)
    if quantize == "int8":
        _refuse_loops(model, function)
    with _explained(model):
        holder = tf.Module()
        holder.used = list(function.variables)
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function], holder
        )
        _set_kind(converter, quantize, io_dtype)
        if quantize == "int8":
            converter.representative_dataset = lambda: (
                dict(zip(signature.names, batch, strict=True))
                for batch, _ in batches(samples or [], batch_size)
            )
        return converter.convert(), outputs


@contextlib.contextmanager
def _explained(model: keras.Model) -> Iterator[None]:
    """Keep the block silent; put what it wrote into what it raises."""
    with known_warnings_ignored():
        try:
            with captured() as log:
                yield
        except Exception as error:
            raise RuntimeError(_message(model, error, log())) from error


def _trace(
    model: keras.Model, signature: Signature, batch_size: int
) -> tuple[Any, list[str]]:
    outputs: list[str] = []

    def call(**arrays: tf.Tensor) -> dict[str, tf.Tensor]:
        flat = [arrays[name] for name in signature.names]
        result = model(signature.pack(flat), training=False)
        outputs[:] = _output_names(model, result)
        tensors = map(tf.identity, keras.tree.flatten(result))
        return dict(zip(outputs, tensors, strict=True))

    specs = {
        name: tf.TensorSpec((batch_size, *shape), dtype, name)
        for name, shape, dtype in zip(
            signature.names, signature.shapes, signature.dtypes, strict=True
        )
    }
    return tf.function(call).get_concrete_function(**specs), outputs


def _output_names(model: keras.Model, result: Any) -> list[str]:
    paths = [path for path, _ in keras.tree.flatten_with_path(result)]
    names = getattr(model, "output_names", None) or []
    if isinstance(result, dict):
        names = ["_".join(map(str, path)) for path in paths]
    elif len(names) != len(paths):
        names = [f"output_{index}" for index in range(len(paths))]
    return unique_names(names)


def _set_kind(converter: Any, quantize: str | None, io_dtype: str) -> None:
    if quantize is None:
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if io_dtype == "int8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        ]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8


def _refuse_loops(model: keras.Model, function: Any) -> None:
    """Refuse what makes TensorFlow's calibrator crash the process."""
    graph = function.graph.as_graph_def()
    nodes = list(graph.node)
    for body in graph.library.function:
        nodes.extend(body.node_def)
    loops = sorted({node.op for node in nodes} & _LOOPS)
    if not loops:
        return
    layers = [
        layer.path or layer.name
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.RNN) and not layer.unroll
    ]
    raise RuntimeError(
        "int8 expected a model without loops or branches, received "
        f"{model.name!r} with {', '.join(loops)}"
        + (f" (in {', '.join(layers)})" if layers else "")
        + ": TensorFlow cannot calibrate them. Set `unroll = True` on "
        "recurrent layers before the export (the file grows with the "
        'number of steps), or use quantize="dynamic".'
    )


def _message(model: keras.Model, error: Exception, log: str) -> str:
    said = f"{type(error).__name__}: {error}".splitlines()
    missing = sorted(set(_MISSING.findall(str(error))))
    named = f": LiteRT has no {', '.join(missing)}" if missing else ""
    told = [line for line in log.splitlines() if not _CHATTER.match(line)]
    lines = [*said[:_SAID], "The end of the converter's log:", *told[-_TOLD:]]
    return "\n".join(
        [
            f"TensorFlow could not convert {model.name!r}{named}. Expected "
            "a model of operations that LiteRT has built in: replace the "
            "layer that needs others, or export the part before it.",
            *(line[:_WIDTH] for line in lines if line.strip()),
        ]
    )
