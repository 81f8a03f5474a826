"""`Mask(gradient_only=True)`: equal to a mask, without its forward pass."""

import keras
import numpy as np
import pytest

import keras_sparse as ks
from tests.small_trainings import (
    assert_ends_sparse,
    assert_same,
    compiled,
    fit,
    masks,
    prune,
)

ONLY = {"gradient_only": True}


def several():
    """One optimizer for the first kernel, another for the second."""
    parts = keras.optimizers.SGD(0.01, momentum=0.9), keras.optimizers.Adagrad()

    def choose(variable):
        return parts[variable.shape[-1] == 2]

    return keras.optimizers.MultiOptimizer(choose)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(amsgrad=True),
    "adamw": lambda: keras.optimizers.AdamW(weight_decay=0.1),
    "accumulated": lambda: keras.optimizers.Adam(gradient_accumulation_steps=2),
    "averaged": lambda: keras.optimizers.Adam(
        use_ema=True, ema_overwrite_frequency=5
    ),
    "clipped": lambda: keras.optimizers.Adam(global_clipnorm=0.1),
    "nadam": keras.optimizers.Nadam,
    "adamax": keras.optimizers.Adamax,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "adafactor": keras.optimizers.Adafactor,
    "rmsprop": lambda: keras.optimizers.RMSprop(centered=True, momentum=0.9),
    "ftrl": lambda: keras.optimizers.Ftrl(l1_regularization_strength=0.01),
    "lion": keras.optimizers.Lion,
    "lamb": keras.optimizers.Lamb,
    "loss scaled": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam()
    ),
}
if hasattr(keras.optimizers, "ScheduleFreeAdamW"):
    OPTIMIZERS["schedule free"] = keras.optimizers.ScheduleFreeAdamW
if hasattr(keras.optimizers, "MultiOptimizer"):
    OPTIMIZERS["several"] = several


def zeros_outside(model):
    """Whether what the masks close is zero in the weights themselves."""
    kernels = [model.layers[0].kernel, model.layers[3].kernel]
    return [
        not np.any(np.array(kernel.value)[mask == 0])
        for kernel, mask in zip(kernels, masks(model), strict=True)
    ]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_trains_to_the_same_bits_as_a_mask(optimizer):
    model, expected = (
        compiled(OPTIMIZERS[optimizer](), mask, jit_compile=False)
        for mask in (ONLY, {})
    )
    for each in (model, expected):
        fit(each, prune(), epochs=6)
    assert zeros_outside(model) == [True, True]
    assert_same(model, expected)
    assert_ends_sparse(model)


def test_large_weights_train_to_the_same_bits():
    x, y = np.random.default_rng(0).normal(size=(2, 32, 512)).astype("float32")
    results = []
    for gradient_only in (True, False):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((512,)), keras.layers.Dense(512)])
        mask = ks.Mask(gradient_only=gradient_only)
        ks.sparsify(model, mask, verbose=False)
        model.compile("adam", "mse", jit_compile=False)
        callback = ks.callbacks.Prune(ks.schedules.Polynomial(0.9, 1, 12))
        fit = {"batch_size": 8, "epochs": 4, "shuffle": False, "verbose": 0}
        model.fit(x, y, callbacks=[callback], **fit)
        results.append(ks.strip(model).get_weights())
    for found, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert np.count_nonzero(results[0][0]) == round(0.1 * 512 * 512)


def test_an_optimizer_that_moves_zeros_is_stopped():
    model = compiled(keras.optimizers.Muon(adam_beta_1=0.9), ONLY)
    with pytest.raises(ValueError, match=r"stay zero.*Muon.*plain `Mask"):
        fit(model, prune())


def test_a_regularizer_that_moves_zeros_is_stopped():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(20, kernel_regularizer="orthogonal_regularizer"),
            keras.layers.Dense(2),
        ]
    )
    ks.sparsify(model, ks.Mask(**ONLY), verbose=False)
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="stay zero"):
        fit(model, prune())


def test_zeros_that_move_after_the_last_update_are_found():
    model = compiled(mask=ONLY)
    fit(model, prune())

    class Moves(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kernel = self.model.layers[0].kernel
            kernel.assign(np.ones(kernel.shape))

    with pytest.raises(ValueError, match="stay zero"):
        fit(model, prune(), Moves(), epochs=1)


def test_dense_weights_that_were_loaded_are_cleared():
    model = compiled(mask=ONLY)
    fit(model, prune())
    for layer in (model.layers[0], model.layers[3]):
        layer.kernel.assign(np.ones(layer.kernel.shape))
    fit(model, prune(), epochs=1)
    assert_ends_sparse(model)


def test_a_mask_that_is_set_clears_the_weight():
    layer = keras.layers.Dense(1, kernel_initializer="ones")
    layer.build((None, 3))
    ks.sparsify(layer, ks.Mask(gradient_only=True))
    next(ks.parametrized(layer))[2].set_mask([[1], [0], [1]])
    x = np.array([[1.0, 2.0, 4.0]])
    assert float(layer(x, training=True)[0, 0]) == 5.0
    assert float(layer(x, training=False)[0, 0]) == 5.0
    assert np.array(layer.kernel.value).ravel().tolist() == [1.0, 0.0, 1.0]


def test_pruned_weights_stay_zero_in_fine_tuning():
    model = compiled()
    ks.strip(model)
    ks.prune(model, 0.75)
    ks.sparsify(model, ks.Mask(keep_zeros=True, **ONLY), verbose=False)
    model.compile("adam", "mse")
    fit(model)
    assert zeros_outside(model) == [True, True]
    assert_ends_sparse(model)


def test_both_ways_of_the_gradient_are_refused():
    with pytest.raises(ValueError, match="gradient_only=True"):
        ks.Mask(straight_through=True, gradient_only=True)
