"""How do I keep most accuracy at 99% zeros? Thresholds that let weights back.

python examples/feather.py
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
epochs, batch = 6, 128
steps = epochs * -(-len(data.train.x) // batch)

ks.sparsify(model, ks.Feather())
model.compile(
    keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
threshold = ks.callbacks.Threshold(
    # The cubic ramp of the paper, over the first half.
    ks.schedules.Polynomial(0.99, begin=0, end=steps // 2),
    allocation=ks.allocations.erdos_renyi,
)
model.fit(
    data.train.x,
    data.train.y,
    batch_size=batch,
    epochs=epochs,
    validation_data=(data.test.x, data.test.y),
    callbacks=[threshold, ks.callbacks.SparsityLogger()],
    verbose=2,
)

# The weights that the net was trained to use are what is left.
ks.strip(model)
print(ks.summary(model))
accuracy = model.evaluate(data.test.x, data.test.y, 1000, verbose=0)[1]
print(f"accuracy {accuracy:.2%}")
