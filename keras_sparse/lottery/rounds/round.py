"""One training of a search and what it was done with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from numpy.typing import NDArray

from keras_sparse.lottery.masks.dead_units import DeadUnits, count_dead_units
from keras_sparse.lottery.masks.masked_model import Masked
from keras_sparse.lottery.trainings.logs import told
from keras_sparse.lottery.trainings.training import Training


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
            said = ", ".join(f"{k} {told(v)}" for k, v in logs.items())
            if each.best_step is not None:
                said += f", lowest validation loss at step {each.best_step}"
            parts.append(f"{name + ': ' if name else ''}{said}")
        dead = sum(each.outputs for each in self.dead.values())
        if dead:
            parts.append(f"units without input: {dead}")
        return "; ".join(parts)


def describe_round(
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
