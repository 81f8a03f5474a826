"""Tickets that ought to do worse: what the found one is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse.lottery.initializers import Initializer, draw_afresh
from keras_sparse.lottery.match import match_weights
from keras_sparse.lottery.rounds.seeds import derive_seed
from keras_sparse.lottery.ticket import Ticket


def reinitialize(
    ticket: Ticket,
    model: keras.Model,
    *,
    initializer: Initializer | None = None,
    seed: int = 0,
) -> Ticket:
    """The same masks with fresh first weights.

    Kernels and embeddings are drawn anew; biases, norms and what is frozen in
    `model` stay.

    Args:
        ticket: The ticket.
        model: A built, plain model it fits, which tells the layers' own
            initializers. It does not change.
        initializer: `"glorot_normal"`, `"glorot_uniform"`,
            `"kaiming_normal"`, `"kaiming_uniform"`,
            `"signed_glorot_constant"`, `"signed_kaiming_constant"`, or a Keras
            initializer, for the masked weights. Default: the layers' own, as
            ever for weights that are not masked. An own one that takes no
            seed, such as a function, is called as it is.
        seed: Non-negative integer. The draw is another than `find_ticket`
            makes from the same seed.

    Raises:
        ValueError: If the model is sparsified or its weights are not of the
            ticket's number and shapes.

    Reference:
        [Frankle and Carbin, 2019](https://arxiv.org/abs/1803.03635),
        section 2: random reinitialisation.
    """
    match_weights(model, ticket.paths, ticket.weights, ticket.masks)
    # Of another seed than the search's own draw from the same number.
    drawn = draw_afresh(
        model, model.weights, ticket.masks, initializer, derive_seed(seed, 1)
    )
    weights = [drawn.get(i, w) for i, w in enumerate(ticket.weights)]
    return dataclasses.replace(ticket, weights=tuple(weights))


def randomize_masks(ticket: Ticket, *, seed: int = 0) -> Ticket:
    """The same first weights under random masks of the same densities.

    Args:
        ticket: The ticket.
        seed: Non-negative integer.

    Example:

    >>> ticket = Ticket(("w",), (np.ones(4),), {0: np.arange(4) < 3}, {})
    >>> int(randomize_masks(ticket, seed=1).masks[0].sum())
    3
    """
    masks = permute_masks(ticket.masks, seed)
    return dataclasses.replace(ticket, masks=masks)


def permute_masks(
    masks: Mapping[int, NDArray], seed: int
) -> dict[int, NDArray]:
    """Each mask with its ones elsewhere."""
    return {
        index: np.random.default_rng([seed, index])
        .permutation(mask.ravel())
        .reshape(mask.shape)
        for index, mask in masks.items()
    }
