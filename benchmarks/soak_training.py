"""The training of soak.py: it goes on from its backup where there is one.

    python benchmarks/soak_training.py FOLDER --epochs 20

Prints a line of JSON when it begins, after each epoch and at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import time
import zlib

from recipes import BATCH

EVERY, FINAL = 100, 0.9


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, help="of the training set")
    parser.add_argument(
        "--plain", action="store_true", help="Keras alone, without an export"
    )
    options = parser.parse_args()
    train(options.folder, options)


def train(folder, options):
    """Trains from the backup on, and exports."""
    import keras
    import numpy as np
    import tensorflow as tf

    import keras_sparse as ks
    from keras_sparse import datasets

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    data = datasets.load("mnist")
    x, y = data.train.x[: options.images], data.train.y[: options.images]
    keras.utils.set_random_seed(options.seed)

    class Shuffled(keras.utils.PyDataset):
        """Batches in an order that depends on the epoch alone."""

        def __len__(self):
            return len(x) // BATCH

        def __getitem__(self, index):
            chosen = self.order[index * BATCH :][:BATCH]
            return x[chosen], y[chosen]

        def shuffle(self, epoch, logs=None):
            dice = np.random.default_rng([options.seed, epoch])
            self.order = dice.permutation(len(x))

    batches = Shuffled()
    batches.shuffle(0)
    steps = options.epochs * len(batches)
    schedule = ks.schedules.Polynomial(FINAL, steps // 10, 6 * steps // 10)
    model = network(keras, x.shape[1:])
    pruning = []
    if not options.plain:
        ks.sparsify(model, ks.Mask(), verbose=False)
        pruning = [
            ks.callbacks.Prune(schedule, every=EVERY),
            ks.callbacks.SparsityLogger(),
        ]
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(1e-3, steps)
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.optimizer.build(model.trainable_variables)
    backup = keras.callbacks.BackupAndRestore(
        str(folder / "backup"), double_checkpoint=True
    )
    last = str(folder / "last.keras")
    model.fit(
        batches,
        epochs=options.epochs,
        shuffle=False,  # which would draw an order of its own
        verbose=0,
        callbacks=[
            backup,
            witness(keras, None if options.plain else schedule, len(batches)),
            keras.callbacks.LambdaCallback(on_epoch_begin=batches.shuffle),
            ks.callbacks.SeedEachEpoch(options.seed),
            *pruning,
            keras.callbacks.ModelCheckpoint(last),
        ],
    )
    if not options.plain:
        finish(folder, model, keras.saving.load_model(last), data, len(x))


def network(keras, shape):
    """LeNet-300-100 with dropout."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Flatten(),
            layers.Dense(300, "relu"),
            layers.Dropout(0.2),
            layers.Dense(100, "relu"),
            layers.Dropout(0.2),
            layers.Dense(10),
        ]
    )


def witness(keras, schedule, batches):
    """A callback that tells the state where the backup is made or read."""
    from keras_sparse.callbacks.sparsity_logger import measured_sparsity

    class Witness(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.steps = int(self.model.optimizer.iterations)
            self._tell(begins=self.steps // batches)

        def on_epoch_begin(self, epoch, logs=None):
            self.begin = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.steps = int(self.model.optimizer.iterations)
            seconds = round(time.perf_counter() - self.begin, 3)
            self._tell(ended=epoch, seconds=seconds)

        def _tell(self, **event):
            sparsity = measured_sparsity(self.model)["sparsity"]
            if schedule is not None:
                self._check(sparsity)
            variables = [*self.model.variables, *self.model.optimizer.variables]
            event |= {
                "steps": self.steps,
                "sparsity": round(sparsity, 4),
                "state": checksum(variables),
                "mib": round(resident(), 1),
                "at": round(time.monotonic(), 1),
            }
            print(json.dumps(event), flush=True)

        def _check(self, sparsity):
            earliest = schedule(max(self.steps - EVERY, 0))
            if not earliest - 1e-3 <= sparsity <= schedule(self.steps) + 1e-3:
                raise RuntimeError(
                    f"Expected a sparsity of {earliest:.4f} or more at step "
                    f"{self.steps}, received {sparsity:.4f}: a mask is lost."
                )

    return Witness()


def finish(folder, model, reloaded, data, images):
    """Strips and exports the model; tells what became of it."""
    import keras_sparse as ks
    from keras_sparse.callbacks.sparsity_logger import measured_sparsity

    masks = [each.mask for _, _, each in ks.parametrized(model)]
    checkpoint = [checksum(reloaded.variables), checksum(model.variables)]
    event = {"masks": checksum(masks), "checkpoint": checkpoint}
    if checkpoint[0] != checkpoint[1]:
        raise RuntimeError("Expected the last checkpoint to be the model.")
    ks.strip(model)
    path = folder / "model.tflite"
    report = ks.export_tflite(
        model,
        path,
        inputs=data.test.x,
        labels=data.test.y,
        sparse="storage",
    )
    event |= {
        "weights": checksum(model.variables),
        "file": zlib.crc32(path.read_bytes()),
        "sparsity": measured_sparsity(model)["sparsity"],
        "accuracy": 100 * report.accuracy["xnnpack"],
        "images": images,
    }
    print(json.dumps(event), flush=True)


def checksum(variables):
    """Of all values but the states of generators, set anew each epoch."""
    from keras import ops

    total = 0
    for variable in variables:
        if "seed_generator" not in variable.path:
            total = zlib.crc32(ops.convert_to_numpy(variable).tobytes(), total)
    return total


def resident():
    """MiB of this process in memory."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
