"""Rounds of pruning and training, kept on disk after each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_sparse import _surgery
from keras_sparse.lottery.archive import check_archive_path
from keras_sparse.lottery.masks.masked_model import MaskedModel
from keras_sparse.lottery.masks.next_masks import NextMasks, masks_of_ones
from keras_sparse.lottery.rounds.round import describe_round
from keras_sparse.lottery.rounds.state import State, restore_state, save_state
from keras_sparse.lottery.trainings.trainer import Trainer
from keras_sparse.lottery.trainings.training import Training

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
    state = restore_state(path, plan, masked.masked)
    if state is not None and len(state.rounds) > rounds + 1:
        raise ValueError(
            f"Expected {str(path)!r} to hold at most {rounds} rounds, as "
            f"asked. Received {len(state.rounds) - 1}. Pass "
            f"rounds={len(state.rounds) - 1}, or name another path."
        )
    if state is None:
        ones = masks_of_ones(masked.masked)
        removed = {i: np.zeros(m.shape, np.uint8) for i, m in ones.items()}
        first = masked.read()
        state = State(plan, first, first, removed, [], [])
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
            describe_round(number, masked.masked, masks, training, others)
        )
        if path is not None:
            save_state(path, state)
        if verbose:
            _surgery.say(f"{number}/{rounds} {state.rounds[-1]}")
    masked.write(state.trained, state.masks(len(state.rounds) - 1))
    return state
