"""Question: how small is a LeNet-5 file with 0.9% error on MNIST?

    python benchmarks/smallest_file.py --seeds 0
    python benchmarks/smallest_file.py --start tri_state --sparsities 0.2 0.4
    python benchmarks/smallest_file.py --table

A dense net (20-50-500-10), or what `layers.TriStateReLU` leaves of it, is
pruned from one sparsity to the next by one magnitude threshold for all layers,
with Adam 1e-3 and cosine at each. At each sparsity: cut the units that are left
without effect, cluster, train the shared values, export in every kind, dense
and sparse; the run ends where a net makes twice the errors allowed. `floor` is
the same graph with one filter in each layer: what the format takes for
everything but weights. It is all chosen on the test set, so read the error as
that of the best of many.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time

from compact_mnist import gates_between, with_gates
from recipes import BATCH, compile_for, lenet5, record, recorded

BENCHMARK = "smallest_file"
SPARSITIES = [0.97, 0.98, 0.985, 0.99, 0.9925, 0.995]
CLUSTERS = [2, 4, 8]
# Values shared in units of a channel's largest weight are for int8 weights.
KINDS = {False: (None, "float16"), True: ("int8", "dynamic")}
LIMIT = 0.9  # % error
# Prices of `compact_mnist.py tri_state` that lead to 5-14-10.
TRI_STATE = ([0.003, 0.0015, 0.0], 1.2, 0.05, 0.7)
PUBLISHED = (
    "published: 1.52 kB, 1110x, at 0.96% error (MIRACLE, Havasi et al. 2019): "
    "a code for the weights alone, which no phone runs as it is"
)


def stages(options, seed, data):
    """Trains a first net, then a plain net of each sparsity; yields them."""
    import keras

    import keras_sparse as ks

    keras.utils.set_random_seed(seed)
    if options.start == "tri_state":
        model = with_gates(gates_between(*TRI_STATE), None)
        _fit(keras, model, data, options.dense_epochs)
        model = ks.structured.shrink(model)
        yield 0.0, model
    else:
        model = lenet5(keras)
        _fit(keras, model, data, options.dense_epochs)
    before = 0.0
    for sparsity in options.sparsities:
        ks.sparsify(model, ks.Mask(keep_zeros=True), verbose=False)
        steps = options.epochs * -(-len(data.train.x) // BATCH)
        schedule = ks.schedules.Polynomial(
            sparsity, 0, steps // 2, initial=before
        )
        prune = ks.callbacks.Prune(schedule, allocation=ks.allocations.global_)
        _fit(keras, model, data, options.epochs, [prune])
        ks.strip(model)
        _, accuracy = model.evaluate(data.test.x, data.test.y, 1000, verbose=0)
        if 100 - 100 * accuracy > 2 * options.limit:
            print(f"stopped: {accuracy:.2%} correct at {sparsity:.2%} zeros")
            return
        yield sparsity, model
        before = sparsity


def candidates(options, model, data):
    """Plain nets made of a pruned one, and how."""
    import warnings

    import keras

    import keras_sparse as ks

    small = ks.structured.shrink(model)
    for per_channel in KINDS:
        yield small, {"clusters": None, "per_channel": per_channel}
        for clusters in options.clusters:
            made = ks.structured.shrink(model)
            shared = ks.Clustered(clusters, per_channel=per_channel)
            ks.sparsify(made, shared, verbose=False)
            _fit(keras, made, data, options.tuning_epochs)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a model to compile again
                ks.strip(made)
            yield made, {"clusters": clusters, "per_channel": per_channel}


def files(model, per_channel, data):
    """Sizes and error of the model's files."""
    import keras_sparse as ks

    for kind in KINDS[per_channel]:
        for sparse in (None, "storage"):
            with tempfile.TemporaryDirectory() as folder:
                report = ks.export_tflite(
                    model,
                    pathlib.Path(folder) / "m.tflite",
                    quantize=kind,
                    representative_data=data.train.x[:500],
                    inputs=data.test.x,
                    labels=data.test.y,
                    tolerance=1.0,  # the error on the test set counts
                    sparse=sparse,
                )
            yield {
                "kind": kind or "float32",
                "sparse": report.sparse,
                "raw": report.raw_bytes,
                "gzip": report.gzip_bytes,
                "limit": report.entropy_bytes,
                "nonzeros": report.nonzeros,
                "error": 100 - 100 * report.accuracy["xnnpack"],
            }


def floor():
    """The same graph with one filter in each layer."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(1, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(1, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(1, "relu"),
            layers.Dense(10),
        ]
    )


def _fit(keras, model, data, epochs, callbacks=()):
    compile_for(keras, model, epochs * -(-len(data.train.x) // BATCH))
    model.fit(
        data.train.x,
        data.train.y,
        batch_size=BATCH,
        epochs=epochs,
        verbose=0,
        callbacks=list(callbacks),
    )


def run(options, seed):
    from keras_sparse import datasets

    data = datasets.load("mnist")
    for per_channel in KINDS:
        for row in files(floor(), per_channel, data):
            record(BENCHMARK, {"seed": seed, "stage": "floor", **row})
    start = time.perf_counter()
    for sparsity, model in stages(options, seed, data):
        for made, how in candidates(options, model, data):
            for row in files(made, how["per_channel"], data):
                name = {"seed": seed, "start": options.start, "stage": sparsity}
                name |= how
                minutes = round((time.perf_counter() - start) / 60, 1)
                times = {"epochs": options.epochs, "minutes": minutes}
                row = record(BENCHMARK, {**name, **times, **row})
                print({k: row[k] for k in (*name, *COLUMNS)}, flush=True)


COLUMNS = ("kind", "sparse", "nonzeros", "error", "raw", "gzip", "limit")


def table(rows, limit):
    """The five smallest files by raw and by gzip size, and the floor."""
    lines = [
        f"Files with at most {limit}% error, sizes in bytes; {PUBLISHED}.",
        "",
        "| smallest by | seed | start | sparsity | clusters | kind | held "
        "| nonzeros | error % | raw | gzip | entropy limit |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    found = [r for r in rows if r["stage"] != "floor" and r["error"] <= limit]
    # Where nothing is sparse the two ways to hold it are the same file.
    found = list({(r["raw"], r["gzip"], r["error"]): r for r in found}.values())
    floors = [r for r in rows if r["stage"] == "floor"]
    for size in ("raw", "gzip"):
        order = sorted(found, key=lambda row: row[size])[:5]
        lowest = min(floors, key=lambda row: row[size], default=None)
        for row in [*order, *([lowest] if lowest else [])]:
            stage = row["stage"]
            stage = stage if stage == "floor" else f"{stage:.2%}"
            lines.append(
                f"| {size} | {row['seed']} | {row.get('start', 'dense')} | "
                f"{stage} | "
                f"{row.get('clusters') or '-'} | {row['kind']} | "
                f"{row['sparse']} | {row['nonzeros']:,} | {row['error']:.2f} | "
                f"{row['raw']:,} | {row['gzip']:,} | {row['limit']:,} |"
            )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument(
        "--start", choices=("dense", "tri_state"), default="dense"
    )
    parser.add_argument("--dense-epochs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=12, help="a sparsity")
    parser.add_argument("--tuning-epochs", type=int, default=3)
    parser.add_argument(
        "--sparsities", nargs="+", type=float, default=SPARSITIES
    )
    parser.add_argument("--clusters", nargs="+", type=int, default=CLUSTERS)
    parser.add_argument("--limit", type=float, default=LIMIT)
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    for seed in [] if options.table else options.seeds:
        run(options, seed)
    print(table(recorded(BENCHMARK), options.limit))


if __name__ == "__main__":
    main()
