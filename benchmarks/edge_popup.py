"""Question: how accurate is a net of random weights, if only a mask is learned?

    python benchmarks/edge_popup.py --net lenet300 --seeds 0 1 2
    python benchmarks/edge_popup.py --net conv4 --epochs 10
    python benchmarks/edge_popup.py --table

No weight is trained: edge-popup and supermasks train scores. `dense` trains
the weights of the same net (Adam 1e-3). No biases; signed Kaiming constant
weights; learning rate .1 with cosine to 0, batch 128. Edge-popup takes SGD with
momentum .9 and weight decay: Keras decouples it from the gradient, so 1e-3
stands for the paper's 1e-4 over 1 - momentum. Supermasks take Adam. Runs that
are recorded are not repeated.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
import warnings

from recipes import BATCH, compile_for, record, recorded, spread

BENCHMARK = "edge_popup"
METHODS = ["edge-popup", "edge-popup scaled", "supermask", "dense"]
KEEPS = [0.1, 0.3, 0.5, 0.7, 0.9]
EPOCHS = {"lenet300": 20, "conv2": 10, "conv4": 10}


def lenet300(keras, **settings):
    """LeNet-300-100 without biases."""
    return [
        keras.Input((28, 28, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(300, "relu", **settings),
        keras.layers.Dense(100, "relu", **settings),
        keras.layers.Dense(10, **settings),
    ]


def _convolutional(*widths):
    def build(keras, **settings):
        layers = [keras.Input((32, 32, 3))]
        for width in widths:
            for _ in range(2):
                layers.append(
                    keras.layers.Conv2D(
                        width, 3, padding="same", activation="relu", **settings
                    )
                )
            layers.append(keras.layers.MaxPooling2D())
        layers.append(keras.layers.Flatten())
        for _ in range(2):
            layers.append(keras.layers.Dense(256, "relu", **settings))
        return [*layers, keras.layers.Dense(10, **settings)]

    return build


NETS = {
    "lenet300": ("mnist", lenet300),
    "conv2": ("cifar10", _convolutional(64)),
    "conv4": ("cifar10", _convolutional(64, 128)),
}


def train(net, method, keep, seed, epochs, examples):
    """Trains one mask, or the dense net; returns what is recorded of it."""
    import keras
    import numpy as np

    import keras_sparse as ks

    keras.utils.set_random_seed(seed)
    train_set, test_set = _data(NETS[net][0])
    x, y = train_set[0][:examples], train_set[1][:examples]
    scale = keep if method == "edge-popup scaled" else 1.0
    initializer = ks.initializers.SignedKaimingConstant(scale)
    if method == "dense":
        initializer = "glorot_uniform"
    model = keras.Sequential(
        NETS[net][1](keras, use_bias=False, kernel_initializer=initializer)
    )
    before = model.get_weights()
    steps = epochs * -(-len(x) // BATCH)
    if method == "dense":
        compile_for(keras, model, steps)
    else:
        made = ks.EdgePopup(keep) if "popup" in method else ks.Supermask()
        ks.sparsify(model, made, verbose=False)
        rate = keras.optimizers.schedules.CosineDecay(0.1, steps)
        model.compile(
            keras.optimizers.SGD(rate, momentum=0.9, weight_decay=1e-3)
            if "popup" in method
            else keras.optimizers.Adam(rate),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    start = time.perf_counter()
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - start
    _, accuracy = model.evaluate(*test_set, 1000, verbose=0)
    row = {"accuracy": 100 * accuracy, "seconds": round(seconds, 1)}
    if method == "dense":
        return {**row, "kept": 1.0}
    after = [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]
    unchanged = all(map(np.array_equal, before, after))
    if not unchanged:
        raise RuntimeError(f"{method} changed a weight of {net}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a model to compile again
        kernels = ks.strip(model).get_weights()
    kept = sum(map(np.count_nonzero, kernels)) / sum(k.size for k in kernels)
    return {**row, "kept": float(kept), "weights_unchanged": unchanged}


def _data(name):
    """Training and test set with channels of mean 0 and deviation 1."""
    from keras_sparse import datasets

    data = datasets.load(name)
    mean = data.train.x.mean((0, 1, 2))
    deviation = data.train.x.std((0, 1, 2))
    return [
        ((split.x - mean) / deviation, split.y)
        for split in (data.train, data.test)
    ]


def table(rows):
    """Mean and deviation over seeds, one line for each method and share."""
    lines = [
        "| net | epochs | examples | method | asked to keep | kept |"
        " accuracy % | minutes | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    names = ("net", "epochs", "examples", "method", "keep")
    key = lambda row: tuple(row[name] for name in names)  # noqa: E731
    for group, members in itertools.groupby(sorted(rows, key=key), key=key):
        rows = list(members)
        net, epochs, examples, method, keep = group
        asked = f"{keep:.0%}" if "popup" in method else "-"
        lines.append(
            f"| {net} | {epochs} | {examples} | {method} | {asked} | "
            f"{statistics.mean(row['kept'] for row in rows):.1%} | "
            f"{spread([row['accuracy'] for row in rows])} | "
            f"{statistics.mean(row['seconds'] for row in rows) / 60:.1f} | "
            f"{len(rows)} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=NETS, default="lenet300")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--keeps", nargs="+", type=float, default=KEEPS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int)
    parser.add_argument(
        "--examples", type=int, default=60000, help="of the training set"
    )
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    runs = [
        (seed, method, keep)
        for seed in options.seeds
        for method in options.methods
        for keep in (options.keeps if "popup" in method else [1.0])
    ]
    for seed, method, keep in [] if options.table else runs:
        name = {
            "net": options.net,
            "method": method,
            "keep": keep,
            "seed": seed,
            "epochs": options.epochs or EPOCHS[options.net],
            "examples": options.examples,
        }
        if any(name.items() <= row.items() for row in recorded(BENCHMARK)):
            continue
        print(record(BENCHMARK, {**name, **train(**name)}), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
