"""How do I bring a trained model to 2:4 sparsity and fine-tune it there?

python examples/finetune_two_of_four.py
"""

import keras

import keras_sparse as ks
from keras_sparse import datasets

data = datasets.load("mnist")


def train(model, epochs, rate):
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        data.train.x, data.train.y, batch_size=128, epochs=epochs, verbose=2
    )
    return model.evaluate(data.test.x, data.test.y, 1000, verbose=0)[1]


model = keras.Sequential(
    [
        keras.Input(data.train.x.shape[1:]),
        keras.layers.Flatten(),
        keras.layers.Dense(300, activation="relu"),
        keras.layers.Dense(100, activation="relu"),
        keras.layers.Dense(10),
    ]
)
dense = train(model, 3, 1e-3)

# Without training: of each four consecutive inputs, the two largest stay.
ks.prune(model, 0.5, pattern=ks.patterns.n_m(2, 4))
pruned = model.evaluate(data.test.x, data.test.y, 1000, verbose=0)[1]

# The zeros that are there now are held while the rest trains on.
ks.sparsify(model, ks.Mask(keep_zeros=True))
tuned = train(model, 2, 1e-4)
ks.strip(model)

print(ks.summary(model))
print(f"dense {dense:.2%}, pruned {pruned:.2%}, fine-tuned {tuned:.2%}")
