"""The one noun: a layer from a raw weight to the weight that is used."""

from __future__ import annotations

from typing import Any

import keras


class Parametrization(keras.layers.Layer):
    """A small Keras layer called on a weight: raw in, effective out.

    `keras_sparse.sparsify` gives every chosen weight a parametrization of its
    own. While the layer that holds the weight runs, it sees what `call`
    returns; `keras_sparse.strip` writes what `finalize` returns into the
    weight for good. The base class leaves the weight as it is.

    A subclass overrides `call`, `build` where it needs variables, `adapt`
    where they start from the weight's value, `penalty` where training has to
    pay for something, and `get_config` where its constructor has arguments.
    `finalize(w)` must equal `call(w, training=False)`, otherwise `strip`
    changes predictions.

    The weight always arrives in its own precision and at least in float32,
    also under mixed precision, so that a threshold means the same everywhere.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`. The dtype defaults to
            float32, whatever the global policy is.

    Example:

    >>> import keras, keras_sparse as ks
    >>> class Halve(ks.Parametrization):
    ...     def call(self, w, training=None):
    ...         return w / 2
    >>> layer = keras.layers.Dense(1, kernel_initializer="ones")
    >>> layer.build((None, 4))
    >>> layer = ks.sparsify(layer, Halve())
    >>> float(layer(keras.ops.ones((1, 4)))[0, 0])
    2.0
    """

    # Whether the raw weight is not trained while this is attached to it.
    freezes_weight = False

    # Axes of the weight, counted from the end, as its `Slot` names them.
    inputs: tuple[int, ...] = (-2,)
    outputs: tuple[int, ...] = (-1,)

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(autocast=False, **kwargs)

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        # Of full precision, whichever layer's call reads it.
        return super().add_weight(*args, **{"autocast": False, **kwargs})

    @property
    def raw(self) -> keras.Variable | None:
        """The variable it is attached to, or to be attached to."""
        return self.__dict__.get("_ks_raw")

    def place(
        self,
        raw: keras.Variable,
        *,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        linear: bool,
        slides: bool = False,
    ) -> None:
        """Is told which weight this is for, before `build`.

        Args:
            raw: The weight.
            inputs: The weight's axes that a sum runs over, from the end.
            outputs: Its axes of output channels, from the end.
            linear: Whether the layer's output before bias and activation is
                linear in this weight, so that `variance` may be asked for.
            slides: Whether the weight is used at many positions of an input
                though all its axes are among those (depthwise convolutions).
        """
        self.__dict__["_ks_raw"] = raw  # not tracked as a variable of its own
        self.inputs, self.outputs = inputs, outputs

    def build(self, shape: tuple[int, ...]) -> None:
        """Creates the parametrization's variables.

        Args:
            shape: Shape of the weight.
        """

    def adapt(self, w: Any) -> None:
        """Sets variables from the weight's value, once, when it is attached.

        Args:
            w: The raw weight, a tensor.
        """

    def call(self, w: Any, training: bool | None = None) -> Any:
        """The effective weight.

        Args:
            w: The raw weight, a tensor of any shape.
            training: Whether the model is training; set by the call context.

        Returns:
            A tensor of the same shape.
        """
        return w

    def variance(self, w: Any) -> Any | None:
        """Variance of the weight while training, for local reparametrisation.

        Where it is not `None`, `call` returns the mean, and the layer adds
        noise to its outputs, which it asks `normal(shape)` for.

        Args:
            w: The raw weight.

        Returns:
            A tensor of the weight's shape, or `None` for a weight without
            noise or with noise that `call` adds.
        """
        return None

    def penalty(self, w: Any) -> Any | None:
        """What this weight adds to the training loss, once however often used.

        It hangs on the first trainable variable of the parametrization, so
        one that has none is never asked.

        Args:
            w: The raw weight.

        Returns:
            A float32 scalar, or `None` for nothing.
        """
        return None

    def finalize(self, w: Any) -> Any:
        """The value that `strip` leaves in the weight, same shape."""
        return self.call(w, training=False)

    def copy(self) -> Parametrization:
        """A fresh, unbuilt parametrization with the same configuration."""
        config = self.get_config()
        config.pop("name", None)
        return type(self).from_config(config)

    def compute_output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def quantize(self, mode: Any = None, config: Any = None, **_: Any) -> None:
        raise ValueError(
            "Expected a plain Keras model to quantize. Received one with the "
            f"parametrization {type(self).__name__}, which quantizing would "
            "pass over in silence. Call `keras_sparse.strip(model)` first."
        )
