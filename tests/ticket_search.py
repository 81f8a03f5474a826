"""A small search for a ticket, and what it passes through."""

import keras
import numpy as np
from keras import layers

from keras_sparse import lottery

RATE = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.9)


def net(dropout=0.0):
    return keras.Sequential(
        [
            keras.Input((10,)),
            layers.Dense(10, activation="relu"),
            layers.Dropout(dropout),
            layers.Dense(2),
        ]
    )


def compiling(optimizer=None, **more):
    return {
        "optimizer": optimizer or keras.optimizers.Adam(RATE),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy"],
        "run_eagerly": True,  # tracing takes longer than these few steps
        **more,
    }


def data(n=40):
    x = np.random.default_rng(0).normal(size=(n, 10)).astype("float32")
    return x, (x[:, 0] > x[:, 1]).astype("int64")


def fit(**more):
    x, y = data()
    return {"x": x, "y": y, "batch_size": 8, "epochs": 2, "verbose": 0, **more}


class Note(keras.callbacks.Callback):
    """Notes what each training starts from and ends with."""

    def __init__(self, noted):
        super().__init__()
        self.noted = noted

    def _plain(self):
        # Without the masks, which come after the weights of their layer.
        return [np.array(v) for v in self.model.weights if "mask" not in v.path]

    def on_train_begin(self, logs=None):
        self.now = {"start": self._plain(), "zeros": [], "rates": []}
        self.now["iterations"] = int(self.model.optimizer.iterations.numpy())
        self.now["slots"] = [
            np.array(v) for v in self.model.optimizer.variables[1:]
        ]
        self.noted.append(self.now)

    def on_train_batch_begin(self, batch, logs=None):
        self.now["rates"].append(float(self.model.optimizer.learning_rate))

    def on_train_batch_end(self, batch, logs=None):
        self.now.setdefault("after", []).append(self._plain())


def search(model=None, noted=None, **arguments):
    noted = [] if noted is None else noted
    given = {
        "fit": fit(),
        "rounds": 2,
        "rate": 0.5,
        "compile": compiling(),
        "callbacks": lambda: [Note(noted)],
        "verbose": False,
        **arguments,
    }
    return lottery.find_ticket(model or net(), **given)


def masks_of(found):
    return [list(found.ticket(r.number).masks.values()) for r in found.rounds]
