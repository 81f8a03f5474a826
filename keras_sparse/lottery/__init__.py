"""Lottery tickets: sparse nets that train from their first weights on."""

from keras_sparse.lottery.controls import randomize_masks, reinitialize
from keras_sparse.lottery.find_ticket import find_ticket
from keras_sparse.lottery.masks.dead_units import DeadUnits
from keras_sparse.lottery.plots import (
    plot_accuracy,
    plot_densities,
    plot_early_stop,
)
from keras_sparse.lottery.rounds.round import Round
from keras_sparse.lottery.ticket import Ticket
from keras_sparse.lottery.ticket_search import TicketSearch
from keras_sparse.lottery.train_prune_finetune import (
    FinetunedModel,
    train_prune_finetune,
)
from keras_sparse.lottery.trainings.training import Training

__all__ = [
    "DeadUnits",
    "FinetunedModel",
    "Round",
    "Ticket",
    "TicketSearch",
    "Training",
    "find_ticket",
    "plot_accuracy",
    "plot_densities",
    "plot_early_stop",
    "randomize_masks",
    "reinitialize",
    "train_prune_finetune",
]
