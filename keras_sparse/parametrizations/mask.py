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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.straight_through = straight_through
        self.keep_zeros = keep_zeros

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

    def call(self, w: Any, training: bool | None = None) -> Any:
        masked = (
            fused(_where)(w, self._mask()) if training else self.finalize(w)
        )
        if self.straight_through:
            return w + keras.ops.stop_gradient(masked - w)
        return masked

    def finalize(self, w: Any) -> Any:
        return _where(w, self._mask())

    def clear(self, *variables: keras.Variable) -> None:
        """Zeros variables of the weight's shape where the mask is 0."""
        mask = self._mask()
        for variable in variables:
            update(variable, _cleared, mask)

    def _mask(self) -> Any:
        return _surgery.read(self.mask)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "straight_through": self.straight_through,
            "keep_zeros": self.keep_zeros,
        }


def _where(w: Any, mask: Any) -> Any:
    return keras.ops.where(
        keras.ops.cast(mask, "bool"), w, keras.ops.zeros_like(w)
    )


def _cleared(w: Any, mask: Any) -> Any:
    """What `_where` gives, in half the time where it replaces `w` itself.

    XLA makes a branch for each entry of a choice between a value and what is
    there already, and none where the value is computed.
    """
    factor = keras.ops.cast(mask, keras.backend.standardize_dtype(w.dtype))
    return keras.ops.where(
        keras.ops.equal(factor, 0), keras.ops.zeros_like(w), w * factor
    )
