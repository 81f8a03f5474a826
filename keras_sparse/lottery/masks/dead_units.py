"""Units that pruning has cut off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_sparse.lottery.masks.masked_model import Masked


class DeadUnits(NamedTuple):
    """How many channels of a weight have no connection left.

    Args:
        outputs: Outputs that no input reaches: they say what their bias says.
        inputs: Inputs that reach no output: what makes them is of no use.
    """

    outputs: int
    inputs: int


def count_dead_units(
    masked: Mapping[int, Masked], masks: Mapping[int, NDArray]
) -> dict[str, DeadUnits]:
    """Counts them for each weight, by path.

    Reference:
        [Han et al., 2015](https://arxiv.org/abs/1506.02626), section 3.5.
    """
    found = {}
    for index, each in masked.items():
        mask = masks[index]
        counts = []
        # What slides sums over its window alone; its inputs are channels.
        inputs = (-2,) if each.slot.slides else each.slot.inputs
        for axes in (each.slot.outputs, inputs):
            kept = {axis % mask.ndim for axis in axes if -axis <= mask.ndim}
            others = tuple(a for a in range(mask.ndim) if a not in kept)
            counts.append(int(np.count_nonzero(~mask.any(axis=others))))
        found[each.path] = DeadUnits(*counts)
    return found
