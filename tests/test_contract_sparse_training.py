"""The contract for methods that learn or gate, on some layer types.

They are functions of one weight, so that what holds on the layers here holds
on the rest as it does for `Feather` and `Mask`.
"""

import warnings

import keras
import numpy as np
import pytest

import keras_sparse as ks
from tests.contract import LAYERS, check_contract

SOME_LAYERS = ("Dense", "Conv2D", "SeparableConv2D", "MultiHeadAttention")


def ratio_of_one(each, rng):
    each.learned.assign(1.0)


def half_of_the_gates(each, rng):
    each.gates.assign(rng.random(each.gates.shape))


def threshold_of_a_tenth(each, rng):
    each.learned.assign(-np.log(9.0))


PARAMETRIZATIONS = {
    "LearnedThreshold": (
        lambda: ks.LearnedThreshold(smallest=1, strength=1e-3),
        ratio_of_one,
        False,
    ),
    "WeightGate": (lambda: ks.WeightGate(), half_of_the_gates, True),
    "SoftThreshold": (
        lambda: ks.SoftThreshold(initial=-3200.0),
        threshold_of_a_tenth,
        True,
    ),
    "NofM": (lambda: ks.NofM(1, 2), lambda each, rng: None, False),
}


def check(kind, layer, tmp_path):
    make, change, exact = PARAMETRIZATIONS[kind]
    with warnings.catch_warnings():
        # Of a compiled model whose trained variables are others now.
        warnings.filterwarnings("ignore", message=".*changed which variables")
        model = check_contract(
            LAYERS[layer], make(), change, tmp_path, exact=exact
        )
    zeros = sum((w == 0).sum() for w in model.get_weights() if np.ndim(w) > 1)
    assert zeros > 0


@pytest.mark.parametrize("layer", SOME_LAYERS)
@pytest.mark.parametrize("kind", PARAMETRIZATIONS)
def test_life_of_a_sparse_model(kind, layer, tmp_path):
    check(kind, layer, tmp_path)


@pytest.mark.parametrize("kind", PARAMETRIZATIONS)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_life_under_mixed_precision(kind, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        check(kind, "Dense", tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("kind", PARAMETRIZATIONS)
def test_config_round_trip(kind):
    made = PARAMETRIZATIONS[kind][0]()
    config = keras.saving.serialize_keras_object(made)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == made.get_config()
