"""Optimizers: what they remember of each weight, and how far they are."""

from __future__ import annotations

from typing import Any

import keras


def learning_rate(optimizer: keras.optimizers.Optimizer) -> Any:
    """The optimizer's rate: a variable, or the schedule itself."""
    return optimizer._learning_rate


def _inner(optimizer: Any) -> Any:
    """The one in a loss scaler, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _parts(optimizer: Any) -> list[keras.optimizers.Optimizer]:
    """Those that hold slots: of a `MultiOptimizer`, or the one itself."""
    optimizer = _inner(optimizer)
    return getattr(optimizer, "optimizers", [optimizer])


def exempts_weights(optimizer: Any) -> bool:
    """Whether its weight decay leaves some out, which no config tells."""
    optimizer = _inner(optimizer)
    lists = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")
    exempt = any(getattr(optimizer, name, None) for name in lists)
    return exempt and bool(getattr(optimizer, "weight_decay", None))


def optimizer_slots(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> list[keras.Variable]:
    """The optimizer's variables that belong to `variable`, entry by entry.

    Momentum, second moments, accumulated gradients and moving averages alike:
    whatever the optimizer keeps in a list parallel to its trainable variables.
    """
    slots = [_slots(each, variable) for each in _parts(optimizer)]
    return [each for found in slots for each in found]


def _slots(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> list[keras.Variable]:
    if not optimizer.built:
        return []
    trainable = optimizer._trainable_variables
    positions = [i for i, v in enumerate(trainable) if v is variable]
    if not positions:
        return []
    slots = [
        each[positions[0]]
        for each in vars(optimizer).values()
        if isinstance(each, list) and each is not trainable
        if len(each) == len(trainable)
    ]
    variables = [each for each in slots if isinstance(each, keras.Variable)]
    return [each for each in variables if each.shape == variable.shape]


def start_of_slot(
    optimizer: keras.optimizers.Optimizer, slot: keras.Variable
) -> float:
    """What the optimizer fills one of `optimizer_slots` with at first."""
    for part in _parts(optimizer):
        # Of `Adagrad` and `Ftrl`, which divide by it.
        if any(each is slot for each in getattr(part, "_accumulators", ())):
            return getattr(part, "initial_accumulator_value", 0.0)
    return 0.0


def micro_steps(optimizer: keras.optimizers.Optimizer) -> int:
    """Batches that the optimizer has seen, accumulated ones included."""
    return int(keras.ops.convert_to_numpy(_inner(optimizer)._iterations))


def accumulation(optimizer: keras.optimizers.Optimizer) -> int:
    """Batches whose gradients make one step."""
    return _inner(optimizer).gradient_accumulation_steps or 1
