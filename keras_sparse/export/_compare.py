"""Is the file the model? Tolerances, and the check before it is kept."""

from __future__ import annotations

import os
from dataclasses import dataclass

import keras
import numpy as np

from keras_sparse.export import _litert
from keras_sparse.export._samples import Arrays, batches
from keras_sparse.export._signature import Signature
from keras_sparse.export.arm64.run import Arm64Job, run_on_arm64

TOLERANCES: dict[str | None, float] = {
    None: 1e-4,
    "float16": 1e-2,
    "dynamic": 0.15,
    "int8": 0.25,
}
"""The relative difference that is accepted, for each kind of file.

float32 and float16 files compute what Keras computes, in another order or
from rounded weights, so *every number* has to be right: the largest
difference over the largest output. Twenty MobileNet-sized layers give
2e-6 and 2e-3. With 8-bit weights or activations each number carries noise,
and one sample near a decision boundary may move far in a file that is as
good as such files get, so the *energy* of the noise is compared: the root
mean square of the differences over that of the outputs. Sound files
measure up to .04; outputs that are unrelated to Keras' measure 1 or more.
"""

_REMEDIES: dict[str | None, str] = {
    None: "Export parts of the model to find the layer; one whose result "
    "depends on the rest of its batch cannot match.",
    "float16": "Try quantize=None.",
    "dynamic": 'Try quantize="float16".',
    "int8": "Calibrate on more, and more typical, representative_data, or "
    'try quantize="dynamic".',
}
_SMALLEST = 1e-7
_ON_ARM64 = 16  # samples: an emulated call may take a second
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
        result = model(signature.pack(batch), training=False)
        result = keras.tree.flatten(result)
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


def measure(
    gap: np.ndarray, expected: np.ndarray, quantize: str | None
) -> tuple[float, float]:
    """Return the largest difference, absolute, and the relative one.

    Args:
        gap: differences of two results.
        expected: what Keras predicts, of the same shape: the scale.
        quantize: the kind of file; it sets the rule, see `TOLERANCES`.

    Returns:
        `(largest, relative)`. The scale is never taken below what lets
        1e-7 pass, nor, for int8 probabilities, which such files hold in
        steps of 1/256, below 1/64.

    Example:

    >>> measure(np.array([0.0, -0.5]), np.array([2.0, 1.0]), None)
    (0.5, 0.25)
    """
    gap = np.abs(np.asarray(gap, "float64"))
    expected = np.asarray(expected, "float64")
    largest = float(gap.max(initial=0.0))
    if quantize in (None, "float16"):
        size, scale = largest, float(np.abs(expected).max(initial=0.0))
    else:
        size, scale = _rms(gap), _rms(expected)
    if quantize == "int8" and expected.min() >= 0 and expected.max() <= 1:
        scale = max(scale, _PROBABILITY_SCALE)
    return largest, size / max(scale, _SMALLEST / TOLERANCES[quantize])


@dataclass(frozen=True)
class Verdict:
    """What a verified file gave in each interpreter set-up.

    Args:
        outputs: for each set-up of this machine, one array for each output.
        absolute: for each set-up, the largest difference from Keras.
        relative: for each set-up, the largest relative difference.
    """

    outputs: dict[str, Arrays]
    absolute: dict[str, float]
    relative: dict[str, float]


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
    arm64: bool = False,
) -> Verdict:
    """Run a file with and without XNNPACK and compare it with Keras.

    With `arm64`, up to 16 of the samples are run on ARM64 too.

    Raises:
        RuntimeError: NaN, another shape, or a difference beyond
            `tolerance` from Keras or between the two set-ups.
    """
    verdict = Verdict({}, {}, {})
    kind = quantize or "float32"

    def judge(setup: str, wanted: Arrays, given: Arrays) -> None:
        gaps = []
        for name, want, got in zip(outputs, wanted, given, strict=True):
            what = f"output {name!r} of the {kind} file in LiteRT ({setup})"
            _refuse_shape_or_nan(want, got, what)
            gaps.append(measure(_minus(got, want), want, quantize))
            _refuse_beyond(tolerance, *gaps[-1], f"{what} from Keras", quantize)
        verdict.absolute[setup] = max(gap[0] for gap in gaps)
        verdict.relative[setup] = max(gap[1] for gap in gaps)

    for setup in _litert.SETUPS:
        verdict.outputs[setup] = _litert.run(
            path, setup, signature.names, arrays, outputs, batch_size
        )
        judge(setup, expected, verdict.outputs[setup])
    for name, want, one, other in zip(
        outputs, expected, *verdict.outputs.values(), strict=True
    ):
        what = f"output {name!r} of the {kind} file"
        gap = measure(_minus(one, other), want, quantize)
        what = f"{what} with XNNPACK from without"
        _refuse_beyond(tolerance, *gap, what, quantize)
    if arm64:
        some = np.linspace(0, len(arrays[0]) - 1, _ON_ARM64).astype(int)
        some = np.unique(some)
        wanted = [array[some] for array in expected]
        results = run_on_arm64(
            [
                Arm64Job(
                    path,
                    setup,
                    signature.names,
                    [array[some] for array in arrays],
                    outputs,
                    batch_size,
                )
                for setup in _litert.SETUPS
            ]
        )
        for setup, result in zip(_litert.SETUPS, results, strict=True):
            judge(f"arm64 {setup}", wanted, result.outputs)
    return verdict


def _refuse_shape_or_nan(want: np.ndarray, got: np.ndarray, what: str) -> None:
    if got.shape != want.shape:
        raise RuntimeError(
            f"Not written. Expected shape {want.shape} from {what}, as "
            f"Keras gives, received {got.shape}. Does an output depend on "
            "the size of the batch?"
        )
    bad = int(np.sum(~np.isfinite(got)))
    if bad:
        raise RuntimeError(
            f"Not written. Expected finite numbers from {what}, received "
            f"{bad} NaN or infinite ones of {got.size}. Numbers beyond "
            "65504 do not fit float16: try another quantize=."
        )


def _refuse_beyond(
    tolerance: float,
    largest: float,
    relative: float,
    what: str,
    quantize: str | None,
) -> None:
    if not relative <= tolerance:
        raise RuntimeError(
            f"Not written. Expected a relative difference of at most "
            f"{tolerance:.3g} for {what}, received {relative:.3g} (largest "
            f"difference {largest:.3g}). {_REMEDIES[quantize]} A larger "
            "tolerance= accepts the file as it is."
        )


def _minus(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one.astype("float64") - other.astype("float64")


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0
