"""Is the file the model? Tolerances, and the check before it is kept."""

from __future__ import annotations

import os

import keras
import numpy as np

from keras_sparse.export import _litert
from keras_sparse.export._samples import Arrays, batches
from keras_sparse.export._signature import Signature

TOLERANCES: dict[str | None, float] = {
    None: 1e-4,
    "float16": 1e-2,
    "dynamic": 0.15,
    "int8": 0.25,
}
"""The largest `relative_difference` that is accepted, for each kind.

float32 and float16 files compute what Keras computes, in another order or
from rounded weights, so *every number* has to be right: the largest
difference over the largest output. Twenty MobileNet-sized layers give
2e-6 and 2e-3. With 8-bit weights or activations each number carries noise,
and one sample near a decision boundary may move far in a file that is as
good as such files get, so the *energy* of the noise is compared: the root
mean square of the differences over that of the outputs. Sound files
measure up to .04; outputs that are unrelated to Keras' measure 1 or more.
"""

_SMALLEST = 1e-7
_PROBABILITY_SCALE = 1 / 64


def keras_predictions(
    model: keras.Model, signature: Signature, arrays: Arrays, size: int = 256
) -> Arrays:
    """Return the model's outputs at inference, flat, one array for each.

    Raises:
        ValueError: an output is NaN or infinite.
    """
    rows: list[Arrays] = []
    for batch, count in batches(arrays, min(size, len(arrays[0]))):
        result = keras.tree.flatten(model(signature.pack(batch), training=False))
        rows.append([keras.ops.convert_to_numpy(y)[:count] for y in result])
    outputs = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    for index, output in enumerate(outputs):
        bad = int(np.sum(~np.isfinite(output)))
        if bad:
            raise ValueError(
                f"Expected finite predictions from {model.name!r}, received "
                f"{bad} NaN or infinite numbers of {output.size} in output "
                f"{index}, from Keras itself. Look for NaN weights: a "
                "training run that diverged leaves them."
            )
    return outputs


def differences(
    expected: np.ndarray, received: np.ndarray, quantize: str | None
) -> tuple[float, float]:
    """Return the largest absolute difference and the relative one.

    Args:
        expected: what Keras predicts.
        received: what the file gives, of the same shape.
        quantize: the kind of file; it sets the rule, see `TOLERANCES`.

    Returns:
        `(largest, relative)`. The outputs' scale is never taken below
        what makes 1e-7 relative to it, nor for int8 probabilities, which
        such files hold in steps of 1/256, below 1/64.

    Example:

    >>> differences(np.array([2.0, 1.0]), np.array([2.0, 1.5]), None)
    (0.5, 0.25)
    """
    expected = expected.astype("float64")
    gap = np.abs(received.astype("float64") - expected)
    largest = float(gap.max(initial=0.0))
    if quantize in (None, "float16"):
        size, scale = largest, float(np.abs(expected).max(initial=0.0))
    else:
        size, scale = _rms(gap), _rms(expected)
    if quantize == "int8" and 0 <= expected.min() <= expected.max() <= 1:
        scale = max(scale, _PROBABILITY_SCALE)
    return largest, size / max(scale, _SMALLEST / TOLERANCES[quantize])


def verify(
    path: str | os.PathLike,
    signature: Signature,
    arrays: Arrays,
    expected: Arrays,
    outputs: list[str],
    *,
    quantize: str | None,
    tolerance: float,
    batch_size: int,
) -> tuple[dict[str, Arrays], dict[str, float], dict[str, float]]:
    """Run a file with and without XNNPACK and compare it with Keras.

    Returns:
        For each set-up: the outputs, the largest absolute difference
        from Keras, and the largest relative difference.

    Raises:
        RuntimeError: NaN, another shape, or a difference beyond
            `tolerance` from Keras or between the two set-ups.
    """
    results: dict[str, Arrays] = {}
    absolute, relative = {}, {}
    for setup in _litert.SETUPS:
        results[setup] = _litert.run(
            path, setup, signature.names, arrays, outputs, batch_size
        )
        absolute[setup], relative[setup] = 0.0, 0.0
        for name, want, got in zip(
            outputs, expected, results[setup], strict=True
        ):
            gap = _checked(want, want, got, name, quantize, tolerance, setup)
            absolute[setup] = max(absolute[setup], gap[0])
            relative[setup] = max(relative[setup], gap[1])
    for name, want, *pair in zip(
        outputs, expected, *results.values(), strict=True
    ):
        # the difference of the two, on the scale of Keras' outputs
        moved = want + (pair[1].astype("float64") - pair[0])
        _checked(want, moved, got, name, quantize, tolerance, "both")
    return results, absolute, relative


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0
