"""How do I let training find out which layer can spare how much?

python examples/learned_threshold.py
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

# 98% of all weights are to go; how the layers share that is learned. With
# of="macs" the budget counts multiplications instead.
ks.sparsify(model, ks.LearnedThreshold("gaussian", budget=0.98))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(
    keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)),
    loss,
    metrics=["accuracy"],
)
model.fit(
    data.train.x,
    data.train.y,
    batch_size=batch,
    epochs=epochs,
    callbacks=[
        ks.callbacks.Budget(end=steps // 2),
        ks.callbacks.SparsityLogger(),
    ],
    verbose=2,
)
for layer, slot, learned in ks.parametrized(model):
    print(f"{layer.path}/{slot}: r = {learned.ratio():.2f}")
accuracy = model.evaluate(data.test.x, data.test.y, 1000, verbose=0)[1]

# Thresholds were trained too, so the optimizer is for another model now.
model.compiled = False
ks.strip(model)
print(ks.summary(model))
print(f"accuracy {accuracy:.2%}")
