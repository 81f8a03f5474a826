"""Question: how many weights does LeNet-5 need behind learned gates?

    python benchmarks/weight_gate.py --seeds 0 1 2
    python benchmarks/weight_gate.py --table

LeNet-5 is trained on MNIST as in `recipes.py`, then once more, gates and all:
those of the `--keep` largest weights of each dense layer, and of all weights
of convolutions, start open, the others just shut (Srinivas et al. 2017, who
keep 5%). Adam with cosine to 0 both times.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

from recipes import BATCH, compile_for, lenet5, record, recorded, spread

BENCHMARK = "weight_gate"
SETTINGS = ("epochs", "price", "bimodal", "keep")


def train(options, seed):
    """One net: dense, then gated; returns what is recorded of it."""
    import keras

    import keras_sparse as ks
    from keras_sparse import datasets

    data = datasets.load("mnist")
    keras.utils.set_random_seed(seed)
    model = lenet5(keras)

    def fit(epochs):
        steps = epochs * -(-len(data.train.x) // BATCH)
        compile_for(keras, model, steps)
        start = time.perf_counter()
        model.fit(
            *data.train,
            batch_size=BATCH,
            epochs=epochs,
            verbose=options.verbose,
        )
        return round(time.perf_counter() - start, 1)

    def error(model):
        compile_for(keras, model, 1)
        _, accuracy = model.evaluate(*data.test, 1000, verbose=0)
        return round(100 * (1 - accuracy), 2)

    def gate(layer, name):
        dense = isinstance(layer, keras.layers.Dense)
        keep = options.keep if dense else 1.0
        return ks.WeightGate(options.price, options.bimodal, keep=keep)

    fit(options.pretraining)
    dense_error = error(model)
    ks.sparsify(model, gate, verbose=False)
    seconds = fit(options.epochs)
    model = ks.strip(model)
    left = [int((kernel != 0).sum()) for kernel in _kernels(model)]
    size = sum(kernel.size for kernel in _kernels(model))
    return {
        "dense error": dense_error,
        "error": error(model),
        "left": left,
        "compression": round(size / sum(left), 2),
        "seconds": seconds,
    }


def _kernels(model):
    import numpy as np

    return [np.asarray(w) for w in model.weights if len(w.shape) > 1]


def table(rows):
    """Mean and deviation over seeds, one line for each setting."""
    lines = [
        "| epochs | price | bimodal | keep | dense error % | error % | "
        "compression | weights left (seed 0) | seeds |",
        "|---" * 9 + "|",
        "| published 2017 | | | | .80 | .81 | 24.0x | 17,900 | |",
    ]
    key = lambda row: tuple(row[name] for name in SETTINGS)  # noqa: E731
    for setting, members in itertools.groupby(sorted(rows, key=key), key=key):
        rows = list(members)
        epochs, price, bimodal, keep = setting
        first = min(rows, key=lambda row: row["seed"])
        compression = statistics.mean(row["compression"] for row in rows)
        lines.append(
            f"| {epochs} | {price:g} | {bimodal:g} | {keep:g} | "
            f"{spread([row['dense error'] for row in rows])} | "
            f"{spread([row['error'] for row in rows])} | "
            f"{compression:.1f}x | "
            f"{' '.join(f'{each:,}' for each in first['left'])} | "
            f"{len(rows)} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--pretraining", type=int, default=8, help="epochs")
    parser.add_argument("--epochs", type=int, default=12, help="with gates")
    parser.add_argument("--price", type=float, default=2e-5)
    parser.add_argument("--bimodal", type=float, default=1e-6)
    parser.add_argument("--keep", type=float, default=0.05)
    parser.add_argument("--verbose", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    for seed in () if options.table else options.seeds:
        name = {"pretraining": options.pretraining, "seed": seed}
        name |= {each: getattr(options, each) for each in SETTINGS}
        if not any(name.items() <= row.items() for row in recorded(BENCHMARK)):
            row = record(BENCHMARK, {**name, **train(options, seed)})
            print(row, flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
