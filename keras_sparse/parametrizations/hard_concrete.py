"""L0 regularisation: gates that are exactly zero with some probability."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_sparse import _surgery
from keras_sparse._arithmetic.axes import Axis, checked_axis, group_axes
from keras_sparse._arithmetic.between import Between
from keras_sparse._arithmetic.noise import NoiseSeed, is_noisy
from keras_sparse._per_example import PerExample
from keras_sparse.parametrizations.parametrization import Parametrization

TEMPERATURE = 2 / 3
# The sigmoid is stretched to this interval and then cut to [0, 1].
LOW, HIGH = -0.1, 1.1
# log alpha at which a gate is nonzero with probability one half.
_SHIFT = TEMPERATURE * math.log(-LOW / HIGH)
# Limits of log alpha, beyond which gradients vanish.
_LIMIT = math.log(100.0)


@keras.saving.register_keras_serializable(package="keras_sparse")
class HardConcrete(PerExample, Parametrization):
    """Multiplies weights with gates in [0, 1] that learn to be zero.

    While training, every batch draws each gate from a hard-concrete
    distribution, and the penalty is the expected number of weights behind
    open gates. In evaluation a gate has a fixed value, exactly zero where
    log alpha is at most -2.398 and exactly one where it is at least 2.398.

    With the default `drop_rate` all gates start at one, so that predictions
    do not change and a pretrained network may go on. From scratch the paper
    starts at .5 (LeNet-5), .3 (wide ResNet) or .2 (input pixels). Deep
    networks on large data sets are known to resist this method: with a
    ResNet-50 on ImageNet it failed.

    Args:
        axis: What shares a gate: `"outputs"` (one for each output channel),
            `"inputs"` (one for each input channel), an axis of the weight or
            a tuple of axes. Default: one gate for each weight. A closed
            output channel still passes on its bias.
        weight: Price of one nonzero weight, in units of one over the number
            of training examples. The paper's lambda, for a mean loss, times
            that number.
        weight_decay: Price of half a squared weight behind an open gate, in
            the same units.
        drop_rate: Initial probability, in (0, 1), of a gate's sigmoid being
            zero: log alpha starts near log((1 - p) / p).
        rate: How many times faster than the weights the gates learn under Adam
            and its kind; the variable holds log alpha over this.
        train_size: Number of training examples. Default: left to
            `callbacks.Anneal`; until it is known the penalty is zero.
        seed: Integer for the noise. Default: follows
            `keras.utils.set_random_seed`.
        **kwargs: Arguments of `keras_sparse.Parametrization`.

    Raises:
        ValueError: If an argument is out of its range, or the weight has no
            such axis.

    Reference:
        Louizos, Welling and Kingma, "Learning sparse neural networks through
        L0 regularization", 2018, equations 10 to 13.

    Example:

    >>> import keras, keras_sparse as ks
    >>> gate = ks.HardConcrete(axis="outputs", train_size=60000)
    >>> gate.build((5, 3))
    >>> _ = gate.log_alpha.assign([[-2.4, 0.0, 2.4]])
    >>> print(gate(keras.ops.ones((5, 3)))[0].numpy().tolist())
    [0.0, 0.5, 1.0]
    """

    def __init__(
        self,
        axis: Axis | None = None,
        *,
        weight: float = 1.0,
        weight_decay: float = 0.0,
        drop_rate: float = 0.05,
        rate: float = 1.0,
        train_size: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(train_size=train_size, **kwargs)
        self.axis = None if axis is None else checked_axis(axis)
        in_range = min(weight, weight_decay) >= 0 and rate > 0
        if not (in_range and 0 < drop_rate < 1):
            raise ValueError(
                "Expected `weight` and `weight_decay` not to be negative, "
                "`drop_rate` between 0 and 1, and `rate` positive. Received: "
                f"weight={weight}, weight_decay={weight_decay}, "
                f"drop_rate={drop_rate}, rate={rate}."
            )
        self.weight = weight
        self.weight_decay = weight_decay
        self.drop_rate = drop_rate
        self.rate = rate
        self.seed = seed

    def build(self, shape: tuple[int, ...]) -> None:
        rank = len(shape)
        kept = tuple(range(rank))
        if self.axis is not None:
            kept = group_axes(self.axis, rank, self.inputs, self.outputs)
        gates = tuple(n if i in kept else 1 for i, n in enumerate(shape))
        self.group_size = math.prod(shape) // math.prod(gates)
        self.reduced = tuple(i for i in range(rank) if i not in kept)
        start = math.log(1 - self.drop_rate) - math.log(self.drop_rate)
        self.log_alpha = self.add_weight(
            name="log_alpha",
            shape=gates,
            initializer=keras.initializers.RandomNormal(
                start / self.rate, 0.01 / self.rate
            ),
            constraint=Between(-_LIMIT / self.rate, _LIMIT / self.rate),
            dtype="float32",
            autocast=False,
        )
        self.noise_seed = NoiseSeed(self.seed, path=self.log_alpha.path)
        self.add_penalty_scale()

    def call(self, w: Any, training: bool | None = None) -> Any:
        drawn = is_noisy(training, self.trainable)
        if drawn and training:
            self.note_training()
        gate = self._sample() if drawn else self.gate()
        return w * keras.ops.cast(gate, w.dtype)

    def gate(self) -> Any:
        """The gates in evaluation, a tensor that the weight broadcasts with."""
        return _stretched(keras.ops.sigmoid(self.rate * self.log_alpha))

    def open_probability(self) -> Any:
        """The probability of each gate not being zero while training."""
        return keras.ops.sigmoid(self.rate * self.log_alpha - _SHIFT)

    def penalty(self, w: Any) -> Any:
        return self.scaled(self._price(w))

    def nats(self) -> Any:
        return self._price(_surgery.read(self.raw))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "weight": self.weight,
            "weight_decay": self.weight_decay,
            "drop_rate": self.drop_rate,
            "rate": self.rate,
            "seed": self.seed,
        }

    def _price(self, w: Any) -> Any:
        price: Any = self.weight * self.group_size
        if self.weight_decay:
            squares = keras.ops.square(keras.ops.cast(w, "float32"))
            squares = keras.ops.sum(squares, axis=self.reduced, keepdims=True)
            price = price + 0.5 * self.weight_decay * squares
        return keras.ops.sum(self.open_probability() * price)

    def _sample(self) -> Any:
        u = keras.random.uniform(
            self.log_alpha.shape,
            minval=1e-6,
            maxval=1 - 1e-6,
            dtype="float32",
            seed=self.noise_seed,
        )
        logits = keras.ops.log(u) - keras.ops.log1p(-u)
        logits = logits + self.rate * self.log_alpha
        return _stretched(keras.ops.sigmoid(logits / TEMPERATURE))


def _stretched(s: Any) -> Any:
    return keras.ops.clip(s * (HIGH - LOW) + LOW, 0.0, 1.0)
