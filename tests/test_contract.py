"""Every parametrization on every layer type."""

import keras
import numpy as np
import pytest

import keras_sparse as ks
from tests.contract import LAYERS, check_contract


def half_of_it(mask, rng):
    mask.set_mask(rng.random(mask.mask.shape) > 0.5)


def at_the_median(each, rng):
    each.set_threshold(np.median(np.abs(each.raw)), final=0.99)


def half_of_it_noise(gaussian, rng):
    shape = gaussian.log_sigma2.shape
    gaussian.log_sigma2.assign(np.where(rng.random(shape) > 0.5, 25.0, -15.0))


def half_of_the_gates(gate, rng):
    log_alpha = rng.choice([-3.0, 0.0, 1.0, 3.0], gate.log_alpha.shape)
    log_alpha.flat[0] = -3.0
    gate.log_alpha.assign(log_alpha)


PARAMETRIZATIONS = {
    "Mask": (lambda: ks.Mask(), half_of_it),
    "Mask straight-through": (
        lambda: ks.Mask(straight_through=True),
        half_of_it,
    ),
    "Mask of the gradient only": (
        lambda: ks.Mask(gradient_only=True),
        half_of_it,
    ),
    "Gaussian, local noise": (
        lambda: ks.Gaussian(
            log_sigma2=-15.0, sampling="local", train_size=1000
        ),
        half_of_it_noise,
    ),
    "Gaussian, sampled weights": (
        lambda: ks.Gaussian(
            log_sigma2=-15.0, sampling="weight", train_size=1000
        ),
        half_of_it_noise,
    ),
    "HardConcrete": (
        lambda: ks.HardConcrete(train_size=1000),
        half_of_the_gates,
    ),
    "HardConcrete, outputs": (
        lambda: ks.HardConcrete("outputs", weight_decay=1.0, train_size=1000),
        half_of_the_gates,
    ),
    "Feather": (lambda: ks.Feather(), at_the_median),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", PARAMETRIZATIONS)
def test_life_of_a_sparse_model(kind, layer, tmp_path):
    make, change = PARAMETRIZATIONS[kind]
    model = check_contract(LAYERS[layer], make(), change, tmp_path)
    zeros = sum((w == 0).sum() for w in model.get_weights() if np.ndim(w) > 1)
    assert zeros > 0


@pytest.mark.parametrize("kind", PARAMETRIZATIONS)
def test_config_round_trip(kind):
    made = PARAMETRIZATIONS[kind][0]()
    config = keras.saving.serialize_keras_object(made)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == made.get_config()


@pytest.mark.parametrize("kind", PARAMETRIZATIONS)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize(
    "layer", ["Dense", "Conv2D", "MultiHeadAttention", "GRU"]
)
def test_life_under_mixed_precision(kind, layer, policy, tmp_path):
    make, change = PARAMETRIZATIONS[kind]
    keras.config.set_dtype_policy(policy)
    try:
        check_contract(LAYERS[layer], make(), change, tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
