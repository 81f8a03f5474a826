"""How do I train with a tenth of the weights from the first step to the last?

python examples/rigl.py
"""

import keras
import numpy as np

import keras_sparse as ks
from keras_sparse import datasets

data = datasets.load("mnist")
model = keras.Sequential(
    [
        keras.Input(data.train.x.shape[1:]),
        keras.layers.Flatten(),
        keras.layers.Dense(300, activation="relu"),
        keras.layers.Dense(100, activation="relu"),
        keras.layers.Dense(10),
    ]
)
epochs, batch = 4, 128
steps = epochs * -(-len(data.train.x) // batch)
rng = np.random.default_rng(0)


def some_examples():
    """What the gradients that weights grow by are taken on."""
    chosen = rng.integers(0, len(data.train.x), 256)
    return data.train.x[chosen], data.train.y[chosen]


ks.sparsify(model, ks.Mask())
model.compile(
    "adam",
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
move = ks.callbacks.DropAndGrow(
    "rigl", sparsity=0.9, end=3 * steps // 4, data=some_examples
)
model.fit(
    data.train.x,
    data.train.y,
    batch_size=batch,
    epochs=epochs,
    validation_data=(data.test.x, data.test.y),
    callbacks=[move, ks.callbacks.SparsityLogger()],
    verbose=2,
)
ks.strip(model)
print(ks.summary(model))
