"""How many bits a weight needs, from how sure it is."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np

from keras_sparse import _surgery
from keras_sparse.bayesian.weights import gaussian_weights

_SIGNIFICANDS = np.arange(1, 24)  # those of float32


@dataclasses.dataclass(frozen=True)
class BitWidth:
    """Bits of a floating-point format that a layer's weights fit into.

    Args:
        significand: Bits after the leading one, as the posterior variance
            asks, 0 to 23.
        exponent: Bits that the largest weight of the model asks for.
        nonzeros: Weights that stay.
    """

    significand: int
    exponent: int
    nonzeros: int

    @property
    def total(self) -> int:
        """Bits for a weight, with its sign."""
        return 1 + self.exponent + self.significand


def bit_widths(model: keras.layers.Layer) -> dict[str, BitWidth]:
    """Bits for the weights of each layer, from the posterior variances.

    A weight needs no digit that is smaller than its uncertainty: its
    significand has as many bits k as there are with 2 variance < 2^-k, in
    the mean over the weights of a layer that stay, rounded up.

    Args:
        model: A model with `Gaussian` weights, before `strip`.

    Returns:
        Map from path to `BitWidth`; a layer of which nothing stays has 0
        significand bits.

    Raises:
        ValueError: If the model has no Bayesian weights.

    Reference:
        Louizos, Ullrich and Welling, "Bayesian compression for deep
        learning", 2017, section 3.3 and its published code.

    Example:

    >>> import keras, keras_sparse as ks
    >>> dense = keras.layers.Dense(2, kernel_initializer="ones", name="top")
    >>> model = keras.Sequential([keras.Input((4,)), dense])
    >>> model = ks.sparsify(model, ks.Gaussian(), verbose=False)
    >>> [width] = ks.bit_widths(model).values()
    >>> width.significand, width.nonzeros
    (13, 8)
    """
    kept = {}
    for path, weight in gaussian_weights(model).items():
        raw = _surgery.read(weight.raw)
        mean = _surgery.to_numpy(weight.finalize(raw))
        variance = _surgery.to_numpy(weight.moments()[1])
        stays = mean != 0
        kept[path] = (mean[stays], variance[stays])
    largest = max(
        (np.abs(m).max() for m, _ in kept.values() if m.size), default=0
    )
    exponent = _exponent_bits(float(largest))
    widths = {}
    for path, (mean, variance) in kept.items():
        fits = 2.0 * variance[:, None] < 0.5 * 2.0 ** (1.0 - _SIGNIFICANDS)
        digits = fits.sum(axis=1)
        significand = math.ceil(digits.mean()) if digits.size else 0
        widths[path] = BitWidth(significand, exponent, mean.size)
    return widths


def _exponent_bits(largest: float) -> int:
    # The published formula has no value where all weights are below 0.5.
    powers = max(1.0, math.log2(largest) + 1.0) if largest > 0 else 1.0
    return math.ceil(math.log2(powers) + 1.0)
