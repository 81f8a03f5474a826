"""Question: how small do methods that remove units make LeNet on MNIST?

    python benchmarks/compact_mnist.py merge --seeds 0 1 2
    python benchmarks/compact_mnist.py --table

merge: LeNet 20-50-500-10 (Adam 1e-3 with cosine to 0, batch 128) is trained
once for each seed; then neurons of the layer of 500 go without any training.
`naive` takes those with the smallest weights, `random` any, without surgery;
`merge` is `structured.merge_neurons`, `relative` the same with the paper's
heuristic distance. `mode` and `foot` are the rules that need no data.
Runs that are recorded already are not repeated.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from recipes import BATCH, compile_for, lenet5, record, recorded

import keras_sparse as ks

BENCHMARK = "compact_mnist"
EPOCHS = {"merge": 8}
REMOVED = (0, 100, 150, 200, 250, 300, 350, 400, 420, 440, 450, 460, 470, 480)
# Published accuracy in %: naive, random, with surgery.
PUBLISHED = {
    150: (99.05, 98.63, 99.09),
    300: (98.63, 97.81, 98.98),
    400: (97.60, 92.07, 98.47),
    420: (96.50, 91.37, 98.35),
    440: (94.32, 89.25, 97.99),
    450: (None, None, 97.55),
    470: (None, None, 94.18),
}
DISTANCES = {"merge": "euclidean", "relative": "relative"}


def trained(data, seed, epochs):
    """LeNet, trained."""
    import keras

    keras.utils.set_random_seed(seed)
    model = lenet5(keras)
    steps = epochs * -(-len(data.train.x) // BATCH)
    compile_for(keras, model, steps)
    model.fit(data.train.x, data.train.y, BATCH, epochs, verbose=0)
    return model


def merge_curves(seed, epochs):
    """Rows of method, neurons removed and accuracy, for one network."""
    import keras

    import keras_sparse.datasets

    data = keras_sparse.datasets.load("mnist")
    model = trained(data, seed, epochs)
    hidden, logits = model.layers[-2:]
    features = keras.Sequential([keras.Input((28, 28, 1)), *model.layers[:-2]])
    x = features.predict(data.test.x, 1000, verbose=0)

    def accuracy(layers):
        head = keras.Sequential([keras.Input(x.shape[1:]), *layers])
        hits = head.predict(x, 1000, verbose=0).argmax(1) == data.test.y
        return 100 * float(hits.mean())

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


def run_merge(seed, epochs):
    start = time.perf_counter()
    for method, removed, accuracy in merge_curves(seed, epochs):
        row = {"method": method, "removed": removed, "accuracy": accuracy}
        seconds = round(time.perf_counter() - start, 1)
        yield {**row, "seconds": seconds}


def merge_table(rows):
    """Accuracy by neurons removed; what was published beside it."""
    methods = ("naive", "random", *DISTANCES)
    lines = [
        f"| removed of 500 | {' | '.join(methods)} | published: naive, random, "
        "merge | seeds |",
        "|" + "---|" * (len(methods) + 3),
    ]
    for removed in REMOVED:
        cells = []
        for method in methods:
            found = [
                row["accuracy"]
                for row in rows
                if row["method"] == method and row["removed"] == removed
            ]
            cells.append(spread(found))
        published = [f"{a or '-'}" for a in PUBLISHED.get(removed, ())]
        lines.append(
            f"| {removed} | {' | '.join(cells)} | {', '.join(published)} | "
            f"{len(found)} |"
        )
    lines += [
        "",
        "| rule | removed | accuracy % | seeds |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(r["method"] for r in rows):
        found = [row for row in rows if row["method"] == name]
        if ", " in name:
            removed = ", ".join(str(row["removed"]) for row in found)
            cell = spread([row["accuracy"] for row in found])
            lines.append(f"| {name} | {removed} | {cell} | {len(found)} |")
    return "\n".join(lines)


def spread(values):
    """Mean of several runs with their deviation."""
    if not values:
        return "-"
    mean = f"{statistics.mean(values):.2f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.2f}"


RUNS = {"merge": run_merge}
TABLES = {"merge": merge_table}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=RUNS)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    if not options.table and options.part is None:
        parser.error(f"name a part, one of {', '.join(RUNS)}, or --table")
    for seed in [] if options.table else options.seeds:
        name = {
            "part": options.part,
            "epochs": options.epochs or EPOCHS[options.part],
            "seed": seed,
        }
        if any(name.items() <= row.items() for row in recorded(BENCHMARK)):
            continue
        epochs = name["epochs"]
        rows = list(RUNS[options.part](seed=seed, epochs=epochs))
        for row in rows:
            print(record(BENCHMARK, {**name, **row}), flush=True)
    for part, table in TABLES.items():
        if options.part in (None, part):
            epochs = options.epochs or EPOCHS[part]
            rows = [
                row
                for row in recorded(BENCHMARK)
                if (row["part"], row["epochs"]) == (part, epochs)
            ]
            print(table(rows), end="\n\n")


if __name__ == "__main__":
    main()
