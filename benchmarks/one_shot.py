"""Question: what does a trained net lose when it is pruned without training?

    python benchmarks/one_shot.py --seeds 0 1 2
    python benchmarks/one_shot.py --table

LeNet-300-100 and LeNet-5 by Recipe A, each trained once for a seed and pruned
in every way from the same weights. Wanda and SparseGPT see 1,000 training
images without their labels. All weights take part; no weight is trained after.
"""

from __future__ import annotations

import argparse
import itertools

from recipes import BATCH, EPOCHS, NETS, compile_for, record, recorded, spread

BENCHMARK = "one_shot"
CALIBRATION = 1000
SPARSITIES = (0.5, 0.8, 0.9, 0.95)
METHODS = (
    "magnitude",
    "magnitude, one threshold",
    "wanda",
    "sparse_gpt",
    "sparse_gpt, one threshold",
)


def pruned(ks, model, method, sparsity, x):
    """The model with zeros, in place."""
    options = {}
    if method.endswith("one threshold"):
        options = {"allocation": ks.allocations.global_}
    if method.startswith("sparse_gpt"):
        return ks.sparse_gpt(model, sparsity, x, verbose=False, **options)
    if method == "wanda":
        options = {
            "score": ks.scores.wanda,
            "pattern": ks.patterns.per_output,
            "data": (x,),
        }
    return ks.prune(model, sparsity, **options)


def run(net, seed):
    """Trains a net and yields a row for each way to prune it."""
    import keras

    import keras_sparse as ks
    from keras_sparse import datasets

    data = datasets.load("mnist")
    keras.utils.set_random_seed(seed)
    model = NETS[net](keras)
    compile_for(keras, model, EPOCHS[net] * -(-len(data.train.x) // BATCH))
    model.fit(
        data.train.x,
        data.train.y,
        batch_size=BATCH,
        epochs=EPOCHS[net],
        verbose=0,
    )

    def accuracy():
        _, share = model.evaluate(
            data.test.x, data.test.y, batch_size=1000, verbose=0
        )
        return round(100 * share, 2)

    trained = model.get_weights()
    yield {"method": "dense", "sparsity": 0.0, "accuracy": accuracy()}
    for method, sparsity in itertools.product(METHODS, SPARSITIES):
        model.set_weights(trained)
        pruned(ks, model, method, sparsity, data.train.x[:CALIBRATION])
        yield {"method": method, "sparsity": sparsity, "accuracy": accuracy()}


def table(rows):
    """A line for each method, accuracies over seeds."""
    lines = [
        "| net | method | "
        + " | ".join(f"{s:.0%}" for s in (0.0, *SPARSITIES))
        + " | seeds |",
        "|---|---|" + "---|" * (len(SPARSITIES) + 2),
    ]
    for net, method in itertools.product(NETS, ("dense", *METHODS)):
        cells, seeds = [], set()
        for sparsity in (0.0, *SPARSITIES):
            found = {
                row["seed"]: row["accuracy"]
                for row in rows
                if (row["net"], row["method"], row["sparsity"])
                == (net, method, sparsity)
            }
            seeds |= set(found)
            cells.append(spread([*found.values()]) if found else "")
        if seeds:
            lines.append(
                f"| {net} | {method} | {' | '.join(cells)} | {len(seeds)} |"
            )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", choices=NETS, nargs="+", default=[*NETS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    runs = itertools.product(options.nets, options.seeds)
    for net, seed in [] if options.table else runs:
        for row in run(net, seed):
            print(record(BENCHMARK, {"net": net, "seed": seed, **row}))
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
