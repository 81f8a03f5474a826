"""Schedules: the sparsity to have at a step, as `step -> float`.

A schedule also says when it acts: `begin`, the first step with a mask; `end`,
the step after which it never changes (`None` if unknown); and `final`, the
sparsity it ends at (`None` if unknown). A step is an optimizer iteration.
"""

import dataclasses
import numbers
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from keras_sparse._foreign_schedules import TfmotSchedule, UserSchedule
from keras_sparse.selection import check_sparsity


class _Configured:
    """A schedule that is rebuilt from its settings."""

    def get_config(self) -> dict[str, Any]:
        """The settings, as keyword arguments."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        """The schedule with the settings of `get_config`."""
        return cls(**config)


@dataclass(frozen=True)
class Constant(_Configured):
    """The same sparsity from `begin` on, with masks that follow the weights.

    Args:
        sparsity: Fraction of zeros, in [0, 1).
        begin: First step with a mask. Defaults to 0.
        end: Step after which masks stay as they are. Defaults to `None`,
            never.

    Raises:
        ValueError: If `sparsity` is outside [0, 1) or `end` before `begin`.

    Example:

    >>> schedule = Constant(0.5, begin=10)
    >>> schedule(9), schedule(10)
    (0.0, 0.5)
    """

    sparsity: float
    begin: int = 0
    end: int | None = None

    def __post_init__(self):
        check_sparsity(self.sparsity)
        _check_steps(begin=self.begin, end=self.end)

    final = property(attrgetter("sparsity"))

    def __call__(self, step: int) -> float:
        return self.sparsity if step >= self.begin else 0.0


@dataclass(frozen=True)
class OneShot(_Configured):
    """Dense up to one step, and one mask that stays from there on.

    Args:
        sparsity: Fraction of zeros, in [0, 1).
        step: The step at which the mask is set.

    Raises:
        ValueError: If `sparsity` is outside [0, 1) or `step` is negative.

    Example:

    >>> schedule = OneShot(0.5, step=10)
    >>> schedule(9), schedule(10), schedule.end
    (0.0, 0.5, 10)
    """

    sparsity: float
    step: int

    def __post_init__(self):
        check_sparsity(self.sparsity)
        _check_steps(step=self.step)

    begin = end = property(attrgetter("step"))
    final = property(attrgetter("sparsity"))

    def __call__(self, step: int) -> float:
        return self.sparsity if step >= self.step else 0.0


@dataclass(frozen=True)
class Polynomial(_Configured):
    """A sparsity that grows fast at first and levels off towards the end.

    `final + (initial - final) * (1 - (step - begin) / (end - begin))**power`
    from `begin` to `end`, zero before and `final` after.

    Args:
        final: Fraction of zeros from `end` on, in [0, 1).
        begin: First step with a mask.
        end: Step at which `final` is reached.
        initial: Fraction of zeros at `begin`. Defaults to 0.
        power: Positive number: 1 is a straight line, 3 the cubic of the
            paper. Defaults to 3.

    Raises:
        ValueError: If a sparsity is outside [0, 1), `final` is below
            `initial`, `end` is before `begin`, or `power` is not positive.

    Example:

    >>> schedule = Polynomial(final=0.8, begin=100, end=110)
    >>> [round(schedule(step), 4) for step in (99, 100, 105, 110)]
    [0.0, 0.0, 0.7, 0.8]

    Reference:
        [Zhu and Gupta, 2017](https://arxiv.org/abs/1710.01878), equation 1.
    """

    final: float
    begin: int
    end: int
    initial: float = 0.0
    power: float = 3

    def __post_init__(self):
        check_sparsity(self.final, "final")
        check_sparsity(self.initial, "initial")
        _check_steps(begin=self.begin, end=self.end)
        if self.initial > self.final:
            raise ValueError(
                "Expected an initial sparsity of at most the final one. "
                f"Received: initial={self.initial}, final={self.final}. Swap "
                "them, or pass a function of the step as the schedule."
            )
        if not self.power > 0:
            raise ValueError(
                f"Expected a positive power. Received: power={self.power}. "
                "Use 1 for a straight line and 3 for the usual cubic."
            )

    def __call__(self, step: int) -> float:
        if step < self.begin:
            return 0.0
        if step >= self.end:
            return self.final
        left = (self.end - step) / (self.end - self.begin)
        grown = (self.final - self.initial) * (1 - left**self.power)
        return min(self.initial + grown, self.final)


@dataclass(frozen=True)
class Cyclic(_Configured):
    """Sparse and dense phases in turn, so that pruned weights may return.

    Dense up to `begin`; then `sparse_steps` sparse, `dense_steps` dense, and
    so on; the last `dense_steps` before `end` are always dense; sparse from
    `end` on.

    Args:
        sparsity: Fraction of zeros in sparse phases, in [0, 1).
        begin: First step of the first sparse phase.
        end: First step of the last sparse phase, which lasts.
        sparse_steps: Length of a sparse phase in steps, at least 1.
        dense_steps: Length of a dense phase in steps, at least 1.

    Raises:
        ValueError: If `sparsity` is outside [0, 1), `end` is before `begin`,
            or a phase has no steps.

    Example: the phases of the paper, with an epoch of one step. Dense for 10
    epochs, then 5 sparse and 5 dense in turn; the last dense phase is 75 to
    85, the last sparse phase 85 to 100.

    >>> schedule = Cyclic(0.9, begin=10, end=85, sparse_steps=5, dense_steps=5)
    >>> [schedule(epoch) for epoch in (9, 10, 15, 70, 75, 84, 85)]
    [0.0, 0.9, 0.0, 0.9, 0.0, 0.0, 0.9]

    Reference:
        AC/DC, [Peste et al., 2021](https://arxiv.org/abs/2106.12379),
        algorithm 1.
    """

    sparsity: float
    begin: int
    end: int
    sparse_steps: int
    dense_steps: int

    def __post_init__(self):
        check_sparsity(self.sparsity)
        _check_steps(begin=self.begin, end=self.end)
        _check_steps(sparse_steps=self.sparse_steps)
        _check_steps(dense_steps=self.dense_steps)
        if not (self.sparse_steps and self.dense_steps):
            raise ValueError(
                "Expected phases of at least one step. Received: "
                f"sparse_steps={self.sparse_steps}, "
                f"dense_steps={self.dense_steps}. Use `Constant` for a "
                "schedule without dense phases."
            )

    final = property(attrgetter("sparsity"))

    def __call__(self, step: int) -> float:
        if step >= self.end:
            return self.sparsity
        if step < self.begin or step >= self.end - self.dense_steps:
            return 0.0
        phase = (step - self.begin) % (self.sparse_steps + self.dense_steps)
        return self.sparsity if phase < self.sparse_steps else 0.0


Schedule = (
    Constant | OneShot | Polynomial | Cyclic | UserSchedule | TfmotSchedule
)


def get(schedule: Any) -> Schedule:
    """Turn whatever stands for a schedule into one.

    Args:
        schedule: A schedule of this module, a number in [0, 1) for a
            `Constant`, a callable of the step, or a `PruningSchedule` of
            tensorflow-model-optimization.

    Returns:
        An object with `begin`, `end` and `final` whose call gives the
        sparsity, or `None` to leave masks as they are.

    Raises:
        ValueError: If `schedule` is none of these.

    Example:

    >>> get(0.9)
    Constant(sparsity=0.9, begin=0, end=None)
    """
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, numbers.Real):
        return Constant(check_sparsity(schedule))
    if any(
        cls.__module__.startswith("tensorflow_model_optimization.")
        for cls in type(schedule).__mro__
    ):
        return TfmotSchedule(schedule)
    if callable(schedule) and not isinstance(schedule, type):
        return UserSchedule(schedule)
    raise ValueError(
        "Expected a schedule: an object such as "
        "`schedules.Polynomial(final=0.9, begin=1000, end=8000)`, a number "
        "in [0, 1), or a function of the step that returns one. Received: "
        f"{schedule!r}. A class must be called to make a schedule of it."
    )


def _check_steps(**steps: int | None) -> None:
    """Raise unless the steps are whole, not negative, and in order."""
    received = ", ".join(f"{name}={step!r}" for name, step in steps.items())
    known = [step for step in steps.values() if step is not None]
    if any(not isinstance(s, (int, np.integer)) or s < 0 for s in known):
        raise ValueError(
            "Expected steps as whole numbers, 0 or more, counted in "
            f"optimizer iterations. Received: {received}. Use `int(...)`."
        )
    if known != sorted(known):
        raise ValueError(
            f"Expected an end at or after the begin. Received: {received}. "
            "Steps are counted from the first optimizer iteration on."
        )
