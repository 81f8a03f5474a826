"""Question: when does a deep net have to be sparsified block by block?

    python benchmarks/sequential.py --net mlp26
    python benchmarks/sequential.py --net resnet20 --epochs 6 --rate 0.003
    python benchmarks/sequential.py --table

Joint from scratch, joint from a trained net and sequential from the same
trained net see the data equally often: `--epochs` in all, of which a third
trains the dense net that the last two start from.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

from recipes import record, recorded, resnet20, spread

BENCHMARK = "sequential"
BATCH = {"mlp26": 64, "plain26": 64, "resnet20": 32}
RATE = 1e-3
METHODS = ("dense", "joint", "joint from trained", "sequential")


def mlp26(keras):
    """26 layers of width 48 in residual blocks of two, on 8x8 digits."""
    layers = keras.layers
    x = inputs = keras.Input((64,))
    x = layers.Dense(48)(x)
    for _ in range(12):
        y = layers.Dense(48, activation="relu")(x)
        x = layers.Add()([x, layers.Dense(48)(y)])
    return keras.Model(inputs, layers.Dense(10)(layers.ReLU()(x)))


def plain26(keras):
    """26 layers of width 48 without shortcuts, on 8x8 digits."""
    layers = keras.layers
    stack = [layers.Dense(48, activation="relu") for _ in range(25)]
    return keras.Sequential([keras.Input((64,)), *stack, layers.Dense(10)])


NETS = {"mlp26": mlp26, "plain26": plain26, "resnet20": resnet20}


def load(net):
    """Training and test arrays."""
    from keras_sparse import datasets

    if net == "resnet20":
        data = datasets.load("cifar10")
        return data.train, data.test
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    split = train_test_split(
        (x / 16).astype("float32"), y, test_size=360, random_state=0, stratify=y
    )
    return datasets.Split(split[0], split[2]), datasets.Split(
        split[1], split[3]
    )


def sample_for_statistics(net, train_set):
    """What BatchNormalization is re-estimated on, where the net has any."""
    return train_set.x[:5000] if net == "resnet20" else None


def groups_of(net, blocks):
    """How the layers are cut, as `sparsify_blocks` takes it."""
    if net != "plain26":
        return blocks
    names = ["dense", *(f"dense_{i}" for i in range(1, 26))]
    size = 2 * blocks
    return [
        "|".join(f"/{name}$" for name in names[i : i + size])
        for i in range(0, len(names), size)
    ]


def compile_model(keras, model, rate, steps):
    """Adam with a rate that falls linearly to a tenth."""
    schedule = keras.optimizers.schedules.PolynomialDecay(
        rate, steps, rate / 10
    )
    model.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=20,
    )


def train(options, method, log_sigma2, seed):
    """Trains one net; returns error, compression and seconds."""
    import keras
    import numpy as np

    import keras_sparse as ks

    train_set, test = load(options.net)
    keras.backend.clear_session()  # `groups_of` goes by the names of layers
    keras.utils.set_random_seed(seed)
    model = NETS[options.net](keras)
    batch = BATCH[options.net]
    per_epoch = -(-len(train_set.x) // batch)
    rate = options.rate

    def fit(epochs, callbacks=()):
        compile_model(keras, model, rate, epochs * per_epoch)
        model.fit(
            train_set.x,
            train_set.y,
            batch_size=batch,
            epochs=epochs,
            verbose=options.verbose,
            callbacks=list(callbacks),
        )

    begin = time.perf_counter()
    trained = options.epochs // 3 if method in METHODS[2:] else 0
    left = options.epochs - trained
    if trained:
        fit(trained)
    gaussian = ks.Gaussian(
        ks.priors.LogUniform(),
        log_sigma2=log_sigma2,
        train_size=len(train_set.x),
    )
    if method == "dense":
        fit(left)
    elif method == "sequential":
        blocks = groups_of(options.net, options.blocks)
        turns = len(ks.sequential.find_blocks(model, blocks))
        epochs = max(1, left // turns)
        steps = epochs * per_epoch
        ks.sequential.sparsify_blocks(
            model,
            gaussian,
            blocks=blocks,
            compile=lambda m: compile_model(keras, m, rate, steps),
            fit={
                "x": train_set.x,
                "y": train_set.y,
                "batch_size": batch,
                "epochs": epochs,
                "verbose": options.verbose,
            },
            recalibration=sample_for_statistics(options.net, train_set),
            seed=seed,
        )
    else:
        ks.sparsify(model, gaussian, verbose=False)
        fit(left, [ks.callbacks.Anneal(), ks.callbacks.SparsityLogger()])
        model.compiled = False
        ks.strip(model)
    seconds = time.perf_counter() - begin
    predicted = model.predict(test.x, batch_size=1000, verbose=0).argmax(-1)
    kernels = [w for w in model.get_weights() if w.ndim > 1]
    nonzeros = sum(int(np.count_nonzero(k)) for k in kernels)
    return {
        "error": round(100 * float((predicted != test.y).mean()), 2),
        "compression": round(
            sum(k.size for k in kernels) / max(nonzeros, 1), 1
        ),
        "seconds": round(seconds, 1),
    }


def table(rows):
    """Mean and deviation over seeds."""
    lines = [
        "| net | epochs | rate | method | log_sigma2 | error % "
        "| compression | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    names = ("net", "epochs", "blocks", "method", "log_sigma2", "rate")
    key = lambda r: tuple(r[n] for n in names)  # noqa: E731
    for group, members in itertools.groupby(sorted(rows, key=key), key=key):
        members = list(members)
        errors = [row["error"] for row in members]
        compression = statistics.mean(row["compression"] for row in members)
        net, epochs, _, method, start, rate = group
        lines.append(
            f"| {net} | {epochs} | {rate:g} | {method} | {start:g} | "
            f"{spread(errors)} | "
            f"{compression:.1f}x | {len(members)} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=NETS, default="mlp26")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument(
        "--starts", nargs="+", type=float, default=[-4, -8, -12]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--rate", type=float, default=RATE, help="of Adam")
    parser.add_argument("--blocks", type=int, default=3, help="in a group")
    parser.add_argument("--verbose", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    runs = itertools.product(options.seeds, options.methods, options.starts)
    for seed, method, start in [] if options.table else runs:
        name = {
            "net": options.net,
            "epochs": options.epochs,
            "rate": options.rate,
            "blocks": options.blocks,
            "method": method,
            "log_sigma2": start if method != "dense" else 0.0,
            "seed": seed,
        }
        if any(name.items() <= row.items() for row in recorded(BENCHMARK)):
            continue
        row = {**name, **train(options, method, start, seed)}
        print(record(BENCHMARK, row), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
