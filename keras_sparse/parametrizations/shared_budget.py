"""What several learned thresholds pay for together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from keras_sparse import _surgery


class Member(Protocol):
    """A threshold that pays for the density of its weight."""

    stays_dense: bool
    trainable: bool
    raw: Any

    def density(self, w: Any) -> Any:
        """Share of the weight `w` that is not zero, by its law."""


@dataclasses.dataclass(eq=False)
class SharedBudget:
    """Weights with one budget, and what each costs where it is dense."""

    members: Sequence[Member]
    costs: Sequence[float]

    def payer(self) -> Member | None:
        """The one whose penalty is that of all, if any learns."""
        learn = (
            each
            for each in self.members
            if each.trainable and not each.stays_dense
        )
        return next(learn, None)

    def density(self, asking: Member, w: Any) -> Any:
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
