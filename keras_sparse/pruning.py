"""Masks on models, and pruning after training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import (
    _surgery,
    allocations,
    patterns,
    scores,
)
from keras_sparse._mechanism.sparse_layer import Attached, attached
from keras_sparse._selection.masks import (
    Allocation,
    Pattern,
    Score,
    compute_masks,
)
from keras_sparse._selection.signals import SIGNALS
from keras_sparse._traversal import Filter, choose, unused_path, walk
from keras_sparse.parametrizations.mask import Mask
from keras_sparse.parametrizations.parametrization import Parametrization
from keras_sparse.selection import check_sparsity
from keras_sparse.sparsify import parametrized, sparsify, strip

# Entries looked at at once: what is computed of them stays in cache.
_PIECE = 2**18
ParametrizationT = TypeVar("ParametrizationT", bound=Parametrization)


class MaskedWeight(NamedTuple):
    """A weight under a `Mask`."""

    each: Attached
    mask: Mask

    def value(self) -> NDArray:
        """What a score sees: dormant weights count only straight-through.

        Returns:
            An array to read from, until the weight changes.

        Raises:
            ValueError: If a mask of the gradient only finds that training
                moved what it masks.
        """
        value = _surgery.to_numpy(_surgery.read(self.each.raw)).view()
        value.flags.writeable = False
        if self.mask.straight_through:
            return value
        kept = self.kept()
        # As a rule they are zero already: that spares a copy.
        if _is_zero_outside(value, kept):
            return value
        if self.mask.gradient_only:
            raise ValueError(
                f"Expected the masked entries of {self.each.raw.path} to stay "
                "zero under `Mask(gradient_only=True)`. Received an optimizer, "
                "a callback or a loop that moves them, as `Muon` does, so the "
                "last steps were not sparse. Train it under a plain `Mask()`."
            )
        return value * kept

    def kept(self) -> NDArray[np.bool_]:
        """The mask as booleans to read from, until it changes."""
        return _surgery.to_numpy(self.mask.mask.value).view(bool)


def masked_weights(
    model: keras.layers.Layer,
    where: Filter | None = None,
    exclude: Filter | None = None,
) -> dict[str, MaskedWeight]:
    """The weights of a model that have a `Mask`, by path.

    Args:
        model: A sparsified model.
        where: Which layers to take, as in `sparsify`.
        exclude: Which to leave out.

    Returns:
        Map from `"layer path/slot name"`; a second layer of the same path
        gets a number.
    """
    found = parametrized_weights(model, Mask, where, exclude)
    return {path: MaskedWeight(*pair) for path, pair in found.items()}


def parametrized_weights(
    model: keras.layers.Layer,
    kind: type[ParametrizationT],
    where: Filter | None = None,
    exclude: Filter | None = None,
) -> dict[str, tuple[Attached, ParametrizationT]]:
    """The weights of a model under one kind of parametrization, by path.

    Args:
        model: A sparsified model.
        kind: Class of the parametrization.
        where: Which layers to take, as in `sparsify`.
        exclude: Which to leave out.

    Returns:
        Map from path, as for `masked_weights`.
    """
    layers = [layer for layer in walk(model) if attached(layer)]
    found: dict[str, tuple[Attached, ParametrizationT]] = {}
    for layer in choose(layers, where, exclude):
        for name, each in attached(layer).items():
            parametrization = each.parametrization(layer)
            if isinstance(parametrization, kind):
                path = f"{layer.path or layer.name}/{name}"
                found[unused_path(path, found)] = (each, parametrization)
    return found


def update_masks(
    model: keras.Model,
    weights: Mapping[str, MaskedWeight],
    sparsity: float,
    *,
    score: Score = scores.magnitude,
    pattern: Pattern = patterns.unstructured,
    allocation: Allocation = allocations.uniform,
    batch: tuple[Any, ...] | None = None,
) -> None:
    """Computes new masks and sets them.

    Weights under a hard mask become zero themselves where they are masked,
    and what the optimizer remembers of them starts anew: so does a weight
    that a later mask lets in again.

    Args:
        model: The model that holds the weights; its optimizer's slots follow.
        weights: What `masked_weights` returned.
        sparsity: Overall fraction of zeros in [0, 1).
        score: See `compute_masks`.
        pattern: See `compute_masks`.
        allocation: See `compute_masks`.
        batch: (x, y) for scores that need a gradient.
    """
    gradients = None
    if scores.needs_gradient(score):
        if batch is None and scores.needs_data(score):
            raise ValueError(
                f"Expected data for the score {score!r}, which needs the "
                "gradient of the loss. Received none. Pass data=(x, y)."
            )
        signal = SIGNALS[scores.signal_of(score)]
        values = signal(model, list(weights.values()), batch)
        gradients = dict(zip(weights, values, strict=True))
    masks = compute_masks(
        {path: w.value() for path, w in weights.items()},
        {path: w.each.slot for path, w in weights.items()},
        sparsity,
        score=score,
        pattern=pattern,
        allocation=allocation,
        gradients=gradients,
    )
    optimizer = getattr(model, "optimizer", None)
    for path, weight in weights.items():
        before, kept = weight.kept(), masks.pop(path)
        hard = not weight.mask.straight_through
        if weight.mask.keep_zeros:
            kept &= before
        if hard and np.any(kept > before):
            forget_masked(weight, optimizer)  # before they are let in
        weight.mask.set_mask(kept)
        if hard:
            forget_masked(weight, optimizer)


def prune(
    model: keras.Model,
    sparsity: float,
    *,
    score: Score = scores.magnitude,
    pattern: Pattern = patterns.unstructured,
    allocation: Allocation = allocations.uniform,
    where: Filter | None = None,
    exclude: Filter | None = None,
    data: tuple[Any, ...] | None = None,
    rounds: int = 1,
) -> keras.Model:
    """Prunes a plain, trained model in place, without `fit`.

    The model stays plain Keras, with exact zeros. To train it further with
    the zeros held, call `sparsify(model, Mask(keep_zeros=True))` next.

    Args:
        model: A built, plain model.
        sparsity: Fraction of zeros over the chosen weights, in [0, 1).
        score: From (weight, gradient) to importance. Default: magnitude.
        pattern: Which zeros go together. Default: any.
        allocation: Which layer gets how many. Default: the same share each.
        where: Which layers to take, as in `sparsify`.
        exclude: Which to leave out.
        data: (x, y) for scores that need the gradient of the compiled loss.
        rounds: In how many steps the density falls, by the same factor at
            each, with new scores. Defaults to 1.

    Returns:
        The same model.

    Raises:
        ValueError: For a sparsity outside [0, 1), a model that is sparsified
            already, NaN weights, or a score that lacks data. The model is
            then unchanged.

    Example:

    >>> import keras, keras_sparse as ks
    >>> model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    >>> model = ks.prune(model, 0.5)
    >>> int((model.layers[0].get_weights()[0] == 0).sum())
    50
    """
    check_sparsity(sparsity)
    if rounds < 1:
        raise ValueError(f"Expected rounds of 1 or more. Received: {rounds!r}.")
    if any(True for _ in parametrized(model)):
        raise ValueError(
            "Expected a plain model. Received one that is sparsified already. "
            "Prune it with `callbacks.Prune`, or call `strip` first."
        )
    sparsify(model, Mask(), where=where, exclude=exclude, verbose=False)
    weights = masked_weights(model)
    optimizer = getattr(model, "optimizer", None)
    before = [
        (variable, _surgery.to_numpy(variable.value).copy())
        for weight in weights.values()
        for variable in (weight.each.raw, *_slots(optimizer, weight.each.raw))
        if rounds > 1
    ]
    try:
        for number in range(1, rounds + 1):
            left = (1 - sparsity) ** (number / rounds)
            update_masks(
                model,
                weights,
                1 - left if number < rounds else sparsity,
                score=score,
                pattern=pattern,
                allocation=allocation,
                batch=data,
            )
    except BaseException:
        for weight in weights.values():
            weight.mask.set_mask(np.ones(weight.mask.mask.shape, bool))
        for variable, value in before:
            variable.assign(value)
        raise
    finally:
        strip(model)
    return model


def _is_zero_outside(value: NDArray, kept: NDArray) -> bool:
    """Whether no entry is other than zero where it is not kept."""
    value, kept = value.reshape(-1), kept.reshape(-1)
    for start in range(0, value.size, _PIECE):
        piece = slice(start, start + _PIECE)
        if np.any((value[piece] != 0) > kept[piece]):
            return False
    return True


def forget_masked(weight: MaskedWeight, optimizer: Any) -> None:
    """Zeros a weight where it is masked.

    What the optimizer remembers of it starts anew there.

    Args:
        weight: The weight, with the mask.
        optimizer: The model's; `None` or one of another library is left.
    """
    each, mask = weight
    mask.clear(each.raw)
    for slot in _slots(optimizer, each.raw):
        mask.clear(slot, _surgery.start_of_slot(optimizer, slot))


def _slots(optimizer: Any, variable: keras.Variable) -> list[keras.Variable]:
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return []
    return _surgery.optimizer_slots(optimizer, variable)
