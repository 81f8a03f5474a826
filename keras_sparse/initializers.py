"""Initial weights that are one number with random signs."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


class _SignedConstant(keras.initializers.Initializer):
    """`+-deviation(fan in, fan out)`, each sign as likely."""

    def __init__(self, seed: Any = None) -> None:
        self._draw = keras.initializers.RandomUniform(-1.0, 1.0, seed=seed)

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        draw = self._draw(shape, dtype)
        deviation = self.deviation(*_fans(shape))
        return ops.cast(ops.where(draw < 0, -deviation, deviation), draw.dtype)

    def deviation(self, fan_in: int, fan_out: int) -> float:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {"seed": self._draw.get_config()["seed"]}


@keras.saving.register_keras_serializable(package="keras_sparse")
class SignedKaimingConstant(_SignedConstant):
    """`+-sqrt(2 / fan_in)`, or `+-sqrt(2 / (keep * fan_in))`, at random.

    Fan-in is counted as Keras does: the product of all axes but the last.
    That is another number than of the inputs of a unit in transposed and
    depthwise convolutions and in attention.

    Args:
        keep: Share of the weights that will be used, in (0, 1]. Less than 1
            is the scaled form, in which the signal keeps its size when the
            rest is zero.
        seed: Integer or `keras.random.SeedGenerator`. Default: follows
            `keras.utils.set_random_seed`.

    Raises:
        ValueError: If `keep` is out of range.

    Reference:
        Ramanujan et al., "What's hidden in a randomly weighted neural
        network?", CVPR 2020, section 4 (signed Kaiming constant, scaled).

    Example:

    >>> import numpy as np
    >>> initializer = SignedKaimingConstant(keep=0.5)
    >>> np.unique(np.abs(initializer((16, 10)))).tolist()
    [0.5]
    """

    def __init__(self, keep: float = 1.0, seed: Any = None) -> None:
        if not 0 < keep <= 1:
            raise ValueError(
                "Expected `keep`, the share of the weights that will be used, "
                f"in (0, 1]. Received: keep={keep!r}. Leave it out for the "
                "form that is not scaled."
            )
        super().__init__(seed)
        self.keep = keep

    def deviation(self, fan_in: int, fan_out: int) -> float:
        return math.sqrt(2 / (self.keep * fan_in))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "keep": self.keep}


@keras.saving.register_keras_serializable(package="keras_sparse")
class SignedGlorotConstant(_SignedConstant):
    """`+-sqrt(2 / (fan_in + fan_out))` at random.

    Args:
        seed: Integer or `keras.random.SeedGenerator`. Default: follows
            `keras.utils.set_random_seed`.

    Reference:
        Zhou, Lan, Liu and Yosinski, "Deconstructing lottery tickets: zeros,
        signs, and the supermask", NeurIPS 2019, section 5 (signed constant).

    Example:

    >>> import numpy as np
    >>> np.unique(np.abs(SignedGlorotConstant()((6, 2)))).tolist()
    [0.5]
    """

    def deviation(self, fan_in: int, fan_out: int) -> float:
        return math.sqrt(2 / (fan_in + fan_out))


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    window = math.prod(shape[:-2])
    fan_in = window * shape[-2] if len(shape) > 1 else shape[0]
    return fan_in, window * shape[-1]
