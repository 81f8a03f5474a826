"""Bayesian weights: moments, loss, noise, and what stays as it was."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_sparse as ks
from tests.contract import LAYERS

LINEAR = (
    "Dense",
    "EinsumDense",
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Conv3DTranspose",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "TimeDistributed",
    "shared layer",
)
SAMPLED = ("SeparableConv2D", "Embedding", "GRU", "MultiHeadAttention")


def dense_model(units=3, features=4, **kwargs):
    model = keras.Sequential([keras.Input((features,)), layers.Dense(units)])
    kwargs = {"train_size": 100, **kwargs}
    return ks.sparsify(model, ks.Gaussian(**kwargs), verbose=False)


def only(model):
    [(layer, _, parametrization)] = ks.parametrized(model)
    return layer, parametrization


def bare(model):
    """Without activations, so that outputs are linear in the weights."""
    for layer in model._flatten_layers():
        if getattr(layer, "activation", None) is not None:
            layer.activation = keras.activations.linear
    return model


def inputs_for(model, copies, seed=0):
    rng = np.random.default_rng(seed)
    arrays = []
    for x in model.inputs:
        shape = x.shape[1:]
        if x.dtype.startswith("int"):
            one = rng.integers(0, 7, shape)
        else:
            one = rng.normal(size=shape).astype("float32")
        arrays.append(np.broadcast_to(one, (copies, *shape)))
    return arrays if len(arrays) > 1 else arrays[0]


def exact_moments(model, parametrizations, x):
    """Mean and variance of the outputs, from the response to each weight."""
    mean = np.asarray(model(x))[0]
    variance = np.zeros_like(mean)
    for each in parametrizations:
        raw = each.raw.numpy()
        sigma2 = np.exp(each.log_sigma2.numpy())
        for index in np.ndindex(raw.shape):
            bumped = raw.copy()
            bumped[index] += 1.0
            each.raw.assign(bumped)
            response = np.asarray(model(x))[0] - mean
            variance += sigma2[index] * response**2
        each.raw.assign(raw)
    return mean, variance


@pytest.mark.parametrize("name", LINEAR)
def test_moments_of_local_noise(name):
    """Against the exact variance, a sum over the response to each weight."""
    keras.utils.set_random_seed(3)
    model = bare(LAYERS[name]())
    ks.sparsify(
        model, ks.Gaussian(sampling="local", threshold=99.0, train_size=9)
    )
    rng = np.random.default_rng(4)
    each = [p for _, _, p in ks.parametrized(model)]
    for one in each:
        assert one.local
        one.log_sigma2.assign(rng.uniform(-4, -1, one.log_sigma2.shape))
    mean, variance = exact_moments(model, each, inputs_for(model, 1))
    if name == "shared layer":
        # Twice the same weight, but noise of its own at each use: the mean
        # field's approximation. So each use is exact by itself.
        a, b = inputs_for(model, 1)
        zero = np.zeros_like(a)
        variance = sum(
            exact_moments(model, each, pair)[1]
            for pair in ([a, zero], [zero, b])
        )
    copies = 20_000
    noisy = np.asarray(model(inputs_for(model, copies), training=True))
    error = np.sqrt(variance / copies)
    np.testing.assert_array_less(np.abs(noisy.mean(0) - mean), 6 * error + 1e-3)
    np.testing.assert_allclose(noisy.var(0), variance, rtol=0.07, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLED)
def test_other_layers_sample_their_weights(name):
    keras.utils.set_random_seed(3)
    model = ks.sparsify(
        LAYERS[name](), ks.Gaussian(sampling="local", train_size=9)
    )
    x = inputs_for(model, 2)
    each = [p for _, _, p in ks.parametrized(model)]
    for one in each:
        one.log_sigma2.assign(tf.fill(one.log_sigma2.shape, -3.0))
    first = np.asarray(model(x, training=True))
    assert not any(one.local for one in each)
    # One sample for the whole batch, another at the next call.
    np.testing.assert_allclose(first[0], first[1], rtol=1e-4, atol=1e-5)
    assert not np.allclose(first, model(x, training=True))


def test_weight_samples_have_the_posterior_moments():
    keras.utils.set_random_seed(0)
    layer, gaussian = only(dense_model(200, 200, sampling="weight"))
    gaussian.log_sigma2.assign(tf.fill((200, 200), -2.0))
    samples = gaussian(tf.convert_to_tensor(layer.kernel), training=True)
    noise = np.asarray(samples) - layer.kernel.numpy()
    assert noise.mean() == pytest.approx(0.0, abs=0.01)
    assert noise.var() == pytest.approx(np.exp(-2.0), rel=0.03)


def test_auto_is_local_where_a_weight_meets_each_input_once():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    ks.sparsify(model, ks.Gaussian())
    assert [p.local for _, _, p in ks.parametrized(model)] == [False, True]


def test_a_subclass_with_a_call_of_its_own_samples_weights():
    model = ks.sparsify(LAYERS["user's subclass"](), ks.Gaussian())
    assert not only(model)[1].local


def test_the_activation_comes_after_the_noise():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(50, activation="relu")]
    )
    ks.sparsify(model, ks.Gaussian(log_sigma2=0.0, train_size=9))
    outputs = np.asarray(model(np.ones((200, 4)), training=True))
    assert outputs.min() == 0.0
    assert outputs.max() > 1.0


def test_the_divergence_enters_the_loss_once_and_per_example():
    keras.utils.set_random_seed(0)
    shared = layers.Dense(4)
    x = keras.Input((4,))
    model = keras.Model(x, shared(shared(x)))
    ks.sparsify(model, ks.Gaussian(train_size=500))
    _, gaussian = only(model)
    model(np.ones((2, 4)), training=True)
    [loss] = model.losses
    posterior = gaussian.posterior
    kl = 0.5 * np.log1p((posterior.loc / posterior.scale) ** 2).sum()
    assert float(loss) == pytest.approx(kl / 500, rel=1e-5)
    assert float(gaussian.nats()) == pytest.approx(kl, rel=1e-5)
    gaussian.kl_weight = 3.0
    assert float(model.losses[0]) == pytest.approx(3 * kl / 500, rel=1e-5)
    gaussian.kl_weight = 1.0
    gaussian.beta.assign(0.25)
    assert float(model.losses[0]) == pytest.approx(0.25 * kl / 500, rel=1e-5)


def test_posterior_and_prior_follow_the_variables():
    layer, gaussian = only(dense_model())
    np.testing.assert_array_equal(gaussian.posterior.loc, layer.kernel)
    assert float(gaussian.posterior.variance()[0, 0]) == pytest.approx(
        np.exp(-10.0)
    )
    gaussian.log_sigma2.assign(tf.fill((4, 3), 0.0))
    layer._kernel.assign(tf.fill((4, 3), 2.0))
    assert float(gaussian.posterior.mean()[0, 0]) == 2.0
    assert float(gaussian.prior.variance()[0, 0]) == pytest.approx(5.0)
    assert gaussian.posterior.sample(7, seed=(1, 2)).shape == (7, 4, 3)


def test_gradients_reach_means_and_variances():
    model = dense_model(train_size=10)
    layer, gaussian = only(model)
    with tf.GradientTape() as tape:
        outputs = model(np.ones((8, 4), "float32"), training=True)
        loss = tf.reduce_sum(outputs**2) + sum(model.losses)
    gradients = tape.gradient(loss, [layer.kernel.value, gaussian.log_sigma2])
    assert all(np.abs(np.asarray(g)).min() > 0 for g in gradients)


def test_inputs_by_keyword():
    model = dense_model(log_sigma2=-1.0)
    noisy = model.layers[0](inputs=np.ones((2, 4), "float32"), training=True)
    assert not np.allclose(noisy[0], noisy[1])


def test_evaluation_drops_noise_and_what_is_only_noise():
    layer, gaussian = only(model := dense_model())
    layer._kernel.assign(tf.fill((4, 3), 0.5))
    log_sigma2 = np.full((4, 3), 2 * np.log(0.5), "float32")
    log_sigma2[0] += 2.9
    log_sigma2[1] += 3.1
    gaussian.log_sigma2.assign(log_sigma2)
    np.testing.assert_allclose(
        gaussian.log_alpha(tf.convert_to_tensor(layer.kernel))[:, 0],
        [2.9, 3.1, 0.0, 0.0],
        atol=1e-5,
    )
    np.testing.assert_allclose(model(np.eye(4))[:, 0], [0.5, 0.0, 0.5, 0.5])
    with pytest.warns(UserWarning, match="compile"):
        model.compile("sgd", "mse")
        ks.strip(model)
    assert (model.layers[0].kernel.numpy() == 0).sum() == 3


def test_a_weight_of_zero_is_never_kept():
    layer, gaussian = only(dense_model(log_sigma2=-15.0))
    layer._kernel.assign(tf.zeros((4, 3)))
    assert not np.asarray(gaussian.finalize(layer.kernel)).any()
    assert np.isfinite(gaussian.log_alpha(layer.kernel.value)).all()


def test_a_frozen_layer_draws_no_noise_and_pays_nothing():
    model = dense_model(log_sigma2=-1.0, train_size=10)
    x = np.ones((3, 4), "float32")
    assert not np.allclose(model(x, training=True), model(x))
    model.layers[0].trainable = False
    np.testing.assert_array_equal(model(x, training=True), model(x))
    assert not model.losses
    model.layers[0].trainable = True
    assert len(model.losses) == 1


def test_seeds_repeat_a_run():
    def run():
        keras.utils.set_random_seed(7)
        model = dense_model(log_sigma2=-2.0, train_size=10)
        model.compile("adam", "mse")
        model.fit(np.ones((16, 4)), np.ones((16, 3)), verbose=0, batch_size=4)
        return model.get_weights()

    for a, b in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_weights_with_one_seed_draw_different_noise():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4), layers.Dense(4)]
    )
    ks.sparsify(model, ks.Gaussian(seed=5))
    first, second = (
        np.asarray(p.normal((50,))) for _, _, p in ks.parametrized(model)
    )
    assert not np.allclose(first, second)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_variances_stay_in_full_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = dense_model(30, 30, log_sigma2=-14.0, train_size=10)
    finally:
        keras.config.set_dtype_policy("float32")
    layer, gaussian = only(model)
    layer._kernel.assign(tf.zeros((30, 30)))
    noisy = np.asarray(model(np.ones((3000, 30)), training=True), "float32")
    assert noisy.var() == pytest.approx(30 * np.exp(-14.0), rel=0.05)
    assert gaussian.log_sigma2.dtype == "float32"
    assert model.losses[0].dtype == "float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampling": "global"}, "'local'"),
        ({"train_size": 0}, "train_size"),
        ({"kl_weight": 0.0}, "kl_weight"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ks.Gaussian(**arguments)
