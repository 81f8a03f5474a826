"""Question: how many weights does a Bayesian net need on MNIST?

    python benchmarks/bayes_mnist.py --net lenet300 --prior ard --seeds 0 1 2
    python benchmarks/bayes_mnist.py --table

Adam at 1e-3, falling linearly to 0, batch 100, pixels / 255. 5,000 training
images are held out; thresholds other than the published log alpha = 3 are
chosen on them, and what is left is fine-tuned on all 60,000, its zeros held.
With `--held-out 0` all 60,000 train, at log alpha = 3 and the `--thresholds`,
which nets with held-out images have found. Compression is kernel weights over
nonzero kernel weights. With `--keep FOLDER` trained nets are kept there, and
those that are there are not trained again. With `--random-labels` there is
nothing to learn: the training labels are shuffled.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import statistics
import time

import numpy as np
from recipes import NETS, record, recorded, spread

BENCHMARK = "bayes_mnist"
BATCH = 100
HELD_OUT = 5000
TUNING_RATE = 3e-4
MAX_DROPS = (0.001, 0.002, 0.003, 0.01)
EPOCHS = {"lenet300": 60, "lenet5": 40}


def split(data, held_out):
    """Training arrays, and the held-out images with their labels."""
    x, y = data.train.x, data.train.y
    first = len(x) - held_out
    return (x[:first], y[:first]), (x[first:], y[first:])


def with_random_labels(data, seed):
    """The data with its training labels shuffled."""
    shuffled = np.random.default_rng(seed).permutation(data.train.y)
    return data._replace(train=data.train._replace(y=shuffled))


def compile_linear(keras, model, epochs, examples, rate):
    """Adam with a learning rate that falls linearly to 0."""
    steps = epochs * -(-examples // BATCH)
    schedule = keras.optimizers.schedules.PolynomialDecay(rate, steps, 0.0)
    model.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=50,
    )


def error(model, x, y):
    """Classification error in percent."""
    _, accuracy = model.evaluate(x, y, batch_size=1000, verbose=0)
    return round(100 - 100 * accuracy, 3)


def remaining(ks, model):
    """Compression over kernels and the sparsity of each of them."""
    shares, nonzeros, size = [], 0, 0
    for _, _, each in ks.parametrized(model):
        kernel = np.asarray(each.finalize(each.raw.value))
        nonzeros += np.count_nonzero(kernel)
        size += kernel.size
        shares.append(round(100 * float((kernel == 0).mean()), 2))
    return round(size / max(int(nonzeros), 1), 2), shares


def train(options, seed):
    """Trains one net; yields a row for each way to use its posterior."""
    import keras

    import keras_sparse as ks
    import keras_sparse.datasets

    data = keras_sparse.datasets.load("mnist")
    if options.random_labels:
        data = with_random_labels(data, seed)
    train_set, held_out = split(data, options.held_out)
    model, seconds = trained(keras, ks, options, seed, train_set)
    row = {"error": error(model, data.test.x, data.test.y), "seconds": seconds}
    if options.random_labels:
        row["training error"] = error(model, *train_set)
    if options.prior == "dense":
        yield {"rule": "dense", **row}
        return
    row["compression"], row["sparsity"] = remaining(ks, model)
    yield {"rule": "log alpha = 3", **row}
    if options.random_labels:
        return
    for max_drop in MAX_DROPS if options.held_out else ():
        sweep = ks.choose_threshold(model, held_out, max_drop=max_drop)
        row = {"rule": f"held-out drop {max_drop}"}
        row["threshold"] = sweep.threshold
        yield tuned(keras, ks, options, model, data, row)
    for threshold in options.thresholds:
        for _, _, each in ks.parametrized(model):
            each.threshold.assign(threshold)
        row = {"rule": f"log alpha = {threshold:g}", "threshold": threshold}
        yield tuned(keras, ks, options, model, data, row)


def tuned(keras, ks, options, model, data, row):
    """The row of a rule, with what fine-tuning makes of its zeros."""
    row["rule"] += f", {options.tuning} epochs more"
    row["compression"], row["sparsity"] = remaining(ks, model)
    row["error before"] = error(model, data.test.x, data.test.y)
    begin = time.perf_counter()
    plain = fine_tune(keras, ks, options, model, data.train)
    row["seconds"] = round(time.perf_counter() - begin, 1)
    return {**row, "error": error(plain, data.test.x, data.test.y)}


def trained(keras, ks, options, seed, train_set):
    """The net after its training, and how long that took.

    It took no time (None) where the net is one that was kept.
    """
    kept = None
    if options.keep:
        named = {**settings(options), "seed": seed}.values()
        name = "_".join(str(each).replace(" ", "") for each in named)
        kept = options.keep / f"{name}.keras"
        if kept.exists():
            return keras.models.load_model(kept), None
    keras.utils.set_random_seed(seed)
    model = NETS[options.net](keras)
    examples = len(train_set[0])
    callbacks = []
    if options.prior != "dense":
        prior = {"ard": ks.priors.ARD, "svdo": ks.priors.LogUniform}
        parametrization = ks.Gaussian(
            prior[options.prior](),
            log_sigma2=options.log_sigma2,
            sampling=options.sampling,
        )
        ks.sparsify(model, parametrization, verbose=False)
        steps = -(-examples // BATCH)
        callbacks = [
            ks.callbacks.Anneal(
                begin=int(options.ramp[0] * steps),
                end=int(options.ramp[1] * steps),
                weight=options.weight,
            ),
            ks.callbacks.SparsityLogger(),
        ]
    compile_linear(keras, model, options.epochs, examples, options.rate)
    begin = time.perf_counter()
    model.fit(
        *train_set,
        batch_size=BATCH,
        epochs=options.epochs,
        verbose=options.verbose,
        callbacks=callbacks,
    )
    seconds = round(time.perf_counter() - begin, 1)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        ks.save(model, kept)
    return model, seconds


def fine_tune(keras, ks, options, model, train_set):
    """A plain copy of the stripped model, trained on with its zeros held."""
    plain = NETS[options.net](keras)
    stripped = {
        id(each.raw): np.asarray(each.finalize(each.raw.value))
        for _, _, each in ks.parametrized(model)
    }
    for layer, copy in zip(model.layers, plain.layers, strict=True):
        own = [v for v in layer.variables if "_ks_" not in v.path]
        own = own[: len(copy.variables)]
        copy.set_weights([stripped.get(id(v), v.numpy()) for v in own])
    ks.sparsify(plain, ks.Mask(keep_zeros=True), verbose=False)
    epochs, examples = options.tuning, len(train_set[0])
    compile_linear(keras, plain, epochs, examples, TUNING_RATE)
    plain.fit(*train_set, batch_size=BATCH, epochs=epochs, verbose=0)
    return plain


def settings(options):
    """What a run is told by, in the table and in the records."""
    names = ("net", "prior", "epochs", "weight", "sampling", "log_sigma2")
    return {
        **{name: getattr(options, name) for name in names},
        "ramp": list(options.ramp),
        "rate": options.rate,
        "held_out": options.held_out,
        **({"labels": "random"} if options.random_labels else {}),
    }


def table(rows):
    """Mean and deviation over seeds, one line for each rule."""
    lines = [
        "| net | prior | KL weight | epochs | images | rule | error % "
        "| compression | seeds |",
        "|---" * 9 + "|",
    ]
    names = ("net", "prior", "epochs", "weight", "sampling", "rule")

    def key(row):
        images = f"{60000 - row.get('held_out', HELD_OUT):,}"
        if "labels" in row:
            images += f", {row['labels']} labels"
        return tuple(str(row[name]) for name in names) + (images,)

    for group, members in itertools.groupby(sorted(rows, key=key), key=key):
        rows_of = {row["seed"]: row for row in members}.values()
        errors = [row["error"] for row in rows_of]
        factors = [row["compression"] for row in rows_of if "sparsity" in row]
        compression = statistics.mean(factors) if factors else 1.0
        net, prior, epochs, weight, _, rule, images = group
        lines.append(
            f"| {net} | {prior} | {weight} | {epochs} | {images} | {rule} | "
            f"{spread(errors)} | {compression:.1f}x | {len(errors)} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=NETS, default="lenet300")
    parser.add_argument("--prior", choices=["ard", "svdo", "dense"])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--weight", type=float, default=1.0, help="beta")
    parser.add_argument("--ramp", nargs=2, type=float, default=[0.0, 10.0])
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--log-sigma2", type=float, default=-10.0)
    parser.add_argument("--sampling", default="auto")
    parser.add_argument("--held-out", type=int, default=HELD_OUT)
    parser.add_argument(
        "--thresholds",
        nargs="+",
        type=float,
        default=[],
        help="of log alpha, to fine-tune at",
    )
    parser.add_argument("--tuning", type=int, default=20, help="epochs")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder")
    parser.add_argument("--random-labels", action="store_true")
    parser.add_argument("--verbose", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    options.epochs = options.epochs or EPOCHS[options.net]
    for seed in [] if options.table else options.seeds:
        for row in train(options, seed):
            row = {**settings(options), "seed": seed, **row}
            print(record(BENCHMARK, row), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
