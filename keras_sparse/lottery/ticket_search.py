"""What a search for tickets found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from keras_sparse.lottery.rounds.round import Round
from keras_sparse.lottery.rounds.state import State
from keras_sparse.lottery.ticket import Ticket


@dataclasses.dataclass(frozen=True)
class TicketSearch:
    """What `find_ticket` found.

    Args:
        model: The model as the last round left it: trained, plain, with exact
            zeros.
        rounds: The rounds; the first is the dense training.
    """

    model: keras.Model
    rounds: tuple[Round, ...]
    _state: State = dataclasses.field(repr=False)
    _paths: tuple[str, ...] = dataclasses.field(repr=False)
    _provenance: Mapping[str, Any] = dataclasses.field(repr=False)

    def ticket(self, number: int = -1) -> Ticket:
        """The ticket that a round was trained from.

        Where the weights were not rewound, it is what the last round's
        training ended with.

        Args:
            number: Of the round. Default: the last, sparsest one.

        Raises:
            ValueError: If there is no such round, or it is an earlier one
                where weights were not rewound.
        """
        if not -len(self.rounds) <= number < len(self.rounds):
            raise ValueError(
                f"Expected a round up to {len(self.rounds) - 1}. "
                f"Received: {number}."
            )
        chosen = self.rounds[number]
        kept = self._provenance["rewind"] == "learning_rate"
        if kept and chosen is not self.rounds[-1]:
            raise ValueError(
                "Expected the last round, whose weights alone are kept where "
                f"they are not rewound. Received: {number}."
            )
        training = dataclasses.asdict(chosen.training)
        del training["epoch_ends"], training["seconds"]
        return Ticket(
            self._paths,
            tuple(self._state.trained if kept else self._state.start),
            self._state.masks(chosen.number),
            {
                **self._provenance,
                "round": chosen.number,
                "density": chosen.density,
                "training": training,
            },
        )

    def __str__(self) -> str:
        return "\n".join(f"{each.number}: {each}" for each in self.rounds)
