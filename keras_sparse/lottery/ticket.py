"""A sparse net that trains well from its first weights on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import keras
from numpy.typing import NDArray

from keras_sparse._traversal import Filter
from keras_sparse.lottery.archive import (
    check_archive_path,
    read_archive,
    write_archive,
)
from keras_sparse.lottery.masks.masked_model import (
    find_masked,
    find_weights,
    under_masks,
)
from keras_sparse.lottery.masks.paths import unique
from keras_sparse.lottery.match import match_weights
from keras_sparse.parametrizations.mask import Mask
from keras_sparse.sparsify import sparsify


@dataclasses.dataclass(frozen=True, repr=False)
class Ticket:
    """Masks and first weights of a net, and where they come from.

    `find_ticket` makes tickets. `apply` puts one into a model of the same
    layers, where it is trained with any data and any optimizer.

    Args:
        paths: Of all weights of the model, in its order.
        weights: Their first values, dense: entries under a zero of the mask
            are still there.
        masks: Booleans by position in `weights`, true where an entry stays.
        provenance: What is known of the search: data set, optimizer, seed,
            step, accuracy.

    Reference:
        [Frankle and Carbin, 2019](https://arxiv.org/abs/1803.03635);
        [Morcos et al., 2019](https://arxiv.org/abs/1906.02773) for tickets
        that move to other data and optimizers.
    """

    paths: tuple[str, ...]
    weights: tuple[NDArray, ...]
    masks: Mapping[int, NDArray]
    provenance: Mapping[str, Any]

    @property
    def density(self) -> float:
        """Fraction left of all masked weights."""
        kept = sum(int(mask.sum()) for mask in self.masks.values())
        return kept / sum(mask.size for mask in self.masks.values())

    @property
    def densities(self) -> dict[str, float]:
        """Fraction left of each masked weight, by path.

        A second weight of the same path gets a number.
        """
        paths = unique(self.paths[i] for i in self.masks)
        left = [float(mask.mean()) for mask in self.masks.values()]
        return dict(zip(paths, left, strict=True))

    def __repr__(self) -> str:
        return (
            f"Ticket({self.density:.2%} of "
            f"{sum(mask.size for mask in self.masks.values()):,} weights)"
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes the ticket to one file: arrays and JSON, nothing to execute.

        Args:
            path: Ends in `.npz`. A file that is there is replaced only once
                the new one is complete.

        Raises:
            ValueError: If the path has another ending, or the provenance
                holds more than numbers and text.
            OSError: If it cannot be written to.
        """
        write_archive(
            check_archive_path(path),
            "ticket",
            {
                "paths": list(self.paths),
                "masked": list(self.masks),
                "provenance": dict(self.provenance),
            },
            {
                "weights": list(self.weights),
                "masks": list(self.masks.values()),
            },
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> Ticket:
        """Reads what `save` wrote.

        Args:
            path: Of the file.

        Raises:
            FileNotFoundError: If it is not there.
            ValueError: If it is not a ticket.
        """

        def make(state: Any, groups: Mapping[str, list[NDArray]]) -> Ticket:
            ticket = cls(
                paths=tuple(state["paths"]),
                weights=tuple(groups["weights"]),
                masks=dict(zip(state["masked"], groups["masks"], strict=True)),
                provenance=dict(state["provenance"]),
            )
            known = set(range(len(ticket.weights)))
            if (
                len(ticket.paths) != len(known)
                or not ticket.masks.keys() <= known
            ):
                raise ValueError("its paths and masks are not its weights'")
            for index, mask in ticket.masks.items():
                if mask.shape != ticket.weights[index].shape:
                    raise ValueError("a mask is not of its weight's shape")
            return ticket

        return read_archive(path, "ticket", make)

    def apply(
        self, model: keras.Model, *, exclude: Filter | None = None
    ) -> keras.Model:
        """Puts first weights and masks into a model, in place.

        Weights are matched by their order in `model.weights`; names do not
        matter. Compile the model afterwards: a ticket starts with an optimizer
        that remembers nothing. `keras_sparse.strip` makes it plain when it is
        trained.

        Args:
            model: A built, plain model.
            exclude: Layers that keep their own weights and stay dense, as in
                `keras_sparse.sparsify`: an output layer for other classes.

        Returns:
            The same model, with the masked weights under a `Mask`.

        Raises:
            ValueError: If the model is sparsified, its weights are not of the
                ticket's number and shapes, or a mask is not of its weight's.
                The model is then unchanged.

        Example:

        >>> import keras, keras_sparse as ks, numpy as np
        >>> net = lambda units: keras.Sequential(
        ...     [keras.Input((4,)), keras.layers.Dense(6), keras.layers.Dense(
        ...     units, name=f"head{units}")])
        >>> x, y = np.ones((8, 4)), np.ones((8, 2))
        >>> search = ks.lottery.find_ticket(
        ...     net(2), {"x": x, "y": y, "verbose": 0}, rounds=1, rate=0.5,
        ...     compile={"optimizer": "sgd", "loss": "mse"}, verbose=False)
        >>> model = search.ticket().apply(net(3), exclude="head3")
        >>> [round(d, 2) for d in search.ticket().densities.values()]
        [0.5, 0.75]
        """
        taken = match_weights(
            model, self.paths, self.weights, self.masks, exclude
        )
        variables = list(model.weights)
        masked = {
            (id(layer), slot.name)
            for index, (layer, slot) in find_weights(model, variables).items()
            if index in taken and index in self.masks
        }
        missing = len(masked) - len(self.masks.keys() & taken)
        if not masked or missing:
            raise ValueError(
                "Expected a model in which every masked weight of the ticket "
                "is a known one. Received one with others. Apply the ticket "
                "to the architecture that it was found in."
            )
        sparsify(
            model,
            lambda layer, name: Mask() if (id(layer), name) in masked else None,
            verbose=False,
        )
        for index, each in find_masked(model, variables).items():
            each.mask.set_mask(self.masks[index])
        values = under_masks(self.weights, self.masks)
        for index in taken:
            variables[index].assign(values[index])
        return model
