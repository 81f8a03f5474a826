"""Weights rounded while they train as the exported file rounds them."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sparse._arithmetic.straight_through import straight_through
from keras_sparse.parametrizations.parametrization import Parametrization


@keras.saving.register_keras_serializable(package="keras_sparse")
class QuantizationAware(Parametrization):
    """Rounds each weight to a whole multiple of its channel's scale.

    The scale of an output channel is its largest weight over 127, so that
    zero stays zero and the levels are those of the int8 file that
    `keras_sparse.export_tflite(quantize="int8")` writes: after `strip` that
    file holds these weights without another rounding. The gradient passes
    straight through the rounding. It is meant for a few last epochs of a
    trained, pruned model.

    Args:
        bits: Width of the integers, from 2 to 8. Only 8 are the levels of a
            file; fewer leave fewer different values, for gzip.
        keep_zeros: Whether weights that are zero when it is attached stay
            zero, as with `Mask(keep_zeros=True)`. Defaults to `True`.

    Raises:
        ValueError: If `bits` is out of range.

    Reference:
        Jacob et al., "Quantization and training of neural networks for
        efficient integer-arithmetic-only inference", CVPR 2018, section 3;
        symmetric and per channel as in Krishnamoorthi, "Quantizing deep
        convolutional networks for efficient inference", 2018, section 2.

    Example:

    >>> import keras, keras_sparse as ks
    >>> made = ks.QuantizationAware()
    >>> made.build((3, 1))
    >>> w = keras.ops.convert_to_tensor([[0.0], [12.7], [0.26]])
    >>> keras.ops.convert_to_numpy(made(w)).ravel().round(4).tolist()
    [0.0, 12.699999809265137, 0.30000001192092896]
    """

    def __init__(
        self, bits: int = 8, *, keep_zeros: bool = True, **kwargs: Any
    ) -> None:
        if not (isinstance(bits, int) and 2 <= bits <= 8):
            raise ValueError(
                "Expected a whole number of bits from 2 to 8. "
                f"Received: bits={bits!r}. The exported file takes 8."
            )
        super().__init__(**kwargs)
        self.bits, self.keep_zeros = bits, keep_zeros

    def build(self, shape: tuple[int, ...]) -> None:
        self.mask = None
        if self.keep_zeros:
            self.mask = self.add_weight(
                name="mask",
                shape=shape,
                initializer="ones",
                dtype="uint8",
                trainable=False,
            )

    def adapt(self, w: Any) -> None:
        if self.mask is not None:
            self.mask.assign(ops.cast(ops.not_equal(w, 0), "uint8"))

    def scale(self, w: Any) -> Any:
        """The step between two levels.

        Args:
            w: The raw weight.

        Returns:
            A tensor that the weight broadcasts with, 1 for channels of zeros.
        """
        rank = len(w.shape)
        axes = [a for a in range(rank) if a - rank not in self.outputs]
        greatest = ops.max(ops.abs(self._masked(w)), axis=axes, keepdims=True)
        greatest = ops.where(greatest > 0, greatest, 1.0)
        # Compilers turn a division by a constant into this, and round twice.
        return greatest * (1 / (2 ** (self.bits - 1) - 1))

    def call(self, w: Any, training: bool | None = None) -> Any:
        scale = ops.stop_gradient(self.scale(w))
        rounded = ops.round(self._masked(w) / scale) * scale
        slope = 1.0 if self.mask is None else self.mask
        return straight_through(rounded, (w, slope))

    def _masked(self, w: Any) -> Any:
        if self.mask is None:
            return w
        return ops.where(ops.cast(self.mask, "bool"), w, ops.zeros_like(w))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "bits": self.bits,
            "keep_zeros": self.keep_zeros,
        }
