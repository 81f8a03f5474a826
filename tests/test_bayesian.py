"""What a model with posteriors can be asked, and random labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_sparse as ks
from keras_sparse.bayesian.bit_widths import BitWidth


def regression(kernel, log_alpha, **kwargs):
    """One Dense layer without bias, with given means and log alpha."""
    kernel = np.asarray(kernel, "float32")
    model = keras.Sequential(
        [keras.Input((len(kernel),)), layers.Dense(1, use_bias=False)]
    )
    ks.sparsify(model, ks.Gaussian(**kwargs), verbose=False)
    layer, _, gaussian = next(ks.parametrized(model))
    layer._kernel.assign(kernel[:, None])
    log_sigma2 = np.asarray(log_alpha) + np.log(kernel**2)
    gaussian.log_sigma2.assign(log_sigma2[:, None].astype("float32"))
    model.compile("sgd", "mse")
    return model, gaussian


# Weights 1, 0.1 and 2 with log alpha 4, 1 and -5; the label is 2 x3 + 0.1 x2.
X = np.eye(3, dtype="float32")
Y = np.array([[0.0], [0.1], [2.0]], "float32")


def test_the_lowest_threshold_that_data_allows():
    model, gaussian = regression([1.0, 0.1, 2.0], [4.0, 1.0, -5.0])
    # Nothing cut: error 1/3; from 3.5 on only noise is cut: 0; from 0.5 on
    # the second as well: 0.01 / 3; from -5.5 on all.
    sweep = ks.choose_threshold(
        model, (X, Y), max_drop=0.0, thresholds=[5, 3.5, 0.5, -6]
    )
    assert sweep.metric == "loss"
    assert sweep.baseline == pytest.approx(1 / 3)
    assert sweep.values == pytest.approx([1 / 3, 0, 0.01 / 3, 4.01 / 3])
    assert sweep.sparsities == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert sweep.threshold == 0.5
    assert float(gaussian.threshold.numpy()) == 0.5
    assert "<- chosen" in str(sweep).splitlines()[3]
    assert len(sweep.plot().axes) == 2


def test_the_default_thresholds_begin_above_weights_that_matter():
    model, gaussian = regression([1.0, 2.0], [9.0, 14.0])
    x, y = X[:2, :2], np.array([[1.0], [2.0]], "float32")
    assert ks.choose_threshold(model, (x, y), max_drop=0.0).threshold == 16.0
    assert ks.choose_threshold(model, (x, y), max_drop=2.1).threshold == 10.0
    assert float(gaussian.threshold.numpy()) == 10.0


def rank_of_the_sum(y, prediction):
    return keras.ops.mean(y + prediction)


def test_which_way_is_better():
    model, _ = regression([1.0, 0.1, 2.0], [4.0, 1.0, -5.0])
    model.compile("sgd", "mse", metrics=["mae", rank_of_the_sum])
    sweep = ks.choose_threshold(
        model, (X, Y), metric="mae", max_drop=0.01, thresholds=[3.5, -6]
    )
    assert sweep.threshold == 3.5
    with pytest.raises(ValueError, match="mode='max'"):
        ks.choose_threshold(model, (X, Y), metric="rank_of_the_sum")


def test_a_data_set_and_a_drop():
    model, _ = regression([1.0, 0.1, 2.0], [4.0, 1.0, -5.0])
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(2)
    sweep = ks.choose_threshold(
        model, data, max_drop=2.0, thresholds=[5, 0.5, -6]
    )
    assert sweep.threshold == -6


def test_threshold_errors_leave_thresholds_alone():
    model, gaussian = regression([1.0, 2.0], [4.0, -5.0])
    x, y = X[:2, :2], np.array([[1.0], [2.0]], "float32")
    with pytest.raises(ValueError, match="larger `max_drop`"):
        ks.choose_threshold(model, (x, y), max_drop=0.1, thresholds=[1.0])
    with pytest.raises(ValueError, match="one of"):
        ks.choose_threshold(model, (x, y), metric="accuracy")
    with pytest.raises(ValueError, match="at least one threshold"):
        ks.choose_threshold(model, (x, y), thresholds=[])
    with pytest.raises(ValueError, match="'auto'"):
        ks.choose_threshold(model, (x, y), mode="up")
    assert float(gaussian.threshold.numpy()) == 3.0
    model.compiled = False
    with pytest.raises(ValueError, match="compiled"):
        ks.choose_threshold(model, (x, y))
    plain = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    with pytest.raises(ValueError, match="Bayesian weights"):
        ks.choose_threshold(plain, (x, y))


@pytest.mark.parametrize("sampling", ["local", "weight"])
def test_predictive_spread_is_the_posterior_one(sampling):
    model, _ = regression([1.0, 2.0], [0.0, -2.0], sampling=sampling)
    before = model.predict(X[:2, :2], verbose=0)
    samples = ks.predict_samples(model, X[:2, :2], n=2000)
    assert samples.shape == (2000, 2, 1)
    deviation = [1.0, 2.0 * np.exp(-1.0)]
    np.testing.assert_allclose(samples.std(0)[:, 0], deviation, rtol=0.07)
    np.testing.assert_allclose(samples.mean(0)[:, 0], [1.0, 2.0], atol=0.08)
    # Plain predictions stay without noise.
    np.testing.assert_array_equal(model.predict(X[:2, :2], verbose=0), before)


def test_predictive_samples_leave_the_rest_in_evaluation():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3),
            layers.BatchNormalization(),
            layers.Dropout(0.9),
        ]
    )
    ks.sparsify(model, ks.Gaussian(log_sigma2=-60.0), verbose=False)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    samples = ks.predict_samples(model, x, n=2)
    np.testing.assert_allclose(
        samples[0], model.predict(x, verbose=0), atol=1e-6
    )
    np.testing.assert_allclose(samples[0], samples[1], atol=1e-6)
    with pytest.raises(ValueError, match="at least 1"):
        ks.predict_samples(model, x, n=0)


def test_predictive_samples_of_stochastic_layers():
    model = keras.Sequential(
        [keras.Input((2,)), ks.layers.LogNormalDropout(train_size=10)]
    )
    model.layers[0].log_sigma.assign([-1.0, -5.0])
    samples = ks.predict_samples(model, X[:2, :2], n=400)
    assert samples[:, 0, 0].std() > 5 * samples[:, 1, 1].std() > 0
    plain = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    with pytest.raises(ValueError, match="before"):
        ks.predict_samples(plain, X[:2, :2])


def test_bit_widths_by_hand():
    # Kept: 0.75 and 1.5. 2 variance = 1.5 x 2^-9 is below 2^-k for k up to 8,
    # and 1.5 x 2^-5 for k up to 4: (8 + 4) / 2 = 6 bits. The
    # largest weight asks for ceil(log2(log2(1.5) + 1) + 1) = 2 exponent bits.
    means = np.array([0.75, 1.5, 0.01])
    variances = np.array([1.5 * 2.0**-10, 1.5 * 2.0**-6, 1.0])
    model, _ = regression(means, np.log(variances / means**2))
    [width] = ks.bit_widths(model).values()
    assert width == BitWidth(significand=6, exponent=2, nonzeros=2)
    assert width.total == 9


def test_bit_widths_of_small_weights_and_of_none():
    model, gaussian = regression([0.1, 0.2], [-4.0, -4.0])
    [width] = ks.bit_widths(model).values()
    assert (width.exponent, width.nonzeros) == (1, 2)
    gaussian.threshold.assign(-9.0)
    [width] = ks.bit_widths(model).values()
    assert width == BitWidth(significand=0, exponent=1, nonzeros=0)


def test_histograms_of_log_alpha():
    model, _ = regression([1.0, 0.1, 2.0], [4.0, 1.0, -5.0])
    figure = ks.plot_log_alpha(model, bins=5)
    assert "33.3% zero" in figure.axes[0].get_title()


def two_hidden_layers_of_one_path():
    def branch(name):
        x = keras.Input((4,))
        return keras.Model(x, layers.Dense(4, name="hidden")(x), name=name)

    x = keras.Input((4,))
    total = layers.Add()([branch("left")(x), branch("right")(x)])
    return keras.Model(x, total)


def test_weights_that_share_a_path_are_all_there():
    model = two_hidden_layers_of_one_path()
    ks.sparsify(model, ks.Gaussian(), verbose=False)
    paths = list(ks.bit_widths(model))
    assert len(paths) == 2
    assert paths[1] == f"{paths[0]}#2"
    assert (
        len([a for a in ks.plot_log_alpha(model).axes if a.get_visible()]) == 2
    )
    model.compile("sgd", "mse")
    sweep = ks.choose_threshold(
        model, (np.ones((8, 4)),) * 2, max_drop=1e9, thresholds=[-99.0]
    )
    assert sweep.sparsities == (1.0,)
    found = [p.threshold.numpy() for _, _, p in ks.parametrized(model)]
    assert found == [-99.0, -99.0]


def test_other_parametrizations_do_not_count_as_bayesian():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4), layers.Dense(1)]
    )
    chosen = iter([ks.Mask(), ks.Gaussian()])
    ks.sparsify(model, lambda layer, slot: next(chosen), verbose=False)
    model.compile("sgd", "mse")
    sweep = ks.choose_threshold(
        model, (np.ones((8, 4)), np.ones(8)), max_drop=1e9, thresholds=[-99.0]
    )
    assert sweep.sparsities == (1.0,)


def test_the_default_metric_is_the_first_compiled_one():
    x = keras.Input((4,))
    heads = {name: layers.Dense(2, name=name)(x) for name in ("z", "b")}
    model = keras.Model(x, heads)
    ks.sparsify(model, ks.Gaussian(), verbose=False)
    data = np.ones((8, 4)), {name: np.ones((8, 2)) for name in heads}

    def default(**kwargs):
        model.compile("sgd", {"z": "mse", "b": "mse"}, **kwargs)
        return ks.choose_threshold(model, data, max_drop=9.0).metric

    assert default() == "loss"
    assert default(metrics={"z": ["mse", "mae"]}) == "z_mse"
    plain, _ = regression([1.0, 2.0], [4.0, -5.0])
    plain.compile("sgd", "mae", metrics=["mse", "mae"])
    x, y = X[:2, :2], np.ones((2, 1))
    assert ks.choose_threshold(plain, (x, y), max_drop=9.0).metric == "mse"


def test_the_share_of_zeros_has_no_limit():
    model, gaussian = regression([1.0, 2.0], [18.0, 25.0])
    gaussian.threshold.assign(20.0)
    assert "50.0% zero" in ks.plot_log_alpha(model).axes[0].get_title()


def test_random_labels_leave_next_to_nothing():
    """There is nothing to learn, so weights are noise."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 49)).astype("float32")
    y = rng.integers(0, 10, 20_000)
    model = keras.Sequential(
        [keras.Input((49,)), layers.Dense(32, "relu"), layers.Dense(10)]
    )
    prior = ks.priors.LogUniform()
    ks.sparsify(model, ks.Gaussian(prior, log_sigma2=-6.0), verbose=False)
    steps = 25 * 20_000 // 128
    rate = keras.optimizers.schedules.PolynomialDecay(5e-3, steps, 0.0)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=16,
    )
    logs = model.fit(
        x,
        y,
        batch_size=128,
        epochs=25,
        verbose=0,
        callbacks=[
            ks.callbacks.Anneal(begin=0, end=steps // 3),
            ks.callbacks.SparsityLogger(),
        ],
    ).history
    assert logs["sparsity"][-1] > 0.95
    assert logs["accuracy"][-1] < 0.13
