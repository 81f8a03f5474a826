"""Group lasso over units that can be cut."""

from __future__ import annotations

import keras
import numpy as np

from keras_sparse import _surgery
from keras_sparse._traversal import Filter
from keras_sparse.callbacks.proximal_step import Part, UnitNorms, hang, take_off
from keras_sparse.structured.groups import Group, groups

# What makes a unit: its kernel columns, biases, and BatchNorm's two.
_ROLES = ("out", "bias", "scale")


class GroupLasso(keras.callbacks.Callback):
    """Drives whole units to zero while a model trains.

    Adds strength * sum sqrt(p) ||w|| to the training objective, where w are
    the p weights that make a unit of `structured.groups`: the columns of the
    kernels, biases, and scale and offset of a BatchNormalization behind. No
    weight belongs to two units, so the proximal step of the penalty is exact:
    after each step of the optimizer w shrinks by the factor
    max(0, 1 - learning_rate * strength * sqrt(p) / ||w||). Units reach zero
    and `structured.shrink` cuts them, at no change of the predictions. The
    step is a part of the compiled training step, apart from the optimizer's
    momentum or scaling, like the weight decay of AdamW; it is not a part of
    the loss that `fit` reports. Adds `"zero_units"` to the logs of each
    epoch. After a `fit` that was interrupted, compile the model before one
    without the callback.

    Args:
        strength: The penalty's factor, in units of the loss. Default: 1e-4.
        ignored: Layers whose channels are not to shrink, as in
            `structured.groups`.

    Raises:
        ValueError: If `strength` is not positive; at the begin of training if
            the model has no graph, or no unit that can be cut and is trained.

    Reference:
        Yuan and Lin, "Model selection and estimation in regression with
        grouped variables", 2006, equation 2.2; Wen et al., "Learning
        structured sparsity in deep neural networks", NeurIPS 2016, section 3,
        for filters; Fang et al., "DepGraph", CVPR 2023, for the groups.

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((8,)),
    ...         keras.layers.Dense(16, "relu"),
    ...         keras.layers.Dense(2),
    ...     ]
    ... )
    >>> model.compile(keras.optimizers.SGD(0.1), "mse")
    >>> x = np.ones((64, 8))
    >>> _ = model.fit(x, 0 * x[:, :2], verbose=0, epochs=3,
    ...               callbacks=[ks.callbacks.GroupLasso(10.0)])
    >>> ks.structured.shrink(model).layers[0].units
    1
    """

    def __init__(
        self, strength: float = 1e-4, *, ignored: Filter | None = None
    ) -> None:
        super().__init__()
        if not strength > 0:
            raise ValueError(
                "Expected a `strength` above 0. Received: "
                f"{strength!r}. Leave the callback out to train without it."
            )
        self.strength, self.ignored = strength, ignored
        self._units: list[UnitNorms] = []
        self._carrier: keras.Variable | None = None

    def units_of(self, group: Group) -> list[UnitNorms]:
        """What the penalty is a norm of, for one group."""
        parts = [
            Part(member.variable, member.axis, member.units)
            for member in group.members
            if member.role in _ROLES and member.variable.trainable
        ]
        kernels = any(len(part.variable.shape) > 1 for part in parts)
        return [UnitNorms(group.size, parts)] if kernels else []

    def on_train_begin(self, logs: dict | None = None) -> None:
        found = groups(self.model, ignored=self.ignored)
        self._units = [units for g in found for units in self.units_of(g)]
        if not self._units:
            raise ValueError(
                f"Expected a model with units for {type(self).__name__} to "
                f"close. Received one with these groups: {found}"
            )
        self._carrier = hang(
            self.model, self._units, self.strength, self.params
        )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            _surgery.sync_state(self.model)
            norms = [_surgery.to_numpy(each.norms()) for each in self._units]
            logs["zero_units"] = sum(int(np.sum(each == 0)) for each in norms)

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._carrier is not None:
            take_off(self.model, self._carrier)
        self._carrier, self._units = None, []
