"""How do I make a network smaller that is trained already?

python examples/pretrained_to_tflite.py

The trained weights become means; a few epochs with noise tell which of them
matter; a few more, without noise and with the zeros held, mend the rest.
"""

import keras

import keras_sparse as ks
from keras_sparse import datasets

data = datasets.load("mnist")
x, y, test = data.train.x, data.train.y, data.test
if data.name == "mnist":
    x, y = x[:20000], y[:20000]
model = keras.Sequential(
    [
        keras.Input(x.shape[1:]),
        keras.layers.Conv2D(16, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10),
    ]
)


def train(model, rate, epochs, callbacks=()):
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        x,
        y,
        batch_size=100,
        epochs=epochs,
        validation_data=(test.x, test.y),
        callbacks=list(callbacks),
    )


train(model, 1e-3, epochs=2)

logger = ks.callbacks.SparsityLogger()
ks.sparsify(model, ks.Gaussian(log_sigma2=-8.0), exclude="dense_1")
train(model, 2e-3, epochs=6, callbacks=[ks.callbacks.Anneal(), logger])
ks.strip(model)

ks.sparsify(model, ks.Mask(keep_zeros=True), exclude="dense_1")
train(model, 3e-4, epochs=1, callbacks=[logger])
ks.strip(model)

print(ks.summary(model))
report = ks.export_tflite(
    model,
    "pretrained.tflite",
    quantize="int8",
    representative_data=x[:200],
    inputs=test.x,
    labels=test.y,
)
print(report)
