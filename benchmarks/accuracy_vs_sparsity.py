"""Question: which method keeps most accuracy at 90 to 99% sparsity?

    python benchmarks/accuracy_vs_sparsity.py --net lenet300 --seeds 0 1 2
    python benchmarks/accuracy_vs_sparsity.py --table

One recipe for all, that of `recipes.py`. Runs that are recorded already are
not repeated.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

from recipes import BATCH, EPOCHS, NETS, compile_for, record, recorded, spread

BENCHMARK = "accuracy_vs_sparsity"


def _gradual(allocation):
    def prepare(ks, model, sparsity, steps):
        ks.sparsify(model, ks.Mask(), verbose=False)
        schedule = ks.schedules.Polynomial(
            sparsity, int(0.1 * steps), int(0.6 * steps)
        )
        allocate = getattr(ks.allocations, allocation)
        return [ks.callbacks.Prune(schedule, every=100, allocation=allocate)]

    return prepare


def _feather(allocation):
    def prepare(ks, model, sparsity, steps):
        ks.sparsify(model, ks.Feather(), verbose=False)
        schedule = ks.schedules.Polynomial(sparsity, 0, steps // 2)
        allocate = getattr(ks.allocations, allocation)
        return [ks.callbacks.Threshold(schedule, allocation=allocate)]

    return prepare


def _learned(law):
    def prepare(ks, model, sparsity, steps):
        learned = ks.LearnedThreshold(law, budget=sparsity)
        ks.sparsify(model, learned, verbose=False)
        return [ks.callbacks.Budget(end=steps // 2)]

    return prepare


def _rigl(ks, model, sparsity, steps):
    import numpy as np

    from keras_sparse import datasets

    train = datasets.load("mnist").train
    rng = np.random.default_rng(0)

    def batch():
        chosen = rng.integers(0, len(train.x), BATCH)
        return train.x[chosen], train.y[chosen]

    ks.sparsify(model, ks.Mask(), verbose=False)
    return [
        ks.callbacks.DropAndGrow(
            "rigl", sparsity=sparsity, end=3 * steps // 4, data=batch
        )
    ]


# These two have no sparsity to ask for: a penalty chooses it, and their rows
# are to be read at the sparsity that they reached.
DECAYS = {0.9: 3e-2, 0.95: 6e-2, 0.98: 2e-1, 0.99: 4e-1}
PRICES = {0.9: 8e-6, 0.95: 1.5e-5, 0.98: 4e-5, 0.99: 8e-5}


def _soft(ks, model, sparsity, steps):
    made = ks.SoftThreshold(DECAYS[sparsity], initial=-5.0, rate=5.0)
    ks.sparsify(model, made, verbose=False)
    return []


def _gate(ks, model, sparsity, steps):
    price = PRICES[sparsity]
    ks.sparsify(model, ks.WeightGate(price, price / 10), verbose=False)
    return []


METHODS = {
    "dense": lambda ks, model, sparsity, steps: [],
    "gradual uniform": _gradual("uniform"),
    "gradual erk": _gradual("erdos_renyi"),
    "gradual global": _gradual("global_"),
    "feather global": _feather("global_"),
    "feather erk": _feather("erdos_renyi"),
    "feather uniform": _feather("uniform"),
    "rigl": _rigl,
    "str": _soft,
    "weight gate": _gate,
    "learned gaussian": _learned("gaussian"),
    "learned laplace": _learned("laplace"),
    "learned auto": _learned("auto"),
}


def train(net, method, sparsity, seed, epochs):
    """Trains one network; returns what is recorded of it."""
    import keras

    import keras_sparse as ks
    from keras_sparse import datasets

    data = datasets.load("mnist")
    keras.utils.set_random_seed(seed)
    model = NETS[net](keras)
    steps = epochs * -(-len(data.train.x) // BATCH)
    callbacks = METHODS[method](ks, model, sparsity, steps)
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
    if method != "dense":
        ks.strip(model)
        compile_for(keras, model, steps)
    _, accuracy = model.evaluate(data.test.x, data.test.y, 1000, verbose=0)
    return {
        "accuracy": 100 * accuracy,
        "seconds": round(seconds, 1),
        **_cost(model),
    }


def _cost(model):
    """Sparsity of the kernels, and the share of the dense MACs."""
    import numpy as np

    from keras_sparse import adapters, macs

    total = zeros = dense = used = 0
    for layer in model.layers:
        for slot in adapters.slots_of(layer):
            kernel = np.asarray(slot.weight(layer))
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
        macs = statistics.mean(row["macs"] for row in rows)
        net, epochs, target, method = group
        lines.append(
            f"| {net} | {epochs} | {target:.0%} | {method} | "
            f"{spread(accuracy)} | "
            f"{sparsity:.2%} | {macs:.2%} | {len(rows)} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=NETS, default="lenet300")
    parser.add_argument("--methods", nargs="+", default=[*METHODS])
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
        row = {**name, **train(options.net, method, target, seed, epochs)}
        print(record(BENCHMARK, row), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
