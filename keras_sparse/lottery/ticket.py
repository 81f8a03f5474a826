"""A sparse net that trains well from its first weights on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import keras
from numpy.typing import NDArray

from keras_sparse._traversal import Filter, choose, walk
from keras_sparse.lottery.archive import (
    check_archive_path,
    read_archive,
    write_archive,
)
from keras_sparse.lottery.masked_model import (
    check_plain,
    find_masked,
    find_weights,
    under_masks,
)
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
        """Fraction left of each masked weight, by path."""
        return {self.paths[i]: float(m.mean()) for i, m in self.masks.items()}

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
            ValueError: If the path has another ending.
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
        state, groups = read_archive(path, "ticket")
        return cls(
            paths=tuple(state["paths"]),
            weights=tuple(groups["weights"]),
            masks=dict(zip(state["masked"], groups["masks"], strict=True)),
            provenance=state["provenance"],
        )

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
        check_plain(model)
        variables = list(model.weights)
        taken = self._matched(model, variables, exclude)
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

    def _matched(
        self,
        model: keras.Model,
        variables: list[keras.Variable],
        exclude: Filter | None,
    ) -> set[int]:
        """Positions that the ticket's weights go to, all checked."""
        if len(variables) != len(self.weights):
            raise ValueError(
                f"Expected a model with {len(self.weights)} weights, as the "
                f"ticket has. Received one with {len(variables)}. Apply the "
                "ticket to the architecture that it was found in."
            )
        kept: set[int] = set()
        if exclude is not None:
            layers = [x for x in walk(model) if x is not model and x.weights]
            chosen = {id(x) for x in choose(layers, None, exclude)}
            kept = {
                id(variable)
                for layer in layers
                if id(layer) not in chosen
                for variable in layer.weights
            }
        taken = {i for i, v in enumerate(variables) if id(v) not in kept}
        for i in sorted(self.masks.keys() & taken):
            if self.masks[i].shape != self.weights[i].shape:
                raise ValueError(
                    f"Expected masks of their weights' shapes. Received one "
                    f"of {self.masks[i].shape} for {self.paths[i]}, which is "
                    f"{self.weights[i].shape}. Make the ticket anew."
                )
        different = [
            f"{variables[i].path} {tuple(variables[i].shape)} (the ticket's "
            f"{self.paths[i]} is {self.weights[i].shape})"
            for i in sorted(taken)
            if tuple(variables[i].shape) != self.weights[i].shape
        ]
        if different:
            raise ValueError(
                "Expected weights of the ticket's shapes. Received "
                f"{'; '.join(different)}. Name the layers that are another's, "
                "such as a new output layer, in `exclude`."
            )
        return taken
