"""Export a stripped Keras model to a verified `.tflite` file."""

from __future__ import annotations

import gzip
import os
import warnings
from typing import Any

import keras
import numpy as np

from keras_sparse._atomic import atomic_path, check_writable
from keras_sparse.export._candidates import candidates, choose, sound
from keras_sparse.export._checks import (
    check_model,
    check_options,
    check_sparse_options,
)
from keras_sparse.export._classes import as_classes, gives_classes, rate
from keras_sparse.export._compare import (
    TOLERANCES,
    Verdict,
    keras_predictions,
)
from keras_sparse.export._compare import verify as compare
from keras_sparse.export._samples import Arrays, as_samples, random_samples
from keras_sparse.export._signature import Signature, model_signature
from keras_sparse.export.entropy import entropy_bytes
from keras_sparse.export.report import ExportReport
from keras_sparse.export.sparse.sparse_file import SparseFile

_CALIBRATED = 1000
_COMPARED = 256
_RANDOM = 16


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    quantize: str | None = None,
    representative_data: Any = None,
    inputs: Any = None,
    labels: Any = None,
    batch_size: int = 1,
    tolerance: float | None = None,
    io_dtype: str = "float32",
    verbose: bool = False,
    *,
    sparse: str | None = None,
    objective: str = "bytes",
    verify: str | None = None,
) -> ExportReport:
    """Convert a model to LiteRT, check the file, and keep it if it is right.

    The file is reloaded in the LiteRT interpreter with and without the
    XNNPACK delegate and compared with Keras. Only then does it take its
    place at `path`; after any error the file that was there is unchanged.

    Args:
        model: a plain, built Keras model; call `strip(model)` first. On
            the TensorFlow backend.
        path: the file to write; its folder must exist.
        quantize: `None` for float32; `"float16"` halves the file;
            `"dynamic"` holds weights of 1024 entries or more as int8;
            `"int8"` computes in int8 as well.
        representative_data: typical inputs to calibrate int8 on: an
            array, a list with one array for each input, a dict by input
            name, or an iterable of batches of these, such as a
            `tf.data.Dataset`. At most 1000 samples are used, evenly
            spaced ones of arrays, the first ones of an iterable.
        inputs: what to compare on, in the same forms, all of it. Defaults
            to 256 of the representative data, or else to 16 seeded random
            samples.
        labels: classes of `inputs`, of shape `(n,)` or one-hot, to report
            accuracy.
        batch_size: fixed size of the first axis in the file.
        tolerance: largest relative difference from Keras. Defaults to
            1e-4 for float32 and 1e-2 for float16 (largest difference over
            largest output), .15 for dynamic and .25 for int8 (root mean
            square over that of the outputs).
        io_dtype: dtype of inputs and outputs; `"int8"`, with
            `quantize="int8"`, leaves no float operation in the file.
        verbose: whether to print each stage.
        sparse: `None` holds zeros as any other weight. `"storage"` holds
            each weight by its nonzero entries where that saves bytes, so
            the file is never larger than the dense one; weights that are
            int8 are unpacked to floats when the file is loaded, with
            `quantize="dynamic"`. `"fast"` does so where it costs no time,
            and takes blocks of 1 x 4 for float32 Dense kernels with zeros
            in such blocks. `"auto"` writes both and the dense file, and
            keeps the best by `objective`.
        objective: what `sparse="auto"` makes smallest: `"bytes"`,
            `"gzip"` or, measured here with XNNPACK, `"latency"`.
        verify: `"arm64"` runs the file on ARM64 as well, on an emulated
            processor where this one is another: see
            `keras_sparse.export.arm64.run`.

    Returns:
        An `ExportReport`.

    Raises:
        ValueError: an argument does not fit the model.
        OSError: `path` cannot be written.
        RuntimeError: the backend is not TensorFlow, the model does not
            convert, or the file does not do what the model does.

    Example:

    >>> import tempfile
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.tflite")
    >>> report = export_tflite(model, path)
    >>> report.raw_bytes == os.path.getsize(path)
    True
    """
    from keras_sparse.summary import model_macs

    say = print if verbose else _nothing
    check_options(quantize, batch_size, tolerance, io_dtype)
    check_sparse_options(sparse, objective, verify)
    if quantize == "int8" and representative_data is None:
        raise ValueError(
            'quantize="int8" expected representative_data to calibrate on, '
            "received none. Pass 100 or more typical inputs: "
            "representative_data=x_train[:200]."
        )
    if labels is not None and inputs is None:
        raise ValueError(
            "labels expected the inputs they belong to, received none. "
            "Pass inputs=x_test, labels=y_test."
        )
    check_model(model)
    target = check_writable(path)
    if not os.fspath(path).endswith(".tflite"):
        raise ValueError(
            "path: expected a name that ends in '.tflite', received "
            f"{os.fspath(path)!r}. What is there stays as it is."
        )
    signature, calibration, arrays = _data(model, representative_data, inputs)
    say(f"Keras predicts {len(arrays[0]):,} samples ...")
    expected = keras_predictions(model, signature, arrays)
    classes = None if labels is None else as_classes(labels, expected[0])

    from keras_sparse.export._convert import convert  # needs TensorFlow

    say(f"Converting {model.name} to {quantize or 'float32'} ...")
    content, outputs = convert(
        model,
        signature,
        quantize=quantize,
        samples=calibration,
        batch_size=batch_size,
        io_dtype=io_dtype,
    )
    allowed = TOLERANCES[quantize] if tolerance is None else tolerance
    with atomic_path(target, len(content)) as temporary:

        def test(file: SparseFile) -> Verdict:
            temporary.write_bytes(file.content)
            say(f"Comparing {len(file.content):,} bytes with Keras ...")
            return compare(
                temporary,
                signature,
                arrays,
                expected,
                outputs,
                quantize=quantize,
                tolerance=allowed,
                batch_size=batch_size,
                arm64=verify == "arm64",
            )

        passed, failed = sound(candidates(content, sparse), test)
        scores = choose([file for file, _ in passed], objective)
        best = next(iter(scores))
        file, verdict = next(each for each in passed if each[0].mode == best)
        temporary.write_bytes(file.content)
        weights = [weight.numpy() for weight in model.weights]
        report = ExportReport(
            path=os.fspath(path),
            quantize=quantize,
            io_dtype=io_dtype,
            batch_size=batch_size,
            raw_bytes=len(file.content),
            gzip_bytes=_gzipped(file.content),
            parameters=sum(weight.size for weight in weights),
            nonzeros=sum(int(np.count_nonzero(w)) for w in weights),
            macs=model_macs(model),
            samples=len(arrays[0]),
            tolerance=allowed,
            max_difference=verdict.absolute,
            relative_difference=verdict.relative,
            sparse=file.mode,
            dense_bytes=len(content),
            dense_gzip_bytes=_gzipped(content),
            entropy_bytes=entropy_bytes(content),
            encoded=file.encoded,
            refused=file.refused,
            candidates=scores if sparse == "auto" else None,
            failed=failed if sparse == "auto" else None,
            **_rates(classes, expected[0], verdict),
        )
    say(f"Wrote {os.fspath(path)}.")
    if inputs is not None or representative_data is not None:
        _warn_of_other_classes(report)
    return report


def _gzipped(content: bytes) -> int:
    return len(gzip.compress(content, 9, mtime=0))


def _data(
    model: keras.Model, representative_data: Any, inputs: Any
) -> tuple[Signature, Arrays | None, Arrays]:
    """Return the resolved signature, what to calibrate and compare on."""
    signature = model_signature(model)
    calibration: Arrays | None = None
    if representative_data is not None:
        calibration = as_samples(
            representative_data,
            signature,
            "representative_data",
            _CALIBRATED,
        )
        signature = signature.resolved(calibration)
    if inputs is not None:
        arrays = as_samples(inputs, signature, "inputs")
    elif calibration is not None:
        arrays = as_samples(calibration, signature, "inputs", _COMPARED)
    else:
        signature = signature.resolved(None)
        arrays = random_samples(model, signature, _RANDOM)
    return signature.resolved(arrays), calibration, arrays


def _rates(
    classes: np.ndarray | None, expected: np.ndarray, verdict: Verdict
) -> dict[str, dict[str, float] | None]:
    """Return accuracy and agreement of classes, where there are classes."""
    first = {key: arrays[0] for key, arrays in verdict.outputs.items()}
    accuracy = agreement = None
    if classes is not None:
        every = {"keras": expected, **first}
        accuracy = {key: rate(classes, y) for key, y in every.items()}
    if classes is not None or gives_classes(expected):
        keras_classes = expected.argmax(axis=1)
        agreement = {key: rate(keras_classes, y) for key, y in first.items()}
    return {"top1_agreement": agreement, "accuracy": accuracy}


def _warn_of_other_classes(report: ExportReport) -> None:
    same = min((report.top1_agreement or {"": 1.0}).values())
    if same < 0.5:
        warnings.warn(
            f"{report.path} is within the tolerance of Keras' outputs, but "
            f"chooses the same class for {same:.0%} of the inputs only: its "
            "outputs lie too close together. Compare on typical inputs, train "
            'the model further, or try another quantize=, such as "dynamic".',
            stacklevel=3,
        )


def _nothing(_: str) -> None:
    """Print nothing."""
