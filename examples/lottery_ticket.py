"""How do I find a sparse net that trains well from its first weights on?

python examples/lottery_ticket.py

Weights are taken away in rounds; after each, what is left goes back to its
first value. The net found is kept in one file, goes into a net with another
output layer, and is trained there with another optimizer.
"""

import keras

import keras_sparse as ks
from keras_sparse import datasets, lottery

data = datasets.load("mnist")
x, y = data.train.x[:10000], data.train.y[:10000]
held_out = data.train.x[-2000:], data.train.y[-2000:]
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(classes):
    return keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.Flatten(),
            keras.layers.Dense(300, activation="relu"),
            keras.layers.Dense(100, activation="relu"),
            keras.layers.Dense(classes, name=f"output_{classes}"),
        ]
    )


search = lottery.find_ticket(
    lambda: net(10),
    {
        "x": x,
        "y": y,
        "batch_size": 60,
        "epochs": 3,
        "validation_data": held_out,
        "validation_batch_size": 1000,
        "verbose": 0,
    },
    rounds=6,
    rate=0.4,
    initializer="glorot_normal",
    compile={
        "optimizer": keras.optimizers.Adam(1.2e-3),
        "loss": loss,
        "metrics": ["accuracy"],
    },
    controls=["reinitialized", "random_mask"],
    control_rounds=[3, 6],
    data_name=data.name,
    checkpoint="search.npz",  # an interrupted search goes on from here
)
lottery.plot_accuracy(search).savefig("accuracy.png")
lottery.plot_early_stop(search).savefig("early_stop.png")
search.ticket().save("ticket.npz")

# Elsewhere: is it an even digit? Another output layer, another optimizer.
model = net(2)
lottery.Ticket.load("ticket.npz").apply(model, exclude="output_2")
model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
model.fit(
    x,
    y % 2,
    epochs=3,
    validation_data=(held_out[0], held_out[1] % 2),
    verbose=2,
)
print(ks.summary(ks.strip(model)))
