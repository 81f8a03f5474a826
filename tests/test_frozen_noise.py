"""Frozen layers with noise: saved, loaded, cloned, unfrozen, predicted with."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse as ks

STOCHASTIC = (
    ks.layers.LogNormalDropout,
    ks.layers.InformationBottleneck,
    ks.layers.GeneralizedDropout,
)


def sparse_model(parametrization):
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3), layers.Dense(2)]
    )
    return ks.sparsify(model, parametrization, verbose=False)


def reloaded(model, folder):
    ks.save(model, folder / "m.keras")
    return keras.saving.load_model(folder / "m.keras")


@pytest.mark.parametrize("layer_class", STOCHASTIC)
def test_a_frozen_stochastic_layer_comes_back(layer_class, tmp_path):
    arguments = {"train_size": 9}
    if layer_class is ks.layers.GeneralizedDropout:
        arguments |= {"alpha": 0.5, "beta": 0.9, "initial": 0.75}
    model = keras.Sequential(
        [keras.Input((4,)), layer_class(trainable=False, **arguments)]
    )
    for each in (
        model,
        reloaded(model, tmp_path),
        keras.models.clone_model(model),
    ):
        assert each.losses == []
        each.layers[0].trainable = True
        assert len(each.losses) == 1
        expected = float(each.layers[0].nats()) / 9
        assert float(each.losses[0]) == pytest.approx(expected)


@pytest.mark.parametrize("make", [ks.Gaussian, ks.HardConcrete])
def test_a_weight_that_was_frozen_pays_when_it_is_trained(make, tmp_path):
    model = sparse_model(make(train_size=10))
    model.layers[0].trainable = False
    assert len(model.losses) == 1
    loaded = reloaded(model, tmp_path)
    clone = keras.models.clone_model(model)
    model.trainable = False
    all_frozen = reloaded(model, tmp_path)
    assert all_frozen.losses == []
    for each in (loaded, clone, all_frozen):
        each.trainable = True
        for layer in each.layers:
            layer.trainable = True
        nats = [float(p.nats()) for _, _, p in ks.parametrized(each)]
        found = sum(float(x) for x in each.losses)
        assert found == pytest.approx(sum(nats) / 10)
        assert len(each.losses) == 2


@pytest.mark.parametrize("sampling", ["local", "weight"])
def test_predictions_of_a_frozen_model_show_the_posterior(sampling):
    model = sparse_model(ks.Gaussian(log_sigma2=-1.0, sampling=sampling))
    model.trainable = False
    x = np.ones((5, 4), "float32")
    spread = ks.predict_samples(model, x, n=20).std(0)
    assert spread.min() > 0.1
    np.testing.assert_array_equal(model(x, training=True), model(x))


@pytest.mark.parametrize("floatx", ["float64", "float16"])
@pytest.mark.parametrize("make", [ks.Gaussian, ks.HardConcrete])
def test_the_penalty_adds_up_with_the_loss(make, floatx):
    before = keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        model = keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(3, kernel_regularizer="l2"),
                ks.layers.LogNormalDropout(train_size=8),
            ]
        )
        ks.sparsify(model, make(train_size=8), verbose=False)
        model.compile("sgd", "mse")
        loss = model.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
        assert np.isfinite(loss.history["loss"]).all()
    finally:
        keras.config.set_floatx(before)
