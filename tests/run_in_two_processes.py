"""One of two processes that train one model together, on JAX.

Args, on the command line: a folder, a port, the process's number, and whether
it is killed in the middle of its second training.
"""

import os
import signal
import sys
from unittest import mock

import keras
import numpy as np
import pytest

import keras_sparse as ks
from tests import distributed_page

jax = pytest.importorskip("jax")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 12)).astype("float32")
Y = RNG.integers(0, 4, 64)
BATCH = 16


class Kill(keras.callbacks.Callback):
    """Ends this process as the out-of-memory killer would."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (2, 2):
            os.kill(os.getpid(), signal.SIGKILL)


def share(array, process):
    """What this process sees of each batch."""
    batches = array.reshape(-1, 2, BATCH // 2, *array.shape[1:])
    return batches[:, process].reshape(-1, *array.shape[1:])


def network(parametrization):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(16, activation="relu", name="hidden"),
            keras.layers.Dropout(0.2, seed=1),
            keras.layers.Dense(4),
        ]
    )
    ks.sparsify(model, parametrization, verbose=False)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def fit(model, x, y, batch, *callbacks, kind=ks.callbacks.Prune):
    update = kind(ks.schedules.Polynomial(0.8, 0, 16), every=2)
    logger = ks.callbacks.SparsityLogger()
    return model.fit(
        x,
        y,
        batch_size=batch,
        epochs=5,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, ks.callbacks.SeedEachEpoch(), update, logger],
    ).history["sparsity"]


def data_parallel(folder, process, killed):
    x, y = share(X, process), share(Y, process)
    undisturbed = f"{folder}/undisturbed{process}.npz"
    if not os.path.exists(undisturbed):
        model = network(ks.Mask())
        fit(model, x, y, BATCH // 2)
        np.savez(undisturbed, *model.get_weights())
        if process == 0:
            ks.save(model, f"{folder}/model.keras")

    model = network(ks.Mask())
    recipe = distributed_page.run("class BackupOnce", jax=jax, keras=keras)
    callbacks = [recipe["BackupOnce"](f"{folder}/backup")] + [Kill()] * killed
    plain = keras.Model.save_weights
    with mock.patch.object(
        keras.Model, "save_weights", autospec=True, side_effect=plain
    ) as saves:
        sparsity = fit(model, x, y, BATCH // 2, *callbacks)
    assert len(sparsity) == 3, sparsity  # the rest was restored
    assert saves.call_count == (3 if process == 0 else 0), saves.mock_calls
    with np.load(undisturbed) as weights:
        for now, then in zip(
            model.get_weights(), weights.values(), strict=True
        ):
            np.testing.assert_array_equal(now, then)


def thresholds(folder, process):
    """Kept by each process from the weights that it sees."""
    model = network(ks.Feather())
    x, y = share(X, process), share(Y, process)
    fit(model, x, y, BATCH // 2, kind=ks.callbacks.Threshold)
    for _, _, feather in ks.parametrized(model):
        assert float(feather.threshold.value) > 0
    np.savez(f"{folder}/feather{process}.npz", *model.get_weights())
    kernels = [w for w in ks.strip(model).get_weights() if w.ndim > 1]
    assert sum(int((w == 0).sum()) for w in kernels) == round(0.8 * 256)


def model_parallel():
    """A kernel of which each process has one half."""
    mesh = keras.distribution.DeviceMesh(
        (1, 2), ("batch", "model"), keras.distribution.list_devices()
    )
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*hidden/kernel"] = (None, "model")
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(
            layout_map=layout, batch_dim_name="batch", auto_shard_dataset=False
        )
    )
    model = network(ks.Mask())
    sparsity = fit(model, X, Y, BATCH)
    assert abs(sparsity[-1] - 0.8) < 0.01, sparsity
    kernel = ks.strip(model).get_layer("hidden").kernel.value
    assert not kernel.is_fully_addressable
    [half] = kernel.addressable_shards
    assert half.data.shape == (12, 8)


if __name__ == "__main__":
    here, port, number, kill = sys.argv[1], *map(int, sys.argv[2:])
    distributed_page.run(
        "keras.distribution.initialize(",
        jax=jax,
        keras=keras,
        address=f"localhost:{port}",
        number=number,
    )
    data_parallel(here, number, bool(kill) and number == 1)
    thresholds(here, number)
    model_parallel()
    print("held in process", number)
