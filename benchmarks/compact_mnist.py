"""Question: how small do methods that remove units make LeNet on MNIST?

    python benchmarks/compact_mnist.py merge --seeds 0 1 2
    python benchmarks/compact_mnist.py sal --weights 6000 3000 600
    python benchmarks/compact_mnist.py tri_state --prices 0 0 1e-3
    python benchmarks/compact_mnist.py --table

merge: LeNet 20-50-500-10 (Adam 1e-3 with cosine to 0, batch 128, an L2 penalty
of half `--decay` on the dense kernels) is trained once for each seed; then
neurons of the layer of 500 go without any training. `naive` takes those with
the smallest weights, `random` any, without surgery; `merge` is
`structured.merge_neurons`, `relative` the same with the paper's heuristic
distance. `mode` and `foot` are the rules that need no data.
sal: `layers.GeneralizedDropout` behind both convolutions and the layer of
500, under a Beta prior, times `--weights`; `--rate` is how many times faster
than the network the gates learn. tri_state: `layers.TriStateReLU` instead of
their activations; `--prices` of open units, `--bimodal` times that for
indecision, and `--depth`, what it saves to make the layer of 500 linear. Both
are trained in one go and then shrunk: the error is that of the small network.
Factors are one for all, or one for each.
Runs that are recorded already are not repeated.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from compact_tables import DISTANCES, REMOVED, merge_table, units_table
from recipes import BATCH, compile_for, lenet5, record, recorded

import keras_sparse as ks
from keras_sparse.datasets import load

BENCHMARK = "compact_mnist"
EPOCHS = {"merge": 8, "sal": 20, "tri_state": 20}


def trained(data, seed, epochs, decay):
    """LeNet, trained with weight decay in its dense layers."""
    import keras

    keras.utils.set_random_seed(seed)
    model = lenet5(keras)
    for layer in model.layers[-2:]:
        layer.kernel.regularizer = keras.regularizers.L2(decay / 2)
    steps = epochs * -(-len(data.train.x) // BATCH)
    compile_for(keras, model, steps)
    model.fit(data.train.x, data.train.y, BATCH, epochs, verbose=0)
    return model


def merge_curves(data, seed, epochs, decay):
    """Rows of method, neurons removed and accuracy, for one network."""
    import keras

    model = trained(data, seed, epochs, decay)
    hidden, logits = model.layers[-2:]
    features = keras.Sequential([keras.Input((28, 28, 1)), *model.layers[:-2]])
    x = features.predict(data.test.x, 1000, verbose=0)

    def accuracy(layers):
        head = keras.Sequential([keras.Input(x.shape[1:]), *layers])
        hits = head.predict(x, 1000, verbose=0).argmax(1) == data.test.y
        return round(100 * float(hits.mean()), 2)

    def without(gone):
        """Accuracy when nothing reads some neurons."""
        kernel, bias = logits.get_weights()
        cut = kernel.copy()
        cut[gone] = 0
        logits.set_weights([cut, bias])
        found = accuracy([hidden, logits])
        logits.set_weights([kernel, bias])
        return found

    kernel, bias = hidden.get_weights()
    orders = {
        "naive": np.argsort(np.square(kernel).sum(0) + bias**2),
        "random": np.random.default_rng(seed).permutation(len(bias)),
    }
    for method, order in orders.items():
        for removed in REMOVED:
            yield method, removed, without(order[:removed])
    for method, distance in DISTANCES.items():
        for remove in (*REMOVED, "mode", "foot"):
            small = ks.structured.merge_neurons(
                *(model, remove), distance=distance, verbose=False
            )
            left = small.layers[-2].units
            name = f"{method}, {remove}" if isinstance(remove, str) else method
            yield name, len(bias) - left, accuracy(small.layers[-2:])


def run_merge(data, seed, epochs, decay):
    start = time.perf_counter()
    for method, removed, accuracy in merge_curves(data, seed, epochs, decay):
        row = {"method": method, "removed": removed, "accuracy": accuracy}
        seconds = round(time.perf_counter() - start, 1)
        yield {**row, "seconds": seconds}


def with_gates(gates, activation):
    """LeNet with a layer behind each hidden one."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(20, 5, activation=activation),
            layers.MaxPooling2D(),
            gates[0],
            layers.Conv2D(50, 5, activation=activation),
            layers.MaxPooling2D(),
            gates[1],
            layers.Flatten(),
            layers.Dense(500, activation),
            gates[2],
            layers.Dense(10),
        ]
    )


def trained_and_shrunk(model, data, epochs, callbacks):
    """Trains a network with gates; returns what is left of it."""
    import keras

    start = time.perf_counter()
    steps = epochs * -(-len(data.train.x) // BATCH)
    compile_for(keras, model, steps)
    model.fit(
        *(data.train.x, data.train.y, BATCH, epochs),
        verbose=0,
        callbacks=callbacks,
    )
    seconds = time.perf_counter() - start
    small = ks.structured.shrink(model)
    scores = small.predict(data.test.x, 1000, verbose=0)
    before = model.predict(data.test.x, 1000, verbose=0)
    if np.abs(scores - before).max() > 1e-2:
        raise RuntimeError("The small network predicts something else.")
    kernels = [layer for layer in small.layers if hasattr(layer, "kernel")]
    return {
        "units": [layer.kernel.shape[-1] for layer in kernels],
        "parameters": small.count_params(),
        "error": round(
            100 * float(np.mean(scores.argmax(1) != data.test.y)), 3
        ),
        "seconds": round(seconds, 1),
    }


def run_sal(data, seed, epochs, prior, weights, rate, initial):
    import keras

    keras.utils.set_random_seed(seed)
    gates = [
        ks.layers.GeneralizedDropout(
            *prior, kl_weight=weight, rate=rate, initial=initial
        )
        for weight in weights
    ]
    callbacks = [ks.callbacks.Anneal(train_size=len(data.train.x))]
    model = with_gates(gates, "relu")
    yield trained_and_shrunk(model, data, epochs, callbacks)


def gates_between(prices, bimodal, depth, initial):
    """What `with_gates` takes: an activation learned at each place."""
    return [
        ks.layers.TriStateReLU(
            price,
            bimodal=bimodal * price,
            depth_price=place_depth,
            initial=initial,
            initial_depth=0.4 if place_depth else 0.0,
        )
        for price, place_depth in zip(prices, (0, 0, depth), strict=True)
    ]


def run_tri_state(data, seed, epochs, prices, bimodal, depth, initial):
    import keras

    keras.utils.set_random_seed(seed)
    gates = gates_between(prices, bimodal, depth, initial)
    model = with_gates(gates, None)
    yield trained_and_shrunk(model, data, epochs, [])


RUNS = {"merge": run_merge, "sal": run_sal, "tri_state": run_tri_state}
# Which options are settings of a part.
NAMES = {
    "merge": ("decay",),
    "sal": ("prior", "weights", "rate", "initial"),
    "tri_state": ("prices", "bimodal", "depth", "initial"),
}


def table(part, epochs, decay):
    """The table of a part; `merge` for its epochs and decay alone."""
    rows = [row for row in recorded(BENCHMARK) if row["part"] == part]
    if part == "merge":
        chosen = {"epochs": epochs, "decay": decay}
        return merge_table([r for r in rows if chosen.items() <= r.items()])
    return units_table(rows, part, ("epochs", *NAMES[part]))


def three(values):
    """One number for each gate."""
    return values * 3 if len(values) == 1 else values


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=RUNS)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--decay", type=float, default=1e-3)
    parser.add_argument(
        "--prior", nargs=2, type=float, default=[0.00999, 0.999]
    )
    parser.add_argument("--weights", nargs="+", type=float, default=[300.0])
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--initial", type=float)
    parser.add_argument("--prices", nargs="+", type=float, default=[1e-3])
    parser.add_argument("--bimodal", type=float, default=1.2)
    parser.add_argument("--depth", type=float, default=0.0)
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    if not options.table and options.part is None:
        parser.error(f"name a part, one of {', '.join(RUNS)}, or --table")
    options.weights = three(options.weights)
    options.prices = three(options.prices)
    if options.initial is None:
        options.initial = 0.9 if options.part == "sal" else 0.7
    data = None
    for seed in [] if options.table else options.seeds:
        epochs = options.epochs or EPOCHS[options.part]
        own = {name: getattr(options, name) for name in NAMES[options.part]}
        name = {"part": options.part, "epochs": epochs, "seed": seed, **own}
        if any(name.items() <= row.items() for row in recorded(BENCHMARK)):
            continue
        data = data or load("mnist")
        rows = list(RUNS[options.part](data, seed, epochs, **own))
        for row in rows:
            print(record(BENCHMARK, {**name, **row}), flush=True)
    for part in [options.part] if options.part else RUNS:
        epochs = options.epochs or EPOCHS[part]
        print(table(part, epochs, options.decay), end="\n\n")


if __name__ == "__main__":
    main()
