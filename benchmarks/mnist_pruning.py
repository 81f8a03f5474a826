"""Question: what accuracy is left at 90 to 99% sparsity on MNIST?

    python benchmarks/mnist_pruning.py --net lenet300 --seeds 0 1 2
    python benchmarks/mnist_pruning.py --table

Runs that are recorded already are not repeated.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time

from recipes import BATCH, EPOCHS, NETS, compile_for, record, recorded, spread

BENCHMARK = "mnist_pruning"
METHODS = ("dense", "uniform", "global", "erk", "tfmot")


def train(net, method, sparsity, seed, epochs):
    """Trains one network; returns test accuracy, nonzeros and seconds."""
    if method == "tfmot":
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        import tf_keras as keras
    else:
        import keras

    import keras_sparse.datasets

    data = keras_sparse.datasets.load("mnist")
    keras.utils.set_random_seed(seed)
    model = NETS[net](keras)
    steps = epochs * -(-len(data.train.x) // BATCH)
    begin, end = int(0.1 * steps), int(0.6 * steps)
    callbacks = []
    if method == "tfmot":
        model, callbacks = _with_tfmot(model, sparsity, begin, end)
    elif method != "dense":
        callbacks = _with_keras_sparse(model, method, sparsity, begin, end)
    compile_for(keras, model, steps)
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
    _, accuracy = model.evaluate(data.test.x, data.test.y, 1000, verbose=0)
    return 100 * accuracy, _sparsity_of_kernels(model, method), seconds


def _with_keras_sparse(model, method, sparsity, begin, end):
    import keras_sparse as ks

    allocation = {
        "uniform": ks.allocations.uniform,
        "global": ks.allocations.global_,
        "erk": ks.allocations.erdos_renyi,
    }[method]
    ks.sparsify(model, ks.Mask(), verbose=False)
    schedule = ks.schedules.Polynomial(sparsity, begin, end)
    return [ks.callbacks.Prune(schedule, every=100, allocation=allocation)]


def _with_tfmot(model, sparsity, begin, end):
    from tensorflow_model_optimization.sparsity import keras as tfmot

    schedule = tfmot.PolynomialDecay(0.0, sparsity, begin, end, frequency=100)
    model = tfmot.prune_low_magnitude(model, schedule)
    return model, [tfmot.UpdatePruningStep()]


def _sparsity_of_kernels(model, method):
    import numpy as np

    if method == "tfmot":
        from tensorflow_model_optimization.sparsity import keras as tfmot

        model = tfmot.strip_pruning(model)
    elif method != "dense":
        import keras_sparse as ks

        model = ks.strip(model)
    kernels = [w for w in model.get_weights() if np.ndim(w) > 1]
    zeros = sum(int((w == 0).sum()) for w in kernels)
    return zeros / sum(w.size for w in kernels)


def table(rows):
    """Mean and deviation over seeds, one line for each method."""
    lines = [
        "| net | epochs | method | sparsity | accuracy % | seeds |",
        "|---|---|---|---|---|---|",
    ]
    key = lambda r: (r["net"], r["epochs"], r["target"], r["method"])  # noqa
    for group, members in itertools.groupby(sorted(rows, key=key), key=key):
        accuracy = [row["accuracy"] for row in members]
        net, epochs, target, method = group
        lines.append(
            f"| {net} | {epochs} | {method} | {target:.0%} | "
            f"{spread(accuracy)} | "
            f"{len(accuracy)} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=NETS, default="lenet300")
    parser.add_argument("--methods", nargs="+", default=METHODS[:-1])
    parser.add_argument(
        "--sparsities", nargs="+", type=float, default=[0.9, 0.95, 0.98, 0.99]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    epochs = options.epochs or EPOCHS[options.net]
    runs = [
        (seed, method, target)
        for seed in options.seeds
        for method in options.methods
        for target in ([0.0] if method == "dense" else options.sparsities)
    ]
    for seed, method, target in [] if options.table else runs:
        name = {
            "net": options.net,
            "epochs": epochs,
            "method": method,
            "target": target,
            "seed": seed,
        }
        if any(name.items() <= row.items() for row in recorded(BENCHMARK)):
            continue
        accuracy, sparsity, seconds = train(
            options.net, method, target, seed, epochs
        )
        row = {
            **name,
            "accuracy": accuracy,
            "sparsity": sparsity,
            "seconds": round(seconds, 1),
        }
        print(record(BENCHMARK, row), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
