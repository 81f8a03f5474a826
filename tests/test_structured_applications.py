"""Known architectures; all in benchmarks/applications_shrink.py."""

import keras
import numpy as np
import pytest

import keras_sparse as ks
from keras_sparse.structured import groups, shrink

FAMILIES = {"MobileNetV2": 25, "MobileNetV3Small": 27, "EfficientNetV2B0": 44}


def application(family):
    model = getattr(keras.applications, family)(
        weights=None,
        input_shape=(32, 32, 3),
        classes=10,
        classifier_activation=None,
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1 and "variance" not in weight.path:
            noise = rng.normal(0, 0.05, weight.shape)
            weight.assign(keras.ops.convert_to_numpy(weight) + noise)
    return model, rng.normal(size=(2, 32, 32, 3)).astype("float32")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_followed_cut_and_shrunk(family, tmp_path):
    model, x = application(family)
    found = groups(model)
    # Every group of channels but the classes, which are the output.
    assert len(found) == FAMILIES[family]
    assert [group.size for group in found.fixed] == [10]
    small = shrink(model, 0.5)
    assert 0.45 < small.count_params() / model.count_params() <= 0.5
    small.compile("sgd", "mse", run_eagerly=True)
    assert np.isfinite(small(x)).all()
    assert np.isfinite(small.train_on_batch(x, np.zeros((2, 10))))
    for group in found:
        for member in group.members:
            if member.role in ("in", "other"):
                continue
            value = keras.ops.convert_to_numpy(member.variable).copy()
            closed = (member.units >= 0) & (member.units % 3 == 0)
            np.moveaxis(value, member.axis, 0)[closed] = 0
            member.variable.assign(value)
    before = np.asarray(model(x))
    cut = shrink(model)
    assert cut.count_params() < 0.7 * model.count_params()
    np.testing.assert_allclose(np.asarray(cut(x)), before, rtol=0, atol=1e-5)


def test_a_shrunk_family_converts(tmp_path):
    model, x = application("MobileNetV3Small")
    small = shrink(model, 0.5, of="macs", round_to=8)
    report = ks.export_tflite(small, tmp_path / "half.tflite", inputs=x)
    assert (
        report.raw_bytes < 5 * small.count_params() < 4 * model.count_params()
    )
