"""A fixed pattern of zeros over a weight."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_sparse import _surgery
from keras_sparse._arithmetic.fused import fused, update
from keras_sparse.parametrizations.parametrization import Parametrization


@keras.saving.register_keras_serializable(package="keras_sparse")
class Mask(Parametrization):
    """Zeros where the mask is 0, the raw weight where it is 1.

    The mask starts full of ones; `keras_sparse.callbacks.Prune` or
    `set_mask` changes it. It costs one byte a weight.

    Args:
        straight_through: If true, masked weights keep receiving the dense
            gradient, so that they can come back at a later update. If false
            (default), their gradient is zero.
        keep_zeros: If true, the mask starts as "is not zero" instead of all
            ones, so that a model pruned before is fine-tuned with its zeros
            held; `Prune` adds zeros to these and takes none away.
        gradient_only: If true, a training step masks the gradient alone and
            takes the weight as it is, whose masked entries are zero already:
            one pass over the weights less. For optimizers that leave a weight
            where it is whose gradient was never other than zero. Of Keras'
            own, `Muon` does not; `Prune` stops a training that moves zeros.

    Raises:
        ValueError: If both `straight_through` and `gradient_only` are true.

    Reference:
        The straight-through gradient of a mask: Bengio et al., "Estimating or
        propagating gradients through stochastic neurons", 2013.

    Example:

    >>> import keras, keras_sparse as ks
    >>> mask = ks.Mask()
    >>> mask.build((3,))
    >>> mask.set_mask([1, 0, 1])
    >>> keras.ops.convert_to_numpy(mask(keras.ops.ones((3,)))).tolist()
    [1.0, 0.0, 1.0]
    """

    def __init__(
        self,
        *,
        straight_through: bool = False,
        keep_zeros: bool = False,
        gradient_only: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if straight_through and gradient_only:
            raise ValueError(
                "Expected a mask that lets the dense gradient through or one "
                "that masks the gradient alone. Received: "
                "straight_through=True, gradient_only=True. Leave one out."
            )
        self.straight_through = straight_through
        self.keep_zeros = keep_zeros
        self.gradient_only = gradient_only

    def build(self, shape: tuple[int, ...]) -> None:
        self.mask = self.add_weight(
            name="mask",
            shape=shape,
            initializer="ones",
            dtype="uint8",
            trainable=False,
        )

    def adapt(self, w: Any) -> None:
        if self.keep_zeros:
            self.mask.assign(keras.ops.cast(keras.ops.not_equal(w, 0), "uint8"))

    def set_mask(self, mask: Any) -> None:
        """Replaces the mask.

        With `gradient_only` the weight becomes zero where the mask is 0.

        Args:
            mask: Array of 0 and 1, or booleans, in the weight's shape.

        Raises:
            ValueError: If the shape is another one.
        """
        if isinstance(mask, np.ndarray) and mask.dtype == bool:
            mask = keras.ops.convert_to_tensor(mask.view(np.uint8))
        else:
            mask = keras.ops.cast(keras.ops.not_equal(mask, 0), "uint8")
        if tuple(mask.shape) != tuple(self.mask.shape):
            raise ValueError(
                f"Expected a mask of shape {tuple(self.mask.shape)}, the shape "
                f"of the weight. Received: shape {tuple(mask.shape)}. Compute "
                "the mask from this weight."
            )
        self.mask.assign(mask)
        if self.gradient_only and self.raw is not None:
            self.clear(self.raw)

    def call(self, w: Any, training: bool | None = None) -> Any:
        if training and self.gradient_only:
            return _with_masked_gradient(w, self._mask())
        masked = (
            fused(_where)(w, self._mask()) if training else self.finalize(w)
        )
        if self.straight_through:
            return w + keras.ops.stop_gradient(masked - w)
        return masked

    def finalize(self, w: Any) -> Any:
        return _where(w, self._mask())

    def clear(self, variable: keras.Variable, to: float = 0.0) -> None:
        """Fills a variable of the weight's shape where the mask is 0."""
        update(variable, _cleared, self._mask(), to)

    def _mask(self) -> Any:
        return _surgery.read(self.mask)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "straight_through": self.straight_through,
            "keep_zeros": self.keep_zeros,
            "gradient_only": self.gradient_only,
        }


def _where(w: Any, mask: Any) -> Any:
    return keras.ops.where(
        keras.ops.cast(mask, "bool"), w, keras.ops.zeros_like(w)
    )


@keras.ops.custom_gradient
def _with_masked_gradient(w: Any, mask: Any) -> tuple[Any, Any]:
    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, None]:
        if upstream is None:
            (upstream,) = args
        return fused(_where)(upstream, mask), None

    return w, gradient


def _cleared(w: Any, mask: Any, to: float) -> Any:
    """As `_where`, in half the time where the result replaces `w` itself.

    XLA makes a branch for each entry of a choice between a value and what is
    there already, and none where the value is computed.
    """
    factor = keras.ops.cast(mask, keras.backend.standardize_dtype(w.dtype))
    return keras.ops.where(
        keras.ops.equal(factor, 0), keras.ops.full_like(w, to), w * factor
    )
