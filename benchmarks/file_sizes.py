"""Question: how many bytes does a pruned LeNet-300-100 take, and is it right?

python benchmarks/file_sizes.py
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import tempfile

from recipes import BATCH, EPOCHS, compile_for, lenet300, record

BENCHMARK = "file_sizes"
KINDS = (None, "float16", "dynamic", "int8")
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS["lenet300"])
    parser.add_argument(
        "--sparsities", type=float, nargs="+", default=[0.0, 0.9, 0.95]
    )
    options = parser.parse_args()

    import keras_sparse as ks
    from keras_sparse import datasets

    data = datasets.load("mnist")
    print("| sparsity | kind | encoding | raw KiB | gzip KiB | accuracy % |")
    print("|---|---|---|---|---|---|")
    for sparsity in options.sparsities:
        model = trained(sparsity, options.epochs, data)
        for kind, sparse in itertools.product(KINDS, SPARSE):
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
            row = {
                "sparsity": sparsity,
                "kind": kind or "float32",
                "sparse": sparse or "dense",
                "raw": report.raw_bytes,
                "gzip": report.gzip_bytes,
                "accuracy": 100 * report.accuracy["xnnpack"],
            }
            record(BENCHMARK, row)
            print(
                f"| {sparsity:.0%} | {row['kind']} | {row['sparse']} "
                f"| {row['raw'] / 1024:.1f} | {row['gzip'] / 1024:.1f} "
                f"| {row['accuracy']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
