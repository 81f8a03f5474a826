"""Question: how many bytes does a pruned LeNet-300-100 take, and is it right?

python benchmarks/file_sizes.py
python benchmarks/file_sizes.py --table
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import tempfile

from recipes import BATCH, EPOCHS, compile_for, lenet300, record, recorded

BENCHMARK = "file_sizes"
KINDS = (None, "float16", "dynamic", "int8")
INT8 = ("dynamic", "int8")  # weights that are int8
SPARSE = (None, "storage")


def trained(sparsity, epochs, data):
    """LeNet-300-100 by Recipe A, dense or with one threshold for all layers."""
    import keras

    import keras_sparse as ks

    keras.utils.set_random_seed(0)
    model = lenet300(keras)
    steps = epochs * -(-len(data.train.x) // BATCH)
    callbacks = []
    if sparsity:
        ks.sparsify(model, ks.Mask(), verbose=False)
        schedule = ks.schedules.Polynomial(
            sparsity, int(0.1 * steps), int(0.6 * steps)
        )
        callbacks.append(
            ks.callbacks.Prune(schedule, allocation=ks.allocations.global_)
        )
    compile_for(keras, model, steps)
    model.fit(
        data.train.x,
        data.train.y,
        batch_size=BATCH,
        epochs=epochs,
        verbose=0,
        callbacks=callbacks,
    )
    return ks.strip(model) if sparsity else model


def measure(model, sparsity, clusters, kind, sparse, data):
    """Exports one file; returns its row."""
    import keras_sparse as ks

    with tempfile.TemporaryDirectory() as folder:
        report = ks.export_tflite(
            model,
            pathlib.Path(folder) / "model.tflite",
            quantize=kind,
            representative_data=data.train.x[:200],
            inputs=data.test.x,
            labels=data.test.y,
            sparse=sparse,
        )
    return {
        "sparsity": sparsity,
        "clusters": clusters,
        "kind": kind or "float32",
        "sparse": sparse or "dense",
        "raw": report.raw_bytes,
        "gzip": report.gzip_bytes,
        "accuracy": 100 * report.accuracy["xnnpack"],
    }


def table(rows):
    """One line for each file; of several runs the last."""
    lines = [
        "| sparsity | shared values | kind | encoding | raw KiB | gzip KiB "
        "| accuracy % |",
        "|---|---|---|---|---|---|---|",
    ]
    latest = {}
    for row in rows:
        clusters = row.get("clusters") or 0
        encoding = row.get("sparse", "dense")
        latest[row["sparsity"], clusters, row["kind"], encoding] = row
    for key in sorted(latest, key=lambda key: key[:2]):
        sparsity, clusters, kind, encoding = key
        row = latest[key]
        lines.append(
            f"| {sparsity:.0%} | {clusters or ''} | {kind} | {encoding} "
            f"| {row['raw'] / 1024:.1f} | {row['gzip'] / 1024:.1f} "
            f"| {row['accuracy']:.2f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS["lenet300"])
    parser.add_argument(
        "--sparsities", type=float, nargs="+", default=[0.0, 0.9, 0.95]
    )
    parser.add_argument(
        "--clusters",
        type=int,
        default=16,
        help="values a layer may share, after training",
    )
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    if options.table:
        print(table(recorded(BENCHMARK)))
        return

    import keras_sparse as ks
    from keras_sparse import datasets

    data = datasets.load("mnist")
    for sparsity in options.sparsities:
        model = trained(sparsity, options.epochs, data)
        for kind, sparse in itertools.product(KINDS, SPARSE):
            row = measure(model, sparsity, None, kind, sparse, data)
            print(record(BENCHMARK, row), flush=True)
        if sparsity:
            ks.cluster(model, options.clusters, per_channel=True)
            for kind, sparse in itertools.product(INT8, SPARSE):
                row = measure(
                    model, sparsity, options.clusters, kind, sparse, data
                )
                print(record(BENCHMARK, row), flush=True)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
