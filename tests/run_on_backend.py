"""What has to hold on every backend; run in a process of its own."""

import sys

import keras
import numpy as np

import keras_sparse as ks


def sparse_life(folder):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8, 8, 3)).astype("float32")
    y = rng.integers(0, 10, 64)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.1),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    before = model.predict(x, verbose=0)
    ks.sparsify(model, ks.Mask(), verbose=False)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    schedule = ks.schedules.Polynomial(0.9, begin=2, end=20)
    history = model.fit(
        x,
        y,
        batch_size=8,
        epochs=3,
        verbose=0,
        callbacks=[
            ks.callbacks.Prune(schedule, every=2),
            ks.callbacks.SparsityLogger(),
        ],
    ).history
    zeros = round(0.9 * 108) + round(0.9 * 1440)
    assert history["sparsity"][-1] == zeros / 1548, history
    prune = ks.callbacks.Prune(
        0.95, score=ks.scores.saliency, data=(x[:16], y[:16])
    )
    model.fit(x, y, verbose=0, callbacks=[prune])
    sparse = model.predict(x, verbose=0)
    ks.save(model, f"{folder}/m.keras")
    loaded = keras.saving.load_model(f"{folder}/m.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), sparse)
    ks.strip(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), sparse)
    kernels = [w for w in model.get_weights() if w.ndim > 1]
    assert [int((w == 0).sum()) for w in kernels] == [103, 1368]


def bidirectional_obeys_its_masks():
    model = keras.Sequential(
        [
            keras.Input((5, 4)),
            keras.layers.Bidirectional(keras.layers.LSTM(3)),
        ]
    )
    x = np.random.default_rng(1).normal(size=(2, 5, 4)).astype("float32")
    ks.sparsify(model, ks.Mask(), verbose=False)
    for _, slot, mask in ks.parametrized(model):
        if slot.endswith("recurrent_kernel"):
            continue
        mask.set_mask(np.zeros(mask.mask.shape))
    # Without its input kernels the layer cannot tell inputs apart.
    out = model.predict(x, verbose=0)
    np.testing.assert_allclose(out[0], out[1], atol=1e-6)
    ks.strip(model)
    np.testing.assert_allclose(model.predict(x, verbose=0), out, atol=1e-6)


if __name__ == "__main__":
    sparse_life(sys.argv[1])
    bidirectional_obeys_its_masks()
    print("held on", keras.backend.backend())
