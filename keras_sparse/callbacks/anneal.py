"""Lets the penalties of a model in slowly."""

from __future__ import annotations

import warnings
from typing import Any

import keras

from keras_sparse import _surgery
from keras_sparse._per_example import penalized

# Into how many equal steps a ramp is cut; each is an assignment.
RAMP = 200


class Anneal(keras.callbacks.Callback):
    """Ramps up what Bayesian weights and gates pay, per training example.

    The loss of `fit` is a mean over examples, so a divergence that is paid
    once for the data set counts with beta / N. This callback sets beta, which
    rises linearly from 0 at `begin` to `weight` at `end`, and N. It also adds
    `"kl"`, the sum of what is paid in nats over the data set at beta = 1, and
    `"beta"` to the logs of each epoch.

    `loss` and `val_loss` hold the penalty, beta KL / N, and rise with beta:
    let `EarlyStopping` and `ModelCheckpoint` monitor a metric such as
    `val_accuracy`, and wait until the ramp is over (`start_from_epoch`).

    Args:
        begin: Step (optimizer iteration) until which beta is 0. Default: 5%
            of the steps of this `fit`.
        end: Step from which on beta is `weight`. Default: half of the steps.
        weight: beta in the end; 1 is the evidence lower bound.
        train_size: N, the number of terms that the loss is a mean of in an
            epoch: training examples, or examples times positions where every
            position has a label. Default: the examples that an epoch goes
            through, or the `train_size` of a layer; known to a batch after
            the first batch, in which nothing is paid, and exactly after the
            first epoch. A loss that is a sum needs `weight` set to match.

    Raises:
        ValueError: For a negative `begin` or `end`, or an `end` before the
            `begin`; at the begin of training, if no layer has a penalty of
            this kind, or if `fit` cannot tell how long an epoch is and that
            is needed.

    Example:

    >>> import keras, keras_sparse as ks, numpy as np
    >>> model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10)])
    >>> model = ks.sparsify(model, ks.Gaussian(), verbose=False)
    >>> model.compile("adam", "mse")
    >>> history = model.fit(
    ...     np.ones((8, 10)), np.ones((8, 10)), batch_size=2, verbose=0,
    ...     callbacks=[ks.callbacks.Anneal(begin=0, end=2)])
    >>> history.history["beta"]
    [1.0]
    """

    def __init__(
        self,
        begin: int | None = None,
        end: int | None = None,
        *,
        weight: float = 1.0,
        train_size: int | None = None,
    ) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(
                f"Expected a weight that is not negative. Received: {weight!r}."
            )
        if train_size is not None and train_size < 1:
            raise ValueError(
                "Expected `train_size`, the number of training examples, to "
                f"be positive. Received: {train_size!r}."
            )
        given = [step for step in (begin, end) if step is not None]
        if given != sorted(given) or min(given, default=0) < 0:
            raise ValueError(
                "Expected 0 <= begin <= end, in steps. Received: "
                f"begin={begin!r}, end={end!r}."
            )
        self.begin = begin
        self.end = end
        self.weight = weight
        self.train_size = train_size
        self._ramp: tuple[int, int] | None = None
        self._layers: list[Any] = []
        self._beta: float | None = None
        self._epoch_start = 0
        self._accumulation = 1
        self._counting = False

    def beta(self, step: int) -> float:
        """beta at a step.

        Args:
            step: Optimizer iteration.

        Raises:
            ValueError: If `fit` has not begun and has to say when the ramp
                begins or ends.
        """
        begin, end = self._ramp or (self.begin, self.end)
        if begin is None or end is None:
            raise ValueError(
                "Expected to know when the ramp begins and ends. Received "
                f"begin={begin}, end={end}, and no `fit` yet that says how "
                "many steps there are. Pass both to Anneal, or ask after "
                "`fit` has begun."
            )
        if step >= end:
            return self.weight
        if step < begin:
            return 0.0
        return self.weight * ((step - begin) * RAMP // (end - begin)) / RAMP

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._layers = penalized(self.model)
        if not self._layers:
            raise ValueError(
                "Expected a model with Bayesian weights or gates. Received "
                "one without. Call `keras_sparse.sparsify(model, "
                "keras_sparse.Gaussian())` first."
            )
        unbuilt = [layer.name for layer in self._layers if not layer.built]
        if unbuilt:
            raise ValueError(
                "Expected a built model. Received one in which "
                f"{', '.join(unbuilt)} has no variables yet. Add a "
                "keras.Input, or call the model on a batch first."
            )
        self._counting = self.train_size is None and not all(
            layer.train_size for layer in self._layers
        )
        self._accumulation = _surgery.accumulation(self.model.optimizer)
        self._check_length()
        self._ramp = None
        self._beta = None
        if self.train_size is not None:
            self._set_train_size(self.train_size)
        if self._counting:
            self._warn_of_positions()
        for layer in self._layers:
            layer.told = True

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch_start = _surgery.micro_steps(self.model.optimizer)
        if self._ramp is None:
            self._ramp = self._find_ramp(epoch)

    def on_train_batch_begin(
        self, batch: int, logs: dict | None = None
    ) -> None:
        # Counted, not read: on JAX `self.model` brings all variables up to
        # date, which costs more than a step of a small model.
        step = (self._epoch_start + batch) // self._accumulation
        beta = self.beta(step)
        if beta != self._beta:
            self._beta = beta
            _surgery.sync_state(self.model)
            for layer in self._layers:
                layer.beta.assign(beta)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._counting:
            self._count(batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            _surgery.sync_state(self.model)
            paying = [layer for layer in self._layers if layer.trainable]
            nats = sum(_number(layer.nats()) for layer in paying)
            logs.update(kl=nats, beta=self._beta)

    def _check_length(self) -> None:
        steps = self.params.get("steps")
        timed = self.begin is not None and self.end is not None
        if not steps and (self._counting or not timed):
            raise ValueError(
                "Expected data whose length `fit` knows. Received a stream. "
                "Pass `train_size`, `begin` and `end` to Anneal."
            )

    def _warn_of_positions(self) -> None:
        """A mean over positions has more terms than there are examples."""
        outputs = getattr(self.model, "outputs", None) or []
        shapes = [tuple(x.shape) for x in outputs if len(x.shape) > 2]
        if shapes:
            warnings.warn(
                "Expected one label for each example. Received a model with "
                f"outputs of shape {shapes[0]}: where its loss is a mean over "
                "positions too, the penalty counts too much by their number. "
                "Pass `Anneal(train_size=...)`: examples times positions, or "
                "the examples where the loss is a sum over positions.",
                stacklevel=2,
            )

    def _find_ramp(self, epoch: int) -> tuple[int, int]:
        """The ramp; what is left open is a share of the steps of this `fit`."""
        steps = self.params.get("steps") or 0
        # The optimizer's step at epoch 0, also of a run that is resumed.
        first = (self._epoch_start - epoch * steps) // self._accumulation
        total = steps * self.params["epochs"] // self._accumulation
        begin, end = self.begin, self.end
        if begin is None:
            begin = first + int(0.05 * total)
            begin = begin if end is None else min(begin, end)
        if end is None:
            end = max(begin, first + total // 2)
        return begin, end

    def _count(self, batches: int) -> None:
        """Sets N from the examples that the loss was averaged over."""
        _surgery.sync_state(self.model)
        seen, steps = _surgery.examples_seen(self.model), self.params["steps"]
        if not seen:
            for layer in self._layers:
                layer.told = _number(layer.per_example) > 0
            raise ValueError(
                "Expected `fit` to count the examples it goes through. "
                "Received a model whose `train_step` does not. Pass "
                "`Anneal(train_size=...)`."
            )
        self._counting = batches < steps
        size, batch_size = seen * steps / batches, seen / batches
        # Before the last batch the number is rounded up to full batches, so
        # what a resumed run knows already is better.
        known = [_number(layer.per_example) for layer in self._layers]
        if batches == steps or any(
            abs(1 / max(each, 1e-30) - size) > batch_size for each in known
        ):
            self._set_train_size(size)

    def _set_train_size(self, size: float) -> None:
        for layer in self._layers:
            if layer.train_size is None or self.train_size is not None:
                layer.per_example.assign(1.0 / size)


def _number(value: Any) -> float:
    return float(keras.ops.convert_to_numpy(value))
