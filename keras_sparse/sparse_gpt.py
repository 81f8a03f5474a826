"""One-shot pruning that mends the weights it leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_sparse import _surgery, adapters, allocations, patterns
from keras_sparse._batches import inputs_of
from keras_sparse._selection.reconstruction import reconstruct
from keras_sparse._selection.signals import record_inputs
from keras_sparse._traversal import Filter, choose, layers_with_weights
from keras_sparse.pruning import Allocation, Pattern
from keras_sparse.selection import check_sparsity
from keras_sparse.sparsify import parametrized

BATCH = 128
_IDENTITY = keras.activations.linear
_KINDS = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)


class _Weight(NamedTuple):
    layer: keras.layers.Layer
    slot: adapters.Slot
    variable: keras.Variable

    @property
    def path(self) -> str:
        return f"{self.layer.path or self.layer.name}/{self.slot.name}"


def sparse_gpt(
    model: keras.Model,
    sparsity: float,
    data: Any,
    *,
    pattern: Pattern = patterns.unstructured,
    allocation: Allocation = allocations.uniform,
    block: int = 128,
    damping: float = 0.01,
    where: Filter | None = None,
    exclude: Filter | None = None,
    verbose: bool = True,
) -> keras.Model:
    """Prunes a trained model in place and lets what is left make up for it.

    Weight by weight along the inputs, the error that a dropped weight leaves
    in the layer's outputs on `data` is taken over by the weights after it.
    Layers are pruned in the order of the model, each on the inputs that the
    pruned ones before it pass on. No label and no gradient is needed.

    Dense, EinsumDense and convolution layers without groups take part; the
    others stay as they are.

    Args:
        model: A built, plain, trained model.
        sparsity: Fraction of zeros over the chosen weights, in [0, 1), hit
            exactly.
        data: Inputs as an array, or a list or dict of arrays for several
            inputs, or batches of what `fit` takes, such as a
            `tf.data.Dataset`; a few hundred examples or more.
        pattern: `patterns.unstructured` (default) or `patterns.n_m(n, m)`,
            whose own sparsity the argument should be.
        allocation: Which weight gets how many zeros, by its magnitudes; see
            `keras_sparse.allocations`. Default: the same share each.
        block: Inputs whose zeros are chosen together. Defaults to 128.
        damping: Share of the mean of the Hessian's diagonal that is added to
            it. More moves the other weights less. Defaults to 0.01.
        where: Which layers to take, as in `sparsify`.
        exclude: Which to leave out.
        verbose: Shows a progress bar over the weights.

    Returns:
        The same model.

    Raises:
        ValueError: For a sparsity outside [0, 1), a block or damping that is
            not positive, a pattern of another kind, a model that is
            sparsified already or has no layer that can take part, data
            without an example, or inputs of a layer that are not finite. The
            model is then as it was.

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    >>> model = ks.sparse_gpt(model, 0.5, x, verbose=False)
    >>> int((model.layers[0].get_weights()[0] == 0).sum())
    16

    Reference:
        Frantar and Alistarh, "SparseGPT: Massive language models can be
        accurately pruned in one-shot", 2023, algorithm 1.
    """
    check_sparsity(sparsity)
    if pattern is not patterns.unstructured and not isinstance(
        pattern, patterns.n_m
    ):
        raise ValueError(
            "Expected pattern=patterns.unstructured or patterns.n_m(n, m). "
            f"Received: {pattern!r}. For other patterns use `prune`."
        )
    if isinstance(pattern, patterns.n_m):
        block = pattern.m
    if block < 1 or not damping > 0:
        raise ValueError(
            "Expected a block of 1 input or more and a damping above 0. "
            f"Received: block={block!r}, damping={damping!r}."
        )
    batches = _calibration_batches(data)
    if any(True for _ in parametrized(model)):
        raise ValueError(
            "Expected a plain model. Received one that is sparsified already. "
            "Call `strip` first."
        )
    chosen = list(_weights(model, where, exclude))
    if not chosen:
        raise ValueError(
            "Expected dense or convolution layers without groups. Received a "
            f"model {model.name!r} with none among those chosen. Use `prune`."
        )
    magnitudes = {
        each.path: np.abs(_surgery.to_numpy(each.variable.value))
        for each in chosen
    }
    shares = allocations.get(allocation)(
        magnitudes, sparsity, scores=magnitudes
    )
    before = model.get_weights()
    bar = keras.utils.Progbar(len(chosen), verbose=int(verbose))
    done = 0
    try:
        for weight in chosen:
            hessian = _hessian(model, weight, batches)
            matrix = _surgery.to_numpy(weight.variable.value)
            pruned = reconstruct(
                matrix.reshape(len(hessian), -1),
                hessian,
                shares[weight.path],
                pattern=pattern,
                block=block,
                damping=damping,
            )
            weight.variable.assign(pruned.reshape(matrix.shape))
            done += 1
            bar.update(done)
    except BaseException:
        if done:
            bar.update(done, finalize=True)  # ends the line
        model.set_weights(before)
        raise
    return model


def _weights(
    model: keras.Model, where: Filter | None, exclude: Filter | None
) -> Iterator[_Weight]:
    """What is linear in its inputs, summed over and laid out before outputs."""
    for layer in choose(layers_with_weights(model)[0], where, exclude):
        if not isinstance(layer, _KINDS):
            continue
        for slot in adapters.slots_of(layer):
            variable = slot.weight(layer)
            if (
                isinstance(variable, keras.Variable)
                and adapters.is_linear_in(layer, slot)
                and set(slot.outputs)
                == {-axis for axis in range(1, len(slot.outputs) + 1)}
                and getattr(layer, "groups", 1) == 1
            ):
                yield _Weight(layer, slot, variable)


def _calibration_batches(data: Any) -> list[Any]:
    try:
        return list(inputs_of(data, BATCH))
    except ValueError as error:
        raise ValueError(
            "Expected inputs to calibrate on, a few hundred are enough. "
            f"{error}"
        ) from error


def _hessian(
    model: keras.Model, weight: _Weight, batches: Sequence[Any]
) -> NDArray:
    """Sum of x^T x over what the weight multiplies.

    With the identity in its place, the layer returns just that: patches of
    the input where it is a convolution.
    """
    layer, slot, variable = weight
    rank = len(variable.shape)
    window = tuple(variable.shape[: rank - len(slot.outputs)])
    size = int(np.prod(window))
    ones = (1,) * (len(slot.outputs) - 1)
    eye = ops.reshape(ops.eye(size), (*window, size, *ones))
    owner, attribute = slot.locate(layer)
    axis = _output_axis(layer, slot)
    total = np.zeros((size, size))
    for x in batches:
        seen = record_inputs(model, [layer], x)[id(layer)]
        with (
            _surgery.exchanged(
                layer, bias=None, use_bias=False, activation=_IDENTITY
            ),
            _surgery.exchanged(owner, **{attribute: eye}),
        ):
            for each in seen:
                rows = layer.call(ops.cast(each, "float32"))
                rows = np.moveaxis(_surgery.to_numpy(rows), axis, -1)
                rows = rows.reshape(-1, size)
                total += rows.T @ rows
    return total


def _output_axis(layer: Any, slot: adapters.Slot) -> int:
    """Where the layer's outputs have the first output axis of the weight."""
    if isinstance(layer, keras.layers.EinsumDense):
        read, written = layer.equation.split("->")
        label = read.split(",")[1][-len(slot.outputs)]
        return written.index(label) - len(written)
    first = getattr(layer, "data_format", None) == "channels_first"
    return 1 if first else -1
