"""What has to hold before a conversion starts."""

from __future__ import annotations

import keras

from keras_sparse.export._compare import TOLERANCES

SPARSE = (None, "storage", "fast", "auto")
OBJECTIVES = ("bytes", "gzip", "latency")


def check_options(
    quantize: str | None,
    batch_size: int,
    tolerance: float | None,
    io_dtype: str,
) -> None:
    """Refuse options that are unknown or do not go together.

    Raises:
        ValueError: naming the option and what it may be.
    """
    if quantize not in TOLERANCES:
        raise ValueError(
            f"quantize: expected one of {list(TOLERANCES)}, received "
            f"{quantize!r}."
        )
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(
            f"batch_size: expected an integer of 1 or more, received "
            f"{batch_size!r}."
        )
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise ValueError(
            "tolerance: expected a number of 0 or more, relative to the "
            f"size of the outputs, received {tolerance!r}."
        )
    if io_dtype not in ("float32", "int8"):
        raise ValueError(
            f"io_dtype: expected 'float32' or 'int8', received {io_dtype!r}."
        )
    if io_dtype == "int8" and quantize != "int8":
        raise ValueError(
            "io_dtype='int8' expected quantize='int8', received "
            f"quantize={quantize!r}. Set both."
        )


def check_sparse_options(
    sparse: str | None, objective: str, verify: str | None
) -> None:
    """Refuse choices that are unknown.

    Raises:
        ValueError: naming the option and what it may be.
    """
    for name, value, known in (
        ("sparse", sparse, SPARSE),
        ("objective", objective, OBJECTIVES),
        ("verify", verify, (None, "arm64")),
    ):
        if value not in known:
            raise ValueError(
                f"{name}: expected one of {list(known)}, received {value!r}."
            )
    if objective != "bytes" and sparse != "auto":
        raise ValueError(
            "objective: expected sparse='auto', which chooses by it, received "
            f"sparse={sparse!r}. Pass sparse='auto', or leave `objective` out."
        )


def check_model(model: keras.Model) -> None:
    """Refuse a model that cannot be exported as it is.

    Raises:
        TypeError: not a Keras model.
        RuntimeError: Keras runs on another backend than TensorFlow.
        ValueError: not stripped, or with state from call to call.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"Expected a keras.Model, received {type(model).__name__}."
        )
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise RuntimeError(
            "export_tflite expected Keras on the TensorFlow backend, "
            f"received {backend!r}. Save the model with "
            "model.save('model.keras'), then load and export it in a "
            "process started with KERAS_BACKEND=tensorflow."
        )
    layers = list(model._flatten_layers())
    sparse = [x for x in layers if x.__dict__.get("_ks_slots")]
    if sparse:
        raise ValueError(
            "Expected a plain model, received one whose layers carry "
            f"parametrizations: {_some(sparse)}. Call ks.strip(model) first."
        )
    stateful = [x for x in layers if getattr(x, "stateful", False)]
    if stateful:
        raise ValueError(
            "Expected layers that keep no state from call to call, received "
            f"stateful=True in {_some(stateful)}. Build them with "
            "stateful=False and copy the weights."
        )
    half = [x for x in layers if _is_half(x)]
    if half:
        raise ValueError(
            "Expected layers that compute in float32, received "
            f"{_some(half)}. LiteRT has no such operations: build the model "
            "under keras.config.set_dtype_policy('float32'), copy the "
            'weights with set_weights, and export it; quantize="float16" '
            "then stores the weights as float16."
        )


def _is_half(layer: keras.Layer) -> bool:
    return layer.compute_dtype in ("float16", "bfloat16")


def _some(layers: list[keras.Layer], count: int = 5) -> str:
    names = [layer.path or layer.name for layer in layers]
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + rest
