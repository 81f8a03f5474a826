"""A proximal step behind every step of the optimizer, in the compiled step.

It hangs on one variable as a constraint, which optimizers of every backend
call after their update, and changes all variables of its groups there. So it
holds with several steps for each execution, under loss scaling, and at every
moment at which a callback may save the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_sparse import _surgery

_TINY = 1e-30


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Where the entries of units lie in a variable.

    Args:
        variable: The variable.
        axis: The axis along which they lie.
        units: For each index along it the number of the unit, -1 for none.
    """

    variable: keras.Variable
    axis: int
    units: NDArray


class UnitNorms:
    """Units of entries in several variables, shrunk by their norms.

    Args:
        size: Number of units.
        parts: Where their entries lie.
    """

    def __init__(self, size: int, parts: Sequence[Part]) -> None:
        self.size, self.parts = size, list(parts)
        entries = np.zeros(size + 1)
        for part in parts:
            each = np.prod(part.variable.shape) / part.variable.shape[part.axis]
            np.add.at(entries, self._index(part), each)
        self.entries = entries[:size]

    def norms(self) -> Any:
        """Euclidean norm of each unit, a tensor."""
        total = ops.zeros((self.size + 1,), "float32")
        for part in self.parts:
            value = ops.square(_surgery.read(part.variable))
            others = [a for a in range(len(value.shape)) if a != part.axis]
            squares = ops.sum(value, axis=others) if others else value
            total = total + ops.segment_sum(
                squares, self._index(part), self.size + 1
            )
        return ops.sqrt(total[: self.size])

    def shrink(self, strength: Any) -> None:
        """w <- w max(0, 1 - strength sqrt(p) / ||w||) for units of p entries.

        Args:
            strength: A scalar.
        """
        root = np.sqrt(self.entries).astype("float32")
        threshold = strength * ops.convert_to_tensor(root)
        factors = ops.relu(1 - threshold / ops.maximum(self.norms(), _TINY))
        factors = ops.concatenate([factors, ops.ones((1,), "float32")])
        for part in self.parts:
            along = [1] * len(part.variable.shape)
            along[part.axis] = -1
            scale = ops.reshape(ops.take(factors, self._index(part)), along)
            value = _surgery.read(part.variable) * scale
            part.variable.assign(ops.cast(value, part.variable.dtype))

    def _index(self, part: Part) -> NDArray:
        return np.where(part.units < 0, self.size, part.units).astype("int32")


class ProximalStep(keras.constraints.Constraint):
    """The constraint that shrinks units by strength times learning rate.

    Args:
        units: What to shrink.
        strength: The penalty's factor.
        model: The model whose optimizer tells the learning rate. After
            another `compile` the step does nothing.
        also: The constraint that the variable has already, if any.
        fit: What tells one call of `fit` from another.
    """

    def __init__(
        self,
        units: Sequence[UnitNorms],
        strength: float,
        model: keras.Model,
        also: Callable[[Any], Any] | None,
        fit: Any,
    ) -> None:
        self.units, self.strength = units, strength
        self.model, self.also, self.fit = model, also, fit
        self.optimizer = model.optimizer

    def __call__(self, variable: Any) -> Any:
        if self.model.optimizer is self.optimizer:
            rate = ops.cast(self.optimizer.learning_rate, "float32")
            # With gradient accumulation a step comes with every batch.
            rate = rate / _surgery.accumulation(self.optimizer)
            for each in self.units:
                each.shrink(self.strength * rate)
        value = ops.convert_to_tensor(variable)
        return value if self.also is None else self.also(value)


def hang(
    model: keras.Model, units: Sequence[UnitNorms], strength: float, fit: Any
) -> keras.Variable:
    """Puts the step into the model's training; returns what it hangs on."""
    carrier = units[0].parts[0].variable
    also = carrier.constraint
    while isinstance(also, ProximalStep) and also.fit is not fit:
        also = also.also  # of a `fit` that was interrupted
    carrier.constraint = ProximalStep(units, strength, model, also, fit)
    model.make_train_function(force=True)
    return carrier


def take_off(model: keras.Model, carrier: keras.Variable) -> None:
    """Takes the step out of the model's training again."""
    while isinstance(carrier.constraint, ProximalStep):
        carrier.constraint = carrier.constraint.also
    model.train_function = None
