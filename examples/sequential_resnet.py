"""How do I sparsify a deep residual network without losing it?

python examples/sequential_resnet.py

Noise in all layers at once can drown a deep network. Here one residual block
after the other is trained with noise, while the rest keeps still.
"""

import keras
from keras import layers

import keras_sparse as ks
from keras_sparse import datasets

data = datasets.load("mnist")
x, y, test = data.train.x[:5000], data.train.y[:5000], data.test


def residual_net(width=16, blocks=3):
    inputs = keras.Input(x.shape[1:])
    h = layers.Conv2D(width, 3, strides=2, padding="same")(inputs)
    for _ in range(blocks):
        g = layers.ReLU()(layers.BatchNormalization()(h))
        g = layers.Conv2D(width, 3, padding="same")(g)
        g = layers.ReLU()(layers.BatchNormalization()(g))
        h = layers.Add()([h, layers.Conv2D(width, 3, padding="same")(g)])
    h = layers.GlobalAveragePooling2D()(layers.ReLU()(h))
    return keras.Model(inputs, layers.Dense(10)(h))


model = residual_net()
model.compile(
    keras.optimizers.Adam(2e-3),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(x, y, epochs=4, validation_data=(test.x[:1000], test.y[:1000]))

ks.sequential.sparsify_blocks(
    model,
    ks.Gaussian(prior=ks.priors.ARD(), log_sigma2=-8.0),
    fit={"x": x, "y": y, "epochs": 3},
    recalibration=x[:1000],
    checkpoint="sequential.npz",  # an interrupted run goes on from here
)

print(ks.summary(model))
report = ks.export_tflite(
    model, "sequential.tflite", inputs=test.x, labels=test.y
)
print(report)
