"""Schedules of tensorflow-model-optimization drive `Prune`."""

import warnings

import pytest

import keras_sparse as ks
from tests.test_where_tfmot_fails import (
    Witness,
    fit,
    fresh,
    sparsified,
    sparsities,
)


@pytest.fixture(scope="module")
def tfmot_schedules():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tfmot = pytest.importorskip("tensorflow_model_optimization")
    return tfmot.sparsity.keras


@pytest.mark.parametrize(
    ("frequency", "every"), [(10, 10), (10, 100), (4, 3), (100, 100)]
)
def test_a_schedule_of_tfmot_drives_prune(tfmot_schedules, frequency, every):
    schedule = tfmot_schedules.PolynomialDecay(
        initial_sparsity=0.2,
        final_sparsity=0.8,
        begin_step=0,
        end_step=30,
        frequency=frequency,
    )
    ours = ks.schedules.Polynomial(0.8, begin=0, end=30, initial=0.2)
    model = sparsified(fresh())
    model.compile("adam", "mse")
    witness = Witness(None)
    witness.on_train_batch_end = lambda batch, logs=None: witness.seen.append(
        sparsities(model)[0]
    )
    fit(model, witness, ks.callbacks.Prune(schedule, every=every))
    for step in range(30):
        at = step - step % frequency
        assert witness.seen[step] == round(ours(at) * 60) / 60
    assert sparsities(model) == [0.8, 0.8]


def test_constant_sparsity_of_tfmot_drives_prune(tfmot_schedules):
    schedule = tfmot_schedules.ConstantSparsity(0.5, begin_step=4, frequency=2)
    model = sparsified(fresh())
    model.compile("adam", "mse")
    fit(model, ks.callbacks.Prune(schedule, every=2))
    assert sparsities(model) == [0.5, 0.5]
