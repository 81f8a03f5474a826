"""Question: what does a step of each sparse training method cost?

    python benchmarks/method_step_time.py
    python benchmarks/method_step_time.py --widths 300 2048
    python benchmarks/method_step_time.py --table

Nets of 784-width-width/3-10, batch 128, Adam. Each round times some steps of
every method in turn, inside one `fit`; the ratio is the median over rounds of
method / dense of the same round.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

from recipes import BATCH, record, recorded

BENCHMARK = "method_step_time"
END = 10**6  # Ramps that stay near their begin cost what all others cost.


def _methods(ks, data):
    ramp = ks.schedules.Polynomial(0.9, 0, 1000)
    return {
        "dense": (None, []),
        "mask": (ks.Mask(), [ks.callbacks.Prune(ramp, every=100)]),
        "feather": (ks.Feather(), [ks.callbacks.Threshold(ramp)]),
        "feather, every step": (
            ks.Feather(),
            [ks.callbacks.Threshold(ramp, every=1)],
        ),
        "learned threshold": (
            ks.LearnedThreshold(),
            [ks.callbacks.Budget(end=1000)],
        ),
        "soft threshold": (ks.SoftThreshold(), []),
        "weight gate": (ks.WeightGate(), []),
        "rigl": (
            ks.Mask(),
            [ks.callbacks.DropAndGrow(sparsity=0.9, end=END, data=data)],
        ),
        "2:4": (ks.NofM(2, 4), []),
    }


def prepare(width, method):
    """Returns a function that trains some steps and gives seconds a step."""
    import warnings

    import keras
    import numpy as np
    import tensorflow as tf

    import keras_sparse as ks

    # Of schedules that a few steps do not bring to their end.
    warnings.filterwarnings("ignore", message="Training stopped at step")
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((784,)),
            layers.Dense(width, "relu"),
            layers.Dense(width // 3, "relu"),
            layers.Dense(10),
        ]
    )
    size = sum(math.prod(w.shape) for w in model.weights if len(w.shape) > 1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, 784)).astype("float32")
    y = rng.integers(0, 10, BATCH)
    parametrization, callbacks = _methods(ks, (x, y))[method]
    if parametrization is not None:
        ks.sparsify(model, parametrization, verbose=False)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    begins = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            begins.append(time.perf_counter())

    def train(steps):
        begins.clear()
        model.fit(
            data,
            steps_per_epoch=steps + 2,
            verbose=0,
            callbacks=[Clock(), *callbacks],
        )
        # Without the first step, which starts things up, and the last.
        return (begins[-1] - begins[1]) / steps

    return train, size


def table(rows):
    """The last row of each method at each width."""
    lines = [
        "| weights | method | ms a step | x dense |",
        "|---|---|---|---|",
    ]
    last = {(row["weights"], row["method"]): row for row in rows}
    lines += [
        f"| {weights:,} | {method} | {row['ms']:.2f} | {row['ratio']:.2f} |"
        for (weights, method), row in sorted(last.items())
    ]
    return "\n".join(lines)


def main():
    import keras_sparse as ks

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[300, 2048])
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    if options.table:
        print(table(recorded(BENCHMARK)))
        return
    known = list(_methods(ks, (0, 0)))
    methods = ["dense", *(options.methods or known[1:])]
    for width in options.widths:
        made = {method: prepare(width, method) for method in methods}
        seconds = {method: [] for method in methods}
        for number in range(options.rounds + 1):
            for method, (train, _) in made.items():
                each = train(options.steps if number else 3)
                if number:
                    seconds[method].append(each)
        for method, (_, size) in made.items():
            pairs = zip(seconds[method], seconds["dense"], strict=True)
            row = {
                "width": width,
                "weights": size,
                "method": method,
                "ms": round(1e3 * statistics.median(seconds[method]), 3),
                "ratio": round(statistics.median(a / b for a, b in pairs), 3),
                "rounds": options.rounds,
            }
            record(BENCHMARK, row)
            print(
                f"width {width:5} {method:20} {row['ms']:8.2f} ms "
                f"{row['ratio']:6.3f} x dense",
                flush=True,
            )


if __name__ == "__main__":
    main()
