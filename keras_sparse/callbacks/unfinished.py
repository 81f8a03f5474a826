"""What a training is told that stopped before its schedule did."""

from __future__ import annotations

from keras_sparse.schedules import Schedule, UserSchedule

_NEAR = 0.01


def unfinished(
    schedule: Schedule, step: int, sparsity: float, every: int
) -> str | None:
    """A warning, where a schedule was not followed to where it was going.

    Args:
        schedule: The schedule.
        step: The step after the last one.
        sparsity: What the last update was asked for.
        every: Steps between updates.
    """
    if schedule.end is not None and step < schedule.end:
        return (
            f"Training stopped at step {step}, before the schedule's end "
            f"at {schedule.end}: the final sparsity is not reached. "
            "Train on, or choose an earlier end."
        )
    last = step - 1
    if (
        schedule.end is not None
        or last < schedule.begin
        or not isinstance(schedule, UserSchedule)
    ):
        return None
    asked = schedule(last)
    if abs(asked - sparsity) <= _NEAR:
        return None
    return (
        f"Training stopped at step {step}. The schedule asks for {asked:.1%} "
        f"at step {last}, but the last update, up to {every} steps before, was "
        f"for {sparsity:.1%}. Choose a smaller `every`, or give the schedule "
        "an attribute `end`, the step of its last update."
    )
