"""Training by choosing among random weights that stay as they are."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sparse._arithmetic.largest import largest
from keras_sparse._arithmetic.straight_through import straight_through
from keras_sparse.parametrizations.parametrization import Parametrization


@keras.saving.register_keras_serializable(package="keras_sparse")
class EdgePopup(Parametrization):
    """Keeps the weights whose scores are largest; only scores are trained.

    Each weight w has a score s. The layer uses w where `|s|` is among the
    largest of the layer and zero elsewhere, exactly `keep` of them at every
    step. The gradient passes straight through that choice: dL/ds is
    dL/dw * w * sign(s). The weights are frozen until `strip`, whatever
    optimizer, weight decay or regularizer there is.

    Biases and the gain and shift of normalisation are trained as ever; the
    paper has none (`use_bias=False`, `center=False`, `scale=False`). It
    starts from `keras_sparse.initializers.SignedKaimingConstant` and trains
    with SGD of learning rate .1, momentum .9, weight decay 1e-4 and cosine
    decay.

    Args:
        keep: Share of the weights that stay, in (0, 1], rounded to a whole
            number of 1 or more. The paper finds 0.3 to 0.7 best.

    Raises:
        ValueError: If `keep` is out of range.

    Reference:
        Ramanujan et al., "What's hidden in a randomly weighted neural
        network?", CVPR 2020, section 3, equations 2 to 6.

    Example:

    >>> import keras, keras_sparse as ks
    >>> popup = ks.EdgePopup(keep=0.5)
    >>> popup.build((4, 1))
    >>> _ = popup.scores.assign([[0.1], [-0.4], [0.3], [-0.2]])
    >>> w = keras.ops.convert_to_tensor([[1.0], [2.0], [3.0], [4.0]])
    >>> keras.ops.convert_to_numpy(popup(w)).ravel().tolist()
    [0.0, 2.0, 3.0, 0.0]
    """

    freezes_weight = True

    def __init__(self, keep: float = 0.5, **kwargs: Any) -> None:
        if not (isinstance(keep, (int, float, np.number)) and 0 < keep <= 1):
            raise ValueError(
                "Expected `keep`, the share of the weights that stay, in "
                f"(0, 1]. Received: keep={keep!r}. For a sparsity of 70% "
                "pass keep=0.3."
            )
        super().__init__(**kwargs)
        self.keep = float(keep)

    def build(self, shape: tuple[int, ...]) -> None:
        size, rank = math.prod(shape), len(shape)
        outputs = [shape[a] for a in self.outputs if -a <= rank]
        limit = math.sqrt(math.prod(outputs) / size)  # over fan-in
        self.count = max(round(self.keep * size), 1)
        self.scores = self.add_weight(
            name="scores",
            shape=shape,
            initializer=keras.initializers.RandomUniform(-limit, limit),
            dtype="float32",
        )

    def kept(self) -> Any:
        """Where weights stay, a boolean tensor of their shape."""
        scores = ops.convert_to_tensor(self.scores)
        return largest(ops.abs(ops.stop_gradient(scores)), self.count)

    def call(self, w: Any, training: bool | None = None) -> Any:
        scores = ops.cast(ops.convert_to_tensor(self.scores), w.dtype)
        value = ops.where(self.kept(), w, ops.zeros_like(w))
        return straight_through(value, (scores, w * ops.sign(scores)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "keep": self.keep}
