"""Question: which units of LeNet-5 do penalties on whole groups leave?

    python benchmarks/group_penalties.py group_lasso --strength 0.1
    python benchmarks/group_penalties.py slimming --strength 0.03 --remove 0.9
    python benchmarks/group_penalties.py --table

LeNet 20-50-500-10 on MNIST, Adam 1e-3 with cosine to 0, batch 128.
group_lasso: under `callbacks.GroupLasso` units reach zero, and
`structured.shrink` cuts them. slimming: with a BatchNormalization in front of
each activation, under `callbacks.NetworkSlimming`; then the units of smallest
scale in the whole net go, until `--remove` of the parameters are gone. What is
left is trained on without the penalty for `--finetune` epochs. The penalty's
step is not scaled as Adam's is, so that strengths are larger than under SGD.
Runs that are recorded already are not repeated.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from recipes import BATCH, compile_for, lenet5, record, recorded

import keras_sparse as ks
from keras_sparse.datasets import load

BENCHMARK = "group_penalties"
SETTINGS = ("epochs", "strength", "remove", "finetune")


def normalized_lenet5():
    """LeNet-5 with BatchNormalization behind its linear maps."""
    import keras

    layers = keras.layers

    def normalized(layer):
        return [layer, layers.BatchNormalization(), layers.ReLU()]

    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            *normalized(layers.Conv2D(20, 5, use_bias=False)),
            layers.MaxPooling2D(),
            *normalized(layers.Conv2D(50, 5, use_bias=False)),
            layers.MaxPooling2D(),
            layers.Flatten(),
            *normalized(layers.Dense(500, use_bias=False)),
            layers.Dense(10),
        ]
    )


def run(part, seed, epochs, strength, remove, finetune):
    """Trains under the penalty, cuts and trains on; returns what is left."""
    import keras

    data = load("mnist")
    keras.utils.set_random_seed(seed)

    def fit(model, epochs, callbacks=()):
        compile_for(keras, model, epochs * -(-len(data.train.x) // BATCH))
        model.fit(
            *(data.train.x, data.train.y, BATCH, epochs),
            verbose=0,
            callbacks=list(callbacks),
        )

    def error(model):
        scores = model.predict(data.test.x, 1000, verbose=0)
        return round(100 * float(np.mean(scores.argmax(1) != data.test.y)), 3)

    start = time.perf_counter()
    if part == "group_lasso":
        model = lenet5(keras)
        fit(model, epochs, [ks.callbacks.GroupLasso(strength)])
        small = ks.structured.shrink(model)
    else:
        model = normalized_lenet5()
        fit(model, epochs, [ks.callbacks.NetworkSlimming(strength)])
        small = ks.structured.shrink(
            model, remove, importance="batchnorm", scope="global"
        )
    row = {"penalized": error(model), "cut": error(small)}
    fit(small, finetune)
    kernels = [layer for layer in small.layers if hasattr(layer, "kernel")]
    return {
        **row,
        "finetuned": error(small),
        "units": [layer.kernel.shape[-1] for layer in kernels],
        "parameters": small.count_params(),
        "seconds": round(time.perf_counter() - start, 1),
    }


def table(rows):
    """One line for each run."""
    names = ("part", *SETTINGS, "seed", "penalized", "cut", "finetuned")
    heads = ("method", *names[1:6], "error %", "error % when cut")
    heads = (*heads, "error % finetuned", "units", "parameters", "seconds")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in sorted(rows, key=lambda row: (row["part"], row["parameters"])):
        cells = ["" if row[name] is None else str(row[name]) for name in names]
        cells += ["-".join(map(str, row["units"]))]
        cells += [f"{row['parameters']:,}", str(row["seconds"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts = ("group_lasso", "slimming")
    parser.add_argument("part", nargs="?", choices=parts)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--finetune", type=int, default=4, help="epochs")
    parser.add_argument("--strength", type=float, default=0.1)
    parser.add_argument("--remove", type=float, help="share; slimming only")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    if not options.table and options.part is None:
        parser.error(f"name a part, one of {', '.join(parts)}, or --table")
    for seed in [] if options.table else options.seeds:
        name = {each: getattr(options, each) for each in SETTINGS}
        name = {"part": options.part, "seed": seed, **name}
        if any(name.items() <= row.items() for row in recorded(BENCHMARK)):
            continue
        print(record(BENCHMARK, {**name, **run(**name)}), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
