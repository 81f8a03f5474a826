"""Weights that start soft at a threshold and end as they are."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sparse._arithmetic.shrinkage import shrink
from keras_sparse._arithmetic.straight_through import straight_through
from keras_sparse.parametrizations.parametrization import Parametrization


@keras.saving.register_keras_serializable(package="keras_sparse")
class Feather(Parametrization):
    """Zero up to a threshold T, `sign(w) (|w|^p - T^p)^(1/p)` above it.

    p = 1 is the soft threshold, a large p the hard one. Gradients pass
    straight through: kept weights get all of them, pruned ones the share
    theta, so that they can come back. T starts at zero, which changes
    nothing; `keras_sparse.callbacks.Threshold` keeps it at the quantile that
    a schedule asks for.

    Args:
        p: Number, 1 or more. Defaults to 3.
        theta: Share of the gradient in [0, 1] that pruned weights get.
            Default: 1 up to a final sparsity of 95%, .5 above, which the
            callback sets.

    Raises:
        ValueError: If `p` or `theta` is out of range.

    Reference:
        Glentis Georgoulakis et al., "Feather: an elegant solution to
        effective DNN sparsification", BMVC 2023, equations 4 and 5.

    Example:

    >>> import keras, keras_sparse as ks
    >>> feather = ks.Feather()
    >>> feather.build((4,))
    >>> feather.set_threshold(1.0)
    >>> w = keras.ops.convert_to_tensor([-2.0, 0.5, 1.05, 5.0])
    >>> keras.ops.convert_to_numpy(feather(w)).round(2).tolist()
    [-1.909999966621399, 0.0, 0.5400000214576721, 4.989999771118164]
    """

    def __init__(
        self, p: float = 3.0, *, theta: float | None = None, **kwargs: Any
    ) -> None:
        if not p >= 1:
            raise ValueError(
                f"Expected a power p of 1 or more. Received: p={p!r}. 1 is "
                "the soft threshold, 3 the paper's."
            )
        if theta is not None and not 0 <= theta <= 1:
            raise ValueError(
                "Expected theta, the share of the gradient for pruned "
                f"weights, in [0, 1]. Received: theta={theta!r}."
            )
        super().__init__(**kwargs)
        self.p = p
        self.theta = theta

    def build(self, shape: tuple[int, ...]) -> None:
        share = 1.0 if self.theta is None else self.theta
        for name, value in (("threshold", 0.0), ("share", share)):
            variable = self.add_weight(
                name=name,
                shape=(),
                initializer=keras.initializers.Constant(value),
                dtype="float32",
                trainable=False,
                autocast=False,
            )
            setattr(self, name, variable)

    def set_threshold(self, threshold: float, final: float = 0.0) -> None:
        """Sets T.

        Args:
            threshold: The largest magnitude that becomes zero, 0 or more.
            final: Sparsity that training aims at, in [0, 1), which chooses
                theta where the constructor did not.
        """
        self.threshold.assign(threshold)
        if self.theta is None:
            self.share.assign(1.0 if final <= 0.95 else 0.5)

    def call(self, w: Any, training: bool | None = None) -> Any:
        threshold = ops.cast(self.threshold, w.dtype)
        value, kept = shrink(ops.stop_gradient(w), threshold, self.p, training)
        slope = ops.where(kept, 1.0, ops.cast(self.share, w.dtype))
        return straight_through(value, (w, slope))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "p": self.p, "theta": self.theta}
