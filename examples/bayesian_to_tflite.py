"""How does a network find out by itself which weights it needs?

python examples/bayesian_to_tflite.py

Every weight gets a normal posterior. Those that turn out to be only noise are
zero in the end; no sparsity is asked for.
"""

import keras

import keras_sparse as ks
from keras_sparse import datasets

keras.utils.set_random_seed(0)
data = datasets.load("mnist")
split = int(0.9 * len(data.train.x))
x, y = data.train.x[:split], data.train.y[:split]
held_out = (data.train.x[split:], data.train.y[split:])

model = keras.Sequential(
    [
        keras.Input(data.train.x.shape[1:]),
        keras.layers.Flatten(),
        keras.layers.Dense(300, activation="relu"),
        keras.layers.Dense(100, activation="relu"),
        keras.layers.Dense(10),
    ]
)
ks.sparsify(model, ks.Gaussian(prior=ks.priors.ARD()))

epochs, batch = 8, 100
model.compile(
    keras.optimizers.Adam(
        keras.optimizers.schedules.PolynomialDecay(
            2e-3, epochs * len(x) // batch, 0.0
        )
    ),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
    steps_per_execution=20,
)
model.fit(
    x,
    y,
    batch_size=batch,
    epochs=epochs,
    validation_data=held_out,
    callbacks=[ks.callbacks.Anneal(), ks.callbacks.SparsityLogger()],
)

# Which log alpha is noise? Look at the valley, or let held-out data decide.
ks.plot_log_alpha(model).savefig("log_alpha.png")
print(ks.choose_threshold(model, held_out, max_drop=0.002))
print({path: bits.total for path, bits in ks.bit_widths(model).items()})

# How sure is the network of the first image?
samples = ks.predict_samples(model, data.test.x[:1], n=20)
print("logits", samples.mean(0).round(1), "+-", samples.std(0).round(1))

ks.strip(model)
print(ks.summary(model))
report = ks.export_tflite(
    model, "bayesian.tflite", inputs=data.test.x, labels=data.test.y
)
print(report)
