"""What several learned thresholds pay for together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_sparse import _surgery

if TYPE_CHECKING:
    from keras_sparse.parametrizations.learned_threshold import (
        LearnedThreshold,
    )


@dataclasses.dataclass(eq=False)
class SharedBudget:
    """Weights with one budget, and what each costs where it is dense."""

    members: Sequence[LearnedThreshold]
    costs: Sequence[float]

    def payer(self) -> LearnedThreshold:
        """The one whose penalty is that of all."""
        return next(each for each in self.members if not each.stays_dense)

    def density(self, asking: LearnedThreshold, w: Any) -> Any:
        """What is left of the cost, by the law; `w` is the asking one's."""
        total = sum(self.costs)
        density: Any = 0.0
        for each, cost in zip(self.members, self.costs, strict=True):
            share: Any = 1.0
            if not each.stays_dense:
                share = each.density(
                    w if each is asking else _surgery.read(each.raw)
                )
            density = density + cost / total * share
        return density
