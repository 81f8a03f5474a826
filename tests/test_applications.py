"""Known architectures: attach, prune, predict, strip."""

import keras
import numpy as np
import pytest

import keras_sparse as ks
from keras_sparse.pruning import masked_weights, update_masks

FAMILIES = ["MobileNetV3Small", "ResNet50V2", "EfficientNetV2B0"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_keras_applications(family):
    model = getattr(keras.applications, family)(
        weights=None, input_shape=(64, 64, 3), classes=10
    )
    x = np.random.rand(2, 64, 64, 3).astype("float32")
    config, before = model.get_config(), np.asarray(model(x))
    kernels = sum(w.ndim > 1 for w in model.get_weights())
    ks.sparsify(model, ks.Mask(), verbose=False)
    weights = masked_weights(model)
    assert len(weights) == kernels
    np.testing.assert_array_equal(np.asarray(model(x)), before)
    update_masks(model, weights, 0.8, allocation=ks.allocations.global_)
    sparse = np.asarray(model(x))
    ks.strip(model)
    np.testing.assert_array_equal(np.asarray(model(x)), sparse)
    assert model.get_config() == config
    total = sum(w.size for w in model.get_weights() if w.ndim > 1)
    zeros = sum((w == 0).sum() for w in model.get_weights() if w.ndim > 1)
    assert zeros >= round(0.8 * total)
