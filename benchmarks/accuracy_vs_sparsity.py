"""Question: which method keeps most accuracy at 90 to 99% sparsity?

    python benchmarks/accuracy_vs_sparsity.py --net lenet300 --seeds 0 1 2
    KERAS_BACKEND=torch python benchmarks/accuracy_vs_sparsity.py --net resnet20
    python benchmarks/accuracy_vs_sparsity.py --table

One recipe for all, that of `recipes.py`: LeNets on MNIST, a ResNet on
CIFAR-10, which torch trains almost twice as fast on one core. `tfmot` is
tensorflow-model-optimization on tf_keras, uniform. Runs that are recorded
already are not repeated. Convolutions run in oneDNN, which TensorFlow leaves
off on some processors.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time

from recipes import (
    BATCH,
    EPOCHS,
    NETS,
    compile_for,
    record,
    recorded,
    resnet20,
    spread,
)
from sparse_methods import METHODS

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

BENCHMARK = "accuracy_vs_sparsity"
ALL_NETS = {**NETS, "resnet20": resnet20}


def _under_tfmot(net, sparsity, steps):
    """A net of tf_keras under tfmot, its callbacks, and what ends it."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tf_keras
    from tensorflow_model_optimization.sparsity import keras as tfmot

    begin, end = int(0.1 * steps), int(0.6 * steps)
    schedule = tfmot.PolynomialDecay(0.0, sparsity, begin, end, frequency=100)
    model = tfmot.prune_low_magnitude(ALL_NETS[net](tf_keras), schedule)

    def finish():
        import keras

        plain = ALL_NETS[net](keras)
        plain.set_weights(tfmot.strip_pruning(model).get_weights())
        return plain

    return tf_keras, model, [tfmot.UpdatePruningStep()], finish


def _under_keras_sparse(net, method, sparsity, steps, train):
    import keras

    import keras_sparse as ks

    model = ALL_NETS[net](keras)
    callbacks = METHODS[method](ks, model, sparsity, steps, train)
    finish = (lambda: model) if method == "dense" else lambda: ks.strip(model)
    return keras, model, callbacks, finish


def train(net, method, sparsity, seed, epochs):
    """Trains one network; returns what is recorded of it."""
    import keras

    from keras_sparse import datasets

    data = datasets.load("mnist" if net in NETS else "cifar10")
    keras.utils.set_random_seed(seed)
    steps = epochs * -(-len(data.train.x) // BATCH)
    if method == "tfmot":
        library, model, callbacks, finish = _under_tfmot(net, sparsity, steps)
    else:
        library, model, callbacks, finish = _under_keras_sparse(
            net, method, sparsity, steps, data.train
        )
    compile_for(library, model, steps)
    start = time.perf_counter()
    model.fit(
        data.train.x,
        data.train.y,
        batch_size=BATCH,
        epochs=epochs,
        verbose=0,
        callbacks=callbacks,
    )
    seconds = time.perf_counter() - start
    model = finish()
    compile_for(keras, model, steps)
    _, accuracy = model.evaluate(data.test.x, data.test.y, 1000, verbose=0)
    return {
        "accuracy": 100 * accuracy,
        "seconds": round(seconds, 1),
        "backend": keras.config.backend(),
        **_cost(model),
    }


def _cost(model):
    """Sparsity of the kernels, and the share of the dense MACs."""
    import keras
    import numpy as np

    from keras_sparse import adapters, macs

    total = zeros = dense = used = 0
    for layer in model.layers:
        for slot in adapters.slots_of(layer):
            kernel = keras.ops.convert_to_numpy(slot.weight(layer))
            nonzeros = np.count_nonzero(kernel)
            total, zeros = total + kernel.size, zeros + kernel.size - nonzeros
            each = macs.uses(layer, slot)
            dense, used = dense + each * kernel.size, used + each * nonzeros
    return {"sparsity": zeros / total, "macs": used / dense}


def table(rows):
    """Mean and deviation over seeds, one line for each method."""
    lines = [
        "| net | epochs | asked | method | accuracy % | sparsity | MACs |"
        " seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    key = lambda r: (r["net"], r["epochs"], r["target"], r["method"])  # noqa
    for group, members in itertools.groupby(sorted(rows, key=key), key=key):
        rows = list(members)
        accuracy = [row["accuracy"] for row in rows]
        sparsity = statistics.mean(row["sparsity"] for row in rows)
        macs = [row["macs"] for row in rows if row["macs"] is not None]
        used = f"{statistics.mean(macs):.2%}" if macs else ""
        net, epochs, target, method = group
        lines.append(
            f"| {net} | {epochs} | {target:.0%} | {method} | "
            f"{spread(accuracy)} | {sparsity:.2%} | {used} | {len(rows)} |"
        )
    return "\n".join(lines)


def missing(options):
    """What names each run that is asked for and not recorded."""
    seeds, methods = options.seeds, options.methods
    for seed, method in itertools.product(seeds, methods):
        for target in [0.0] if method == "dense" else options.sparsities:
            name = {
                "net": options.net,
                "epochs": options.epochs or EPOCHS[options.net],
                "method": method,
                "target": target,
                "seed": seed,
            }
            rows = recorded(BENCHMARK)
            if not any(name.items() <= row.items() for row in rows):
                yield name


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=ALL_NETS, default="lenet300")
    parser.add_argument("--methods", nargs="+", default=[*METHODS, "tfmot"])
    parser.add_argument(
        "--sparsities", nargs="+", type=float, default=[0.9, 0.95, 0.98, 0.99]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    for name in () if options.table else missing(options):
        measured = train(
            name["net"],
            name["method"],
            name["target"],
            name["seed"],
            name["epochs"],
        )
        print(record(BENCHMARK, {**name, **measured}), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
