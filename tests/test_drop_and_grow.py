"""RigL and SET: counts, where weights grow, what the optimizer forgets."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_sparse as ks
from keras_sparse.callbacks.drop_and_grow import moved


def test_an_update_by_hand():
    mask = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], bool)
    magnitude = np.float32([[0.4, 0.1, 0.3, 0.2], [0, 0, 0, 0]])
    growth = np.float32([[9, 1, 9, 2], [5, 0, 7, 3]])
    # Half goes: .1 and .2. Of the six empty places 7 and 5 are best.
    expected = [[1, 0, 1, 0], [1, 0, 1, 0]]
    assert moved(mask, magnitude, growth, 0.5).tolist() == expected
    # A quarter goes, and may come back at once.
    growth[0, 1] = 8
    assert moved(mask, magnitude, growth, 0.25).tolist() == mask.tolist()
    assert moved(mask, magnitude, growth, 0.0).tolist() == mask.tolist()


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("density", [0.02, 0.5, 0.95])
def test_the_count_is_kept(share, density):
    rng = np.random.default_rng(0)
    mask = rng.random((30, 40)) < density
    magnitude = np.where(mask, rng.random((30, 40)), 0)
    after = moved(mask, magnitude, rng.random((30, 40)), share)
    assert after.sum() == mask.sum()
    dropped = min(int(share * mask.sum()), (~mask).sum())
    assert (mask & ~after).sum() <= dropped


def test_ties_and_zero_gradients_keep_the_count():
    mask = np.arange(20) < 7
    after = moved(mask, np.zeros(20), np.zeros(20), 0.5)
    assert after.sum() == 7


def net():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((30,)),
            keras.layers.Dense(20, "relu"),
            keras.layers.Dense(10),
        ]
    )
    return ks.sparsify(model, ks.Mask(), verbose=False)


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 30)).astype("float32"), rng.integers(0, 10, 64)


class Watch(keras.callbacks.Callback):
    """Masks before every step."""

    def on_train_begin(self, logs=None):
        self.masks = []

    def on_train_batch_begin(self, batch, logs=None):
        self.masks.append(
            [
                ops.convert_to_numpy(each.mask).astype(bool)
                for _, _, each in ks.parametrized(self.model)
            ]
        )


def fit(model, *, optimizer="adam", watch=None, epochs=3, **settings):
    x, y = data()
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    settings = {"sparsity": 0.8, "end": 18, "every": 4} | settings
    move = ks.callbacks.DropAndGrow(**settings)
    callbacks = [move] + ([watch] if watch else [])
    model.fit(
        x,
        y,
        batch_size=8,
        epochs=epochs,
        verbose=0,
        shuffle=False,
        callbacks=callbacks,
    )
    return model


@pytest.mark.parametrize("method", ["rigl", "set"])
def test_count_is_kept_at_every_step_and_masks_move(method):
    watch = Watch()
    fit(net(), method=method, data=data(), watch=watch)
    # Erdos-Renyi: c (30 + 20 + 20 + 10) = .2 * 800, so 100 and 60.
    counts = {tuple(m.sum() for m in masks) for masks in watch.masks}
    assert counts == {(100, 60)}
    steps = range(1, len(watch.masks))
    moves = [
        step
        for step in steps
        if (watch.masks[step][0] != watch.masks[step - 1][0]).any()
    ]
    # Before step 16 the share, .3 (1 + cos(pi 16 / 18)) / 2, of 100 is none.
    assert moves == [4, 8, 12]
    before, after = watch.masks[3][0], watch.masks[4][0]
    share = 0.5 * (1 + np.cos(np.pi * 4 / 18))
    assert 0 < (before & ~after).sum() <= int(0.3 * share * 100)


def test_rigl_grows_where_the_gradient_is():
    model = net()
    x, y = data()
    x[:, 5] = 1000.0  # an input whose weights all get large gradients
    watch = Watch()
    fit(model, method="rigl", data=(x, y), watch=watch, epochs=1)
    grown = watch.masks[4][0] & ~watch.masks[3][0]
    assert grown.any()
    elsewhere = np.delete(grown, 5, axis=0)
    # Row 5 is full before anything grows elsewhere.
    assert watch.masks[4][0][5].all() or not elsewhere.any()


def test_new_weights_start_from_zero_in_the_optimizer_too():
    model = net()
    seen = {}

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 4:
                [(layer, _, mask), _] = ks.parametrized(model)
                slots = [
                    ops.convert_to_numpy(v)
                    for v in model.optimizer.variables
                    if tuple(v.shape) == (30, 20)
                ]
                seen["w"] = ops.convert_to_numpy(mask.raw)
                seen["slots"], seen["mask"] = slots, watch.masks[4][0]

    watch = Watch()
    x, y = data()
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    move = ks.callbacks.DropAndGrow("set", sparsity=0.8, end=18, every=4)
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[move, watch, Look()])
    grown = watch.masks[4][0] & ~watch.masks[3][0]
    stayed = watch.masks[4][0] & watch.masks[3][0]
    assert grown.any() and len(seen["slots"]) == 2
    for value in [seen["w"], *seen["slots"]]:
        assert not value[grown].any()
        assert not value[~watch.masks[4][0]].any()
        assert value[stayed].any()


def test_masks_that_are_there_are_taken():
    model = net()
    rng = np.random.default_rng(1)
    for _, _, mask in ks.parametrized(model):
        mask.set_mask(rng.random(mask.mask.shape) < 0.5)
    before = [
        int(ops.convert_to_numpy(m.mask).sum())
        for _, _, m in ks.parametrized(model)
    ]
    fit(model, method="set")
    after = [
        int(ops.convert_to_numpy(m.mask).sum())
        for _, _, m in ks.parametrized(model)
    ]
    assert after == before


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "grow", "sparsity": 0.5, "end": 10},
        {"method": "rigl", "sparsity": 0.5, "end": 10},
        {"method": "set", "sparsity": 0.5, "end": 0},
        {"method": "set", "sparsity": 0.5, "end": 9, "fraction": 2},
        {"method": "set", "sparsity": 1.0, "end": 9},
    ],
)
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match="Expected.*Received"):
        ks.callbacks.DropAndGrow(**settings)
