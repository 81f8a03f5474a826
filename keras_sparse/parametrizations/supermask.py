"""Random masks over weights that stay as they are, with learned odds."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sparse._arithmetic.noise import NoiseSeed, is_noisy
from keras_sparse._arithmetic.straight_through import straight_through
from keras_sparse.parametrizations.parametrization import Parametrization


@keras.saving.register_keras_serializable(package="keras_sparse")
class Supermask(Parametrization):
    """Draws for each weight whether it is used; only the odds are trained.

    While training, every batch keeps a weight with probability sigmoid(s) of
    its score s, and the gradient passes straight through the draw to that
    probability. In evaluation one draw of random numbers, made when it is
    attached, stands for all; `keras_sparse.predict_samples` averages over
    many, as the paper does. The weights are frozen until `strip`. How many
    stay is what training finds; `keras_sparse.EdgePopup` is told.

    Args:
        initial: Score of every weight at the start. Defaults to 0, a
            probability of one half.
        rescale: Whether to multiply the weights with their number over the
            number that stays, in each layer (dynamic weight rescaling).
            `strip` leaves them multiplied.
        seed: Integer for the draws in training. Default: follows
            `keras.utils.set_random_seed`, as the one draw always does.

    Raises:
        ValueError: If `initial` is no number.

    Reference:
        Zhou, Lan, Liu and Yosinski, "Deconstructing lottery tickets: zeros,
        signs, and the supermask", NeurIPS 2019, section 5.

    Example:

    >>> import keras, keras_sparse as ks
    >>> mask = ks.Supermask(rescale=True)
    >>> mask.build((3,))
    >>> _ = mask.scores.assign([-50.0, 50.0, 50.0])
    >>> keras.ops.convert_to_numpy(mask(keras.ops.ones((3,)))).tolist()
    [0.0, 1.5, 1.5]
    """

    freezes_weight = True

    def __init__(
        self,
        initial: float = 0.0,
        *,
        rescale: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(initial, (int, float, np.number)):
            raise ValueError(
                "Expected `initial`, the score of every weight, to be a "
                f"number. Received: {initial!r}. Pass 0 for even odds."
            )
        self.initial, self.rescale, self.seed = float(initial), rescale, seed

    def build(self, shape: tuple[int, ...]) -> None:
        self.scores = self.add_weight(
            name="scores",
            shape=shape,
            initializer=keras.initializers.Constant(self.initial),
            dtype="float32",
        )
        self.draw = self.add_weight(
            name="draw",
            shape=shape,
            initializer=keras.initializers.RandomUniform(0.0, 1.0),
            dtype="float32",
            trainable=False,
        )
        self.noise_seed = NoiseSeed(self.seed, path=self.scores.path)

    def call(self, w: Any, training: bool | None = None) -> Any:
        scores = ops.convert_to_tensor(self.scores)
        draw = ops.convert_to_tensor(self.draw)
        if is_noisy(training) and self.trainable:
            draw = keras.random.uniform(
                scores.shape, dtype="float32", seed=self.noise_seed
            )
        kept = draw < ops.stop_gradient(ops.sigmoid(scores))
        if self.rescale:
            number = ops.sum(ops.cast(kept, w.dtype))
            w = w * (math.prod(scores.shape) / ops.maximum(number, 1.0))
        value = ops.where(kept, w, ops.zeros_like(w))
        scores = ops.cast(scores, w.dtype)
        probability = ops.sigmoid(scores)
        slope = w * probability * (1.0 - probability)
        return straight_through(value, (scores, slope))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "initial": self.initial,
            "rescale": self.rescale,
            "seed": self.seed,
        }
