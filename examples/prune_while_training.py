"""How do I prune a model while it trains, and get a file for a phone?

python examples/prune_while_training.py
"""

import keras

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

# In place: same layers, same variables, same predictions.
ks.sparsify(model, ks.Mask())

model.compile(
    "adam",
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
epochs, batch = 4, 128
steps = epochs * (len(data.train.x) // batch)
prune = ks.callbacks.Prune(
    ks.schedules.Polynomial(0.9, begin=steps // 10, end=6 * steps // 10),
    allocation=ks.allocations.global_,
)
model.fit(
    data.train.x,
    data.train.y,
    batch_size=batch,
    epochs=epochs,
    validation_data=(data.test.x, data.test.y),
    callbacks=[prune, ks.callbacks.SparsityLogger()],
)

# Plain Keras again, with exact zeros.
ks.strip(model)
print(ks.summary(model))
report = ks.export_tflite(
    model,
    "pruned.tflite",
    quantize="int8",
    representative_data=data.train.x[:200],
    inputs=data.test.x,
    labels=data.test.y,
)
print(report)
