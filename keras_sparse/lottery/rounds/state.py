"""All that a search has found so far, in memory and on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from keras_sparse.lottery.archive import read_archive, write_archive
from keras_sparse.lottery.masks.masked_model import Masked
from keras_sparse.lottery.masks.next_masks import Masks
from keras_sparse.lottery.rounds.round import Round, describe_round
from keras_sparse.lottery.trainings.training import Training

# A training for each round, and its controls.
Trainings = list[tuple[Training, dict[str, Training]]]


@dataclasses.dataclass
class State:
    """All that a search has found so far.

    Args:
        plan: What tells this search from another.
        first: Weights before the first training.
        start: Weights that every round goes back to.
        removed: For each masked weight, by position, the round that took each
            entry away, 0 where it is left.
        trained: Weights after the last training.
        rounds: The rounds that are finished.
    """

    plan: Any
    first: list[NDArray]
    start: list[NDArray]
    removed: dict[int, NDArray]
    trained: list[NDArray]
    rounds: list[Round]

    def masks(self, number: int) -> Masks:
        """The masks of a round."""
        return {
            index: (removed == 0) | (removed > number)
            for index, removed in self.removed.items()
        }

    def note(self, number: int, masks: Mapping[int, NDArray]) -> None:
        """Writes down what a round took away."""
        for index, mask in masks.items():
            gone = ~mask & (self.removed[index] == 0)
            self.removed[index][gone] = number


def save_state(path: Path, state: State) -> None:
    """Writes a state to a file, whole or not at all."""
    write_archive(
        path,
        "search",
        {
            "plan": state.plan,
            "rounds": [
                [
                    dataclasses.asdict(each.training),
                    {
                        k: dataclasses.asdict(v)
                        for k, v in each.controls.items()
                    },
                ]
                for each in state.rounds
            ],
            "masked": list(state.removed),
        },
        {
            "first": [] if state.first is state.start else state.first,
            "start": state.start,
            "removed": list(state.removed.values()),
            "trained": state.trained,
        },
    )


def restore_state(
    path: Path | None, plan: Any, masked: Mapping[int, Masked]
) -> State | None:
    """What `save_state` wrote, if it is of the same plan."""
    if path is None or not path.exists():
        return None
    state, trainings = read_archive(path, "search", _read)
    before = state.plan
    different = {
        key: (before.get(key), plan.get(key))
        for key in {**before, **plan}
        if before.get(key) != plan.get(key)
    }
    if different:
        told = "; ".join(
            f"{key} {now!r}, not {before!r}"
            for key, (before, now) in sorted(different.items())
        )
        raise ValueError(
            f"Expected {str(path)!r} to be of this search. Received that of "
            f"another one: here {told}. Delete it, or name another path."
        )
    for number, (training, controls) in enumerate(trainings):
        state.rounds.append(
            describe_round(
                number, masked, state.masks(number), training, controls
            )
        )
    return state


def _read(
    stored: Any, groups: Mapping[str, list[NDArray]]
) -> tuple[State, Trainings]:
    state = State(
        plan=dict(stored["plan"]),
        first=groups["first"] or groups["start"],
        start=groups["start"],
        removed=dict(zip(stored["masked"], groups["removed"], strict=True)),
        trained=groups["trained"],
        rounds=[],
    )
    trainings = [
        (
            Training(**training),
            {name: Training(**each) for name, each in controls.items()},
        )
        for training, controls in stored["rounds"]
    ]
    return state, trainings
