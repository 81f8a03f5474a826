"""Network slimming: an L1 penalty on the scales of BatchNormalization."""

from __future__ import annotations

from keras import layers

from keras_sparse.callbacks.group_lasso import GroupLasso
from keras_sparse.callbacks.proximal_step import Part, UnitNorms
from keras_sparse.structured.groups import Group


class NetworkSlimming(GroupLasso):
    """Drives scales of BatchNormalization to zero while a model trains.

    Adds strength * sum |gamma| to the training objective, for the channels
    of `structured.groups` that can be cut. The proximal step is exact: after
    each step of the optimizer gamma shrinks towards zero by
    learning_rate * strength, and stops there. A channel with a scale of zero
    is a constant, which `structured.shrink` puts into the next bias (where
    zero padding does not forbid it); `shrink(model, share,
    importance="batchnorm", scope="global")` cuts the channels with small
    scales, as in the paper. Fine-tune then. Adds `"zero_units"` to the logs
    of each epoch.

    Args:
        strength: The penalty's factor, in units of the loss. Default: 1e-4,
            the paper's for VGG; 1e-5 for ResNet and DenseNet.
        ignored: Layers whose channels are not to shrink, as in
            `structured.groups`.

    Raises:
        ValueError: If `strength` is not positive; at the begin of training if
            the model has no graph, or no scale of a channel that can be cut.

    Reference:
        Liu et al., "Learning efficient convolutional networks through network
        slimming", ICCV 2017, equation 1.

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((8,)),
    ...         keras.layers.Dense(16),
    ...         keras.layers.BatchNormalization(),
    ...         keras.layers.ReLU(),
    ...         keras.layers.Dense(2),
    ...     ]
    ... )
    >>> model.compile(keras.optimizers.SGD(0.1), "mse")
    >>> x = np.ones((64, 8))
    >>> history = model.fit(x, 0 * x[:, :2], verbose=0, epochs=3,
    ...                     callbacks=[ks.callbacks.NetworkSlimming(2.0)])
    >>> history.history["zero_units"]
    [0, 0, 16]
    """

    def units_of(self, group: Group) -> list[UnitNorms]:
        return [
            UnitNorms(
                group.size, [Part(member.variable, member.axis, member.units)]
            )
            for member in group.members
            if member.role == "scale"
            and member.variable.trainable
            and isinstance(member.layer, layers.BatchNormalization)
        ]
