"""Rounds of pruning and training, kept on disk after each."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse.lottery.archive import (
    check_archive_path,
    read_archive,
    write_archive,
)
from keras_sparse.lottery.dead_units import DeadUnits, count_dead_units
from keras_sparse.lottery.masked_model import Masked, MaskedModel
from keras_sparse.lottery.next_masks import Masks, NextMasks, masks_of_ones
from keras_sparse.lottery.training import Trainer, Training

MOST_ROUNDS = 255


@dataclasses.dataclass(frozen=True)
class Round:
    """One training of a search and the masks it was done with.

    Args:
        number: How often weights had been taken away before; 0 is dense.
        density: Fraction left of all weights that are pruned.
        densities: Fraction left of each, by path.
        dead: Units without a connection, by path of the weight.
        training: What the training came to.
        controls: What the trainings it is compared with came to, by name.
    """

    number: int
    density: float
    densities: dict[str, float]
    dead: dict[str, DeadUnits]
    training: Training
    controls: dict[str, Training]

    def __str__(self) -> str:
        parts = [f"{self.density:6.1%} of the weights"]
        for name, each in {"": self.training, **self.controls}.items():
            logs = each.test or {
                k.removeprefix("val_"): v
                for k, v in each.logs.items()
                if k.startswith("val_")
            }
            logs = logs or each.logs
            said = ", ".join(f"{k} {v:.4f}" for k, v in logs.items())
            if each.best_step is not None:
                said += f", lowest validation loss at step {each.best_step}"
            parts.append(f"{name + ': ' if name else ''}{said}")
        dead = sum(each.outputs for each in self.dead.values())
        if dead:
            parts.append(f"units without input: {dead}")
        return "; ".join(parts)


@dataclasses.dataclass
class State:
    """All that a search has found so far.

    Args:
        plan: What tells this search from another.
        start: Weights that every round goes back to.
        removed: For each masked weight, by position, the round that took each
            entry away, 0 where it is left.
        trained: Weights after the last training.
        rounds: The rounds that are finished.
    """

    plan: Any
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


Controls = Callable[[State, int, int], dict[str, Training]]


def run_rounds(
    masked: MaskedModel,
    trainer: Trainer,
    next_masks: NextMasks,
    *,
    rounds: int,
    rewind: bool,
    rewind_step: int = 0,
    factor: float = 1.0,
    overrides: Mapping[str, Any] | None = None,
    controls: Controls | None = None,
    plan: Any = None,
    checkpoint: str | os.PathLike | None = None,
    verbose: bool = True,
) -> State:
    """Trains, prunes, and trains again.

    Args:
        masked: The model, with the weights to begin with.
        trainer: How to train it.
        next_masks: What to take away after a training.
        rounds: How often to take weights away.
        rewind: Whether each round begins with the weights of `rewind_step`,
            or with those that the last one ended with.
        rewind_step: Step of the first training.
        factor: Of the learning rate after the first training.
        overrides: Arguments of `fit` after the first training.
        controls: From state, round and `rewind_step` to other trainings.
        plan: What tells this search from another, for JSON.
        checkpoint: Path of a file that ends in `.npz`.
        verbose: Whether to print a line for each round.

    Returns:
        The state; the model has the weights of the last training.

    Raises:
        ValueError: If the checkpoint is another search's, or has more rounds.
    """
    path = None if checkpoint is None else check_archive_path(checkpoint)
    state = _restore(path, plan, masked.masked)
    if state is not None and len(state.rounds) > rounds + 1:
        raise ValueError(
            f"Expected {str(path)!r} to hold at most {rounds} rounds, as "
            f"asked. Received {len(state.rounds) - 1}. Pass "
            f"rounds={len(state.rounds) - 1}, or name another path."
        )
    if state is None:
        ones = masks_of_ones(masked.masked)
        removed = {i: np.zeros(m.shape, np.uint8) for i, m in ones.items()}
        state = State(plan, masked.read(), removed, [], [])
    for number in range(len(state.rounds), rounds + 1):
        if number:
            taken = next_masks(state.trained, state.masks(number - 1))
            state.note(number, taken)
        masks = state.masks(number)
        begin = state.start if rewind or not number else state.trained
        masked.write(begin, masks)
        training, snapshot = trainer.train(
            masked,
            number,
            start=rewind_step if number else 0,
            first=state.rounds[0].training if number else None,
            factor=factor if number else 1.0,
            snapshot=None if number else rewind_step,
            overrides=overrides if number else None,
        )
        state.trained = masked.read()
        if snapshot is not None:
            state.start = snapshot
        others = controls(state, number, rewind_step) if controls else {}
        state.rounds.append(
            _describe(number, masked.masked, masks, training, others)
        )
        if path is not None:
            _save(path, state)
        if verbose:
            _surgery.say(f"{number}/{rounds} {state.rounds[-1]}")
    masked.write(state.trained, state.masks(len(state.rounds) - 1))
    return state


def check_rounds(rounds: int) -> None:
    """Raises unless a number of rounds can be run."""
    if not isinstance(rounds, int) or not 0 <= rounds <= MOST_ROUNDS:
        raise ValueError(
            f"Expected `rounds` from 0 to {MOST_ROUNDS}. Received: {rounds!r}."
        )


def _describe(
    number: int,
    masked: Mapping[int, Masked],
    masks: Mapping[int, NDArray],
    training: Training,
    controls: dict[str, Training],
) -> Round:
    left = sum(int(mask.sum()) for mask in masks.values())
    return Round(
        number=number,
        density=left / sum(mask.size for mask in masks.values()),
        densities={
            each.path: float(masks[index].mean())
            for index, each in masked.items()
        },
        dead=count_dead_units(masked, masks),
        training=training,
        controls=controls,
    )


def _save(path: Path, state: State) -> None:
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
            "start": state.start,
            "removed": list(state.removed.values()),
            "trained": state.trained,
        },
    )


def _restore(
    path: Path | None, plan: Any, masked: Mapping[int, Masked]
) -> State | None:
    if path is None or not path.exists():
        return None
    stored, groups = read_archive(path, "search")
    different = {
        key: (stored["plan"].get(key), plan.get(key))
        for key in {**stored["plan"], **plan}
        if stored["plan"].get(key) != plan.get(key)
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
    state = State(
        plan=plan,
        start=groups["start"],
        removed=dict(zip(stored["masked"], groups["removed"], strict=True)),
        trained=groups["trained"],
        rounds=[],
    )
    for number, (training, controls) in enumerate(stored["rounds"]):
        others = {name: Training(**each) for name, each in controls.items()}
        state.rounds.append(
            _describe(
                number,
                masked,
                state.masks(number),
                Training(**training),
                others,
            )
        )
    return state
