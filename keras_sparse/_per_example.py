"""Penalties in units of one training example."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import keras

from keras_sparse import _surgery

if TYPE_CHECKING:
    from keras.layers import Layer as _Layer
else:
    _Layer = object


class PerExample(_Layer):
    """Mixin of layers with a penalty in units of one example: beta / N.

    `callbacks.Anneal` sets both: N, the number of training examples, where
    `fit` tells it, and beta, which ramps up.

    Args:
        train_size: N, a positive integer: how many terms the loss is a mean
            of in an epoch, so examples, or examples times positions. Default:
            left to the callback; until it is known the penalty is zero.
        **kwargs: Arguments of the layer.
    """

    def __init__(self, *, train_size: int | None = None, **kwargs: Any) -> None:
        if train_size is not None and train_size < 1:
            raise ValueError(
                "Expected `train_size`, the number of training examples, to "
                f"be positive. Received: {train_size}."
            )
        super().__init__(**kwargs)
        self.train_size = train_size
        # Whether N is known, or somebody is there to find it.
        self.told = train_size is not None
        self.trained = False

    def add_penalty_scale(self) -> None:
        """Creates beta and 1 / N; call it in `build`."""
        per_example = 1.0 / self.train_size if self.train_size else 0.0
        for name, value in (("beta", 1.0), ("per_example", per_example)):
            variable = self.add_weight(
                name=name,
                shape=(),
                initializer=keras.initializers.Constant(value),
                dtype="float32",
                trainable=False,
                autocast=False,
            )
            setattr(self, name, variable)

    def nats(self) -> Any:
        """What is paid for the whole data set at beta = 1."""
        raise NotImplementedError(
            f"Expected {type(self).__name__} to say what it pays. Received a "
            "class without the method `nats()`. Add it."
        )

    def scaled(self, penalty: Any) -> Any:
        """The penalty, in nats over the data set, as a part of the loss."""
        if self.trained and not self.told:
            self.told = True  # once is enough
            warnings.warn(
                "Expected to know the number of training examples. "
                f"{self.path} was not told, so its penalty counts nothing. "
                "Pass `keras_sparse.callbacks.Anneal()` to `fit`, or "
                "`train_size` to the layer.",
                stacklevel=2,
            )
        beta = keras.ops.convert_to_tensor(self.beta)
        return penalty * beta * keras.ops.convert_to_tensor(self.per_example)

    def note_training(self) -> None:
        """To be called where noise is drawn for training.

        A loss asked for after that warns where nobody knows N.
        """
        if not _surgery.is_symbolic():
            self.trained = True

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(store)
        known = float(keras.ops.convert_to_numpy(self.per_example)) > 0
        self.told = self.told or known

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "train_size": self.train_size}


def penalized(model: keras.layers.Layer) -> list[Any]:
    """The layers and parametrizations that pay per example."""
    layers = _surgery.all_layers(model)
    return [layer for layer in layers if isinstance(layer, PerExample)]
