"""What GraSP, SynFlow and Wanda are told, by hand; and pruning with them."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_sparse as ks
from keras_sparse._selection import signals
from keras_sparse.pruning import masked_weights


def sparse(*stack, shape):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), *stack])
    ks.sparsify(model, ks.Mask(), verbose=False)
    return model, list(masked_weights(model).values())


def test_hessian_gradient_of_a_linear_model_by_hand():
    model, weights = sparse(layers.Dense(1, use_bias=False), shape=(2,))
    model.layers[0].kernel.assign([[1.0], [2.0]])
    model.compile("sgd", "mse")
    x, y = np.float32([[3.0, -1.0]]), np.float32([[2.0]])
    # L = (x w - y)^2 with x w - y = -1; g = 2 (-1) x, H = 2 x x^T, so
    # H g = 2 x (x . g) = 2 x (-2 * 10) = -40 x.
    [product] = signals.hessian_gradients(model, weights, (x, y))
    np.testing.assert_allclose(product, [[-120.0], [40.0]], rtol=1e-5)


def test_synaptic_flow_stays_in_the_range_of_floats():
    stack = [layers.Dense(256, use_bias=False) for _ in range(40)]
    model, weights = sparse(*stack, shape=(256,))
    flows = signals.synaptic_flow(model, weights)
    scores = [
        np.abs(ops.convert_to_numpy(each.raw)) * flow
        for (each, _), flow in zip(weights, flows, strict=True)
    ]
    # As much flows through every layer.
    sums = [each.sum(dtype=np.float64) for each in scores]
    assert 1e-3 < sums[0] < 1e6
    np.testing.assert_allclose(sums, sums[0], rtol=1e-3)


def test_synaptic_flow_needs_the_inputs_of_a_model():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.layer = layers.Dense(3)

        def call(self, x):
            return self.layer(x)

    model = Own()
    model(np.ones((1, 4)))
    with pytest.raises(ValueError, match="inputs are known.*snip"):
        ks.prune(model, 0.5, score=ks.scores.synflow)


def test_input_norms_do_not_overflow_in_float16():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, weights = sparse(layers.Dense(3), shape=(4,))
    finally:
        keras.config.set_dtype_policy("float32")
    x = np.full((2, 4), 1000, np.float32)
    [norms] = signals.input_norms(model, weights, (x,))
    np.testing.assert_allclose(norms, 1000 * np.sqrt(2), rtol=1e-3)


def test_hessian_gradient_against_differences():
    stack = [layers.Dense(6, "tanh"), layers.Dense(3)]
    model, weights = sparse(*stack, shape=(4,))
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 4)), rng.normal(size=(8, 3))
    products = signals.hessian_gradients(model, weights, (x, y))
    gradients = signals.weight_gradients(model, weights, (x, y))
    kernels = [each.raw for each, _ in weights]
    starts = [ops.convert_to_numpy(k) for k in kernels]

    def moved(step):
        for k, start, g in zip(kernels, starts, gradients, strict=True):
            k.assign(start + step * g)
        return signals.weight_gradients(model, weights, (x, y))

    ahead, behind = moved(0.02), moved(-0.02)
    for product, a, b in zip(products, ahead, behind, strict=True):
        np.testing.assert_allclose(product, (a - b) / 0.04, atol=2e-3)


def test_synaptic_flow_by_hand():
    stack = [layers.Dense(2), layers.Dense(1, use_bias=False)]
    model, weights = sparse(*stack, shape=(3,))
    first, second = weights
    first.each.raw.assign([[1.0, -2.0], [-3.0, 4.0], [5.0, 6.0]])
    second.each.raw.assign([[-7.0], [8.0]])
    flow = signals.synaptic_flow(model, weights)
    # dR/d|w1| is |w2| of the unit, dR/d|w2| the sum of its |w1|; both over
    # the mean sums of an output, (9 + 12) / 2 and 7 + 8.
    np.testing.assert_allclose(10.5 * 15 * flow[0], [[7, 8]] * 3, rtol=1e-6)
    np.testing.assert_allclose(10.5 * 15 * flow[1], [[9], [12]], rtol=1e-6)
    # Of a weight that is gone nothing flows through the other.
    second.mask.set_mask([[0], [1]])
    flow = signals.synaptic_flow(model, weights)
    np.testing.assert_allclose(10.5 * 8 * flow[0], [[0, 8]] * 3, rtol=1e-6)


def test_synaptic_flow_leaves_the_model_as_it_is():
    stack = [layers.Conv2D(3, 3), layers.BatchNormalization(), layers.Flatten()]
    model, weights = sparse(*stack, layers.Dense(2), shape=(5, 5, 1))
    before = model.get_weights()
    signals.synaptic_flow(model, weights)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_input_norms_of_a_dense_layer():
    model, weights = sparse(layers.Dense(2, "relu"), shape=(3,))
    x = np.float32([[1.0, 2.0, 0.0], [-2.0, 2.0, 0.0]])
    [norms] = signals.input_norms(model, weights, (x,))
    expected = np.sqrt([[5, 5], [8, 8], [0, 0]])
    np.testing.assert_allclose(norms, expected, rtol=1e-6)
    assert model.predict(x, verbose=0).shape == (2, 2)
    assert "call" not in vars(model.layers[0])


def test_input_norms_of_a_convolution_and_of_hidden_inputs():
    stack = [layers.Conv2D(2, 2, strides=2, activation="relu")]
    model, weights = sparse(
        *stack, layers.Flatten(), layers.Dense(3), shape=(4, 4, 2)
    )
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 2)).astype("float32")
    norms = signals.input_norms(model, weights, (x, None))
    patches = x.reshape(5, 2, 2, 2, 2, 2)  # n, i, di, j, dj, channel
    squares = np.sum(patches**2, axis=(0, 1, 3))
    for output in range(2):
        np.testing.assert_allclose(
            norms[0][..., output], np.sqrt(squares), rtol=1e-5
        )
    hidden = ops.convert_to_numpy(model.layers[0](x)).reshape(5, -1)
    for output in range(3):
        np.testing.assert_allclose(
            norms[1][:, output], np.sqrt(np.sum(hidden**2, 0)), rtol=1e-5
        )


def test_input_norms_need_linear_layers():
    model, weights = sparse(layers.GRU(3), shape=(4, 2))
    with pytest.raises(ValueError, match="dense or convolution.*exclude"):
        signals.input_norms(model, weights, (np.zeros((1, 4, 2)),))


def net():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((20,)), layers.Dense(30, "relu"), layers.Dense(5)]
    )
    model.compile("sgd", "mse")
    return model


def zeros(model):
    return [int((w == 0).sum()) for w in model.get_weights() if w.ndim > 1]


@pytest.mark.parametrize("score", [ks.scores.grasp, ks.scores.snip])
def test_prune_at_initialisation(score):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(16, 20)), rng.normal(size=(16, 5))
    model = ks.prune(
        net(), 0.8, score=score, allocation=ks.allocations.global_, data=data
    )
    assert sum(zeros(model)) == round(0.8 * 750)


def test_synflow_in_rounds_needs_no_data_and_cuts_no_layer_off():
    model = ks.prune(
        net(),
        0.97,
        score=ks.scores.synflow,
        allocation=ks.allocations.global_,
        rounds=50,
    )
    assert sum(zeros(model)) == round(0.97 * 750)
    first, second = (w != 0 for w in model.get_weights() if w.ndim > 1)
    # Every unit that hears something is heard, and the other way round.
    np.testing.assert_array_equal(first.any(axis=0), second.any(axis=1))


def test_wanda_keeps_what_hears_more():
    model = net()
    x = np.ones((4, 20), np.float32)
    x[:, :10] = 100.0
    pruned = ks.prune(
        model,
        0.5,
        score=ks.scores.wanda,
        pattern=ks.patterns.per_output,
        where=lambda layer: layer is model.layers[0],
        data=(x,),
    )
    kernel = pruned.get_weights()[0]
    assert (np.sum(kernel == 0, axis=0) == 10).all()
    assert np.mean(kernel[:10] == 0) < 0.1 < 0.9 < np.mean(kernel[10:] == 0)


def test_scores_that_need_data_say_so():
    with pytest.raises(ValueError, match="data"):
        ks.prune(net(), 0.5, score=ks.scores.wanda)
    with pytest.raises(ValueError, match="rounds"):
        ks.prune(net(), 0.5, rounds=0)
