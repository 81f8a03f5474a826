"""The trainings that a search compares its tickets with."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import NDArray

from keras_sparse.lottery.controls import permute_masks
from keras_sparse.lottery.initializers import Initializer, draw_afresh
from keras_sparse.lottery.masks.masked_model import MaskedModel
from keras_sparse.lottery.rounds.run_rounds import Controls
from keras_sparse.lottery.rounds.seeds import derive_seed
from keras_sparse.lottery.rounds.state import State
from keras_sparse.lottery.trainings.trainer import Trainer
from keras_sparse.lottery.trainings.training import Training

CONTROLS = ("reinitialized", "random_mask")


def train_controls(
    masked: MaskedModel,
    trainer: Trainer,
    names: Sequence[str],
    chosen: Sequence[int] | None,
    initializer: Initializer | None,
) -> Controls | None:
    """What trains the same masks from fresh weights, and random masks.

    Args:
        masked: The model.
        trainer: How to train it.
        names: Of `CONTROLS`.
        chosen: Rounds to do it in. `None`: all but the first.
        initializer: See `reinitialize`.

    Returns:
        A callable for `run_rounds`, or `None` where there are no names.
    """
    if not names:
        return None

    def draw(seed: int) -> dict[int, NDArray]:
        return draw_afresh(
            masked.model, masked.variables, masked.masked, initializer, seed
        )

    if "reinitialized" in names:
        draw(trainer.seed)  # raises now, not after a training

    def run(state: State, number: int, rewind_step: int) -> dict[str, Training]:
        if number == 0 or (chosen is not None and number not in chosen):
            return {}
        masks = state.masks(number)
        results = {}
        for name in names:
            arm = 1 + CONTROLS.index(name)
            seed = derive_seed(trainer.seed, number, arm)
            if name == "reinitialized":
                drawn = draw(seed)
                weights = [drawn.get(i, w) for i, w in enumerate(state.first)]
                masked.write(weights, masks)
                results[name], _ = trainer.train(masked, number, arm)
            else:
                masked.write(state.start, permute_masks(masks, seed))
                results[name], _ = trainer.train(
                    masked,
                    number,
                    arm,
                    start=rewind_step,
                    first=state.rounds[0].training,
                )
        return results

    return run
