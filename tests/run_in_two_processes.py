"""One of two processes that train one model together, on JAX.

Args, on the command line: a folder, a port, the process's number, and whether
it is killed in the middle of its second training.
"""

import os
import signal
import sys

import jax

jax.config.update("jax_cpu_collectives_implementation", "gloo")

import keras  # noqa: E402
import numpy as np  # noqa: E402

import keras_sparse as ks  # noqa: E402

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


class BackupOnce(keras.callbacks.BackupAndRestore):
    """Written by the first process, read by all."""

    def on_epoch_end(self, epoch, logs=None):
        if jax.process_index() == 0:
            distribution = keras.distribution.distribution()
            keras.distribution.set_distribution(None)
            try:
                super().on_epoch_end(epoch, logs)
            finally:
                keras.distribution.set_distribution(distribution)

    def on_train_end(self, logs=None):
        if jax.process_index() == 0:
            super().on_train_end(logs)


def share(array, process):
    """What this process sees of each batch."""
    batches = array.reshape(-1, 2, BATCH // 2, *array.shape[1:])
    return batches[:, process].reshape(-1, *array.shape[1:])


def network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(16, activation="relu", name="hidden"),
            keras.layers.Dropout(0.2, seed=1),
            keras.layers.Dense(4),
        ]
    )
    ks.sparsify(model, ks.Mask(), verbose=False)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def fit(model, x, y, batch, *callbacks):
    prune = ks.callbacks.Prune(ks.schedules.Polynomial(0.8, 0, 16), every=2)
    logger = ks.callbacks.SparsityLogger()
    return model.fit(
        x,
        y,
        batch_size=batch,
        epochs=5,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, ks.callbacks.SeedEachEpoch(), prune, logger],
    ).history["sparsity"]


def data_parallel(folder, process, killed):
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(auto_shard_dataset=False)
    )
    x, y = share(X, process), share(Y, process)
    undisturbed = f"{folder}/undisturbed{process}.npz"
    if not os.path.exists(undisturbed):
        model = network()
        fit(model, x, y, BATCH // 2)
        np.savez(undisturbed, *model.get_weights())
        if process == 0:
            ks.save(model, f"{folder}/model.keras")

    model = network()
    callbacks = [BackupOnce(f"{folder}/backup")] + [Kill()] * killed
    sparsity = fit(model, x, y, BATCH // 2, *callbacks)
    assert len(sparsity) == 3, sparsity  # the rest was restored
    with np.load(undisturbed) as weights:
        for now, then in zip(
            model.get_weights(), weights.values(), strict=True
        ):
            np.testing.assert_array_equal(now, then)


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
    model = network()
    sparsity = fit(model, X, Y, BATCH)
    assert abs(sparsity[-1] - 0.8) < 0.01, sparsity
    kernel = ks.strip(model).get_layer("hidden").kernel.value
    assert not kernel.is_fully_addressable
    [half] = kernel.addressable_shards
    assert half.data.shape == (12, 8)


if __name__ == "__main__":
    here, port, number, kill = sys.argv[1], *map(int, sys.argv[2:])
    keras.distribution.initialize(f"localhost:{port}", 2, number)
    if not kill:
        model_parallel()
    data_parallel(here, number, bool(kill) and number == 1)
    print("held in process", number)
