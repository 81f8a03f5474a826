"""Group lasso and network slimming: proximal steps by hand, then training."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks
from keras_sparse.callbacks import GroupLasso, NetworkSlimming
from keras_sparse.callbacks.proximal_step import Part, ProximalStep, UnitNorms
from tests.structured_models import arrays, functional, same


def variable(value):
    return keras.Variable(np.array(value, "float32"))


def test_a_step_by_hand():
    kernel = variable([[3.0, 0.6, 0.0], [0.0, 0.6, 0.0]])
    bias = variable([4.0, 0.0, 0.0])
    units = UnitNorms(
        3, [Part(kernel, 1, np.arange(3)), Part(bias, 0, np.arange(3))]
    )
    assert units.entries.tolist() == [3, 3, 3]
    np.testing.assert_allclose(units.norms(), [5, np.sqrt(0.72), 0])
    units.shrink(1 / np.sqrt(3))  # every norm by 1
    np.testing.assert_allclose(kernel, [[3 * 0.8, 0, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(bias, [4 * 0.8, 0, 0], rtol=1e-6)


def test_units_in_another_order_and_entries_of_others():
    kernel, other = variable(np.eye(4)), variable([6.0, 8.0])
    units = UnitNorms(
        2,
        [
            Part(kernel, 0, np.array([1, -1, 0, 0])),
            Part(other, 0, np.array([1, 0])),
        ],
    )
    assert units.entries.tolist() == [9, 5]
    np.testing.assert_allclose(units.norms(), np.sqrt([66, 37]), rtol=1e-6)
    units.shrink(0.5)
    factors = 1 - 0.5 * np.sqrt([9, 5]) / np.sqrt([66, 37])
    expected = [factors[1], 1, factors[0], factors[0]]
    np.testing.assert_allclose(kernel, np.diag(expected), rtol=1e-6)
    np.testing.assert_allclose(other, factors[::-1] * [6, 8], rtol=1e-6)


def one_step(optimizer, strength, **arguments):
    """A model before and after one step whose loss has no gradient."""
    keras.utils.set_random_seed(0)
    model = functional(
        (4,),
        lambda x: layers.Dense(2, name="end")(
            layers.ReLU()(
                layers.BatchNormalization()(layers.Dense(3, name="a")(x))
            )
        ),
    )
    before = model.get_weights()
    model.compile(optimizer, lambda y, p: 0.0 * keras.ops.sum(p), **arguments)
    callback = GroupLasso(strength)
    model.fit(
        *(arrays(8, 4), np.zeros((8, 2))),
        batch_size=2,
        epochs=1,
        verbose=0,
        callbacks=[callback],
    )
    return before, model


@pytest.mark.parametrize(
    "optimizer, arguments",
    [
        (keras.optimizers.SGD(0.05), {}),
        (keras.optimizers.SGD(0.05), {"steps_per_execution": 3}),
        (keras.optimizers.SGD(0.05), {"jit_compile": True}),
        (
            keras.optimizers.SGD(0.05, gradient_accumulation_steps=2),
            {"run_eagerly": False},
        ),
        (
            keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05)),
            {},
        ),
    ],
)
def test_four_steps_of_fit(optimizer, arguments):
    before, model = one_step(optimizer, 1.0, **arguments)
    kernel, bias, gamma, beta = before[:4]
    p = 4 + 1 + 1 + 1
    norm = np.sqrt(np.square(kernel).sum(0) + gamma**2)
    accumulated = optimizer.gradient_accumulation_steps or 1
    factor = 1 - 4 / accumulated * 0.05 * np.sqrt(p) / norm
    assert (factor > 0.1).all()
    for old, new in zip(before[:4], model.get_weights()[:4], strict=True):
        np.testing.assert_allclose(new, old * factor, rtol=1e-4)
    # The output layer is not a group, and its rows are no part of one.
    np.testing.assert_array_equal(
        model.get_layer("end").get_weights()[0], before[-2]
    )
    # Nothing of it is left behind.
    assert all(v.constraint is None for v in model.trainable_variables)
    middle = model.get_weights()
    model.fit(arrays(8, 4), np.zeros((8, 2)), verbose=0)
    np.testing.assert_array_equal(middle[0], model.get_weights()[0])


def test_constraints_of_the_user_stay():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, kernel_constraint="non_neg"),
            layers.Dense(2),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), "mse")
    constraint = model.layers[0].kernel.constraint

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            assert isinstance(
                self.model.layers[0].kernel.constraint, ProximalStep
            )
            raise KeyboardInterrupt

    x, y = arrays(8, 4), np.zeros((8, 2))
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, verbose=0, callbacks=[GroupLasso(), Interrupt()])
    assert (model.layers[0].get_weights()[0] >= 0).all()
    model.fit(x, y, verbose=0, callbacks=[GroupLasso()])
    assert model.layers[0].kernel.constraint is constraint


def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images[..., None] / 16).astype("float32"), data.target


def convolutional():
    keras.utils.set_random_seed(0)

    def body(x):
        x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        y = layers.Conv2D(16, 3, padding="same")(x)
        x = layers.ReLU()(layers.Add()([x, y]))
        x = layers.MaxPooling2D()(x)
        x = layers.Dense(32, "relu", name="hidden")(layers.Flatten()(x))
        return layers.Dense(10)(x)

    model = functional((8, 8, 1), body)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    return model


def test_group_lasso_on_digits():
    x, y = digits()
    model = convolutional()
    history = model.fit(
        *(x, y), epochs=6, verbose=0, callbacks=[GroupLasso(0.15)]
    ).history
    assert model.evaluate(x, y, verbose=0)[1] > 0.9
    small = ks.structured.shrink(model)
    same(model, small, x[:64], atol=1e-4)
    left = small.layers[1].filters + small.get_layer("hidden").units
    assert left < 40
    # Units of the last epoch's end are what shrink cuts.
    assert left == 48 - history["zero_units"][-1]


def test_network_slimming():
    x, y = digits()
    model = convolutional()
    norm = model.layers[2]
    kernels = model.layers[1].get_weights()[0]
    model.fit(x, y, epochs=6, verbose=0, callbacks=[NetworkSlimming(1.6)])
    gamma = np.abs(norm.get_weights()[0])
    assert 0 < np.count_nonzero(gamma) < 16
    assert (model.layers[1].get_weights()[0] != kernels).all()
    assert model.evaluate(x, y, verbose=0)[1] > 0.9
    small = ks.structured.shrink(
        model, 0.3, importance="batchnorm", scope="global"
    )
    assert small.layers[1].filters < 16


def test_a_soft_threshold_of_gamma():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3),
            layers.BatchNormalization(),
            layers.Dense(2),
        ]
    )
    norm = model.layers[1]
    norm.gamma.assign([0.5, -0.25, 0.05])
    model.compile(
        keras.optimizers.SGD(0.1), lambda y, p: 0.0 * keras.ops.sum(p)
    )
    callback = NetworkSlimming(1.0)
    model.fit(arrays(4, 4), np.zeros((4, 2)), verbose=0, callbacks=[callback])
    np.testing.assert_allclose(norm.gamma, [0.4, -0.15, 0], atol=1e-7)


def test_refusals():
    with pytest.raises(ValueError, match="`strength` above 0"):
        GroupLasso(0.0)
    x, y = arrays(4, 4), np.zeros((4, 2))
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="GroupLasso to close.*0 groups"):
        model.fit(x, y, verbose=0, callbacks=[GroupLasso()])
    model = functional((4,), lambda x: layers.Dense(2)(layers.Dense(3)(x)))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="NetworkSlimming to close.*1 groups"):
        model.fit(x, y, verbose=0, callbacks=[NetworkSlimming()])
    model.layers[1].trainable = False
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="GroupLasso"):
        model.fit(x, y, verbose=0, callbacks=[GroupLasso()])


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


def test_two_callbacks_add_up_and_an_interrupted_one_ends_with_compile():
    data = (arrays(8, 4), np.zeros((8, 2)))

    def fitted(*callbacks):
        keras.utils.set_random_seed(0)
        model = functional(
            (4,),
            lambda x: layers.Dense(2, name="end")(
                layers.Dense(3, "relu", name="a")(x)
            ),
        )
        before = model.get_weights()
        model.compile("sgd", lambda y, p: 0.0 * keras.ops.sum(p))
        model.fit(*data, batch_size=8, verbose=0, callbacks=[*callbacks])
        return before[0], model.get_weights()[0], model

    old, small, _ = fitted(GroupLasso(1.0))
    _, smaller, _ = fitted(GroupLasso(1.0), GroupLasso(1.0))
    norms, both = (np.sqrt(np.square(w).sum(0)) for w in (old, smaller))
    once = np.sqrt(np.square(small).sum(0))
    np.testing.assert_allclose(norms - both, 2 * (norms - once), rtol=1e-4)

    model = fitted()[2]
    before = model.get_weights()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data, verbose=0, callbacks=[GroupLasso(1.0), Interrupt()])
    model.set_weights(before)
    model.compile("sgd", lambda y, p: 0.0 * keras.ops.sum(p))
    model.fit(*data, epochs=3, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
