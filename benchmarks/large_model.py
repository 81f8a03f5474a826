"""Question: what does sparsity cost a model of 1, 10 and 100 million weights?

    python benchmarks/large_model.py                  # every size
    python benchmarks/large_model.py --sizes 1M 10M --no-export
    python benchmarks/large_model.py --table

GPT-2 in three sizes (the largest as GPT-2 small, but for its output: 1,000
classes for each token), plain Keras layers, random weights, Adam. Each size
lives through sparsify, training steps, mask updates, strip and export in a
process of its own: its peak memory is that of the process. Times are medians
of several, but for sparsify, strip and export, which happen once. An update's
growth is that of the whole process, which has memory to reuse from the step
before; the arrays are what NumPy holds at once, masks included. Its ratio is to
the (masked) training step just before it, which meets the same load.
"""

from __future__ import annotations

import argparse
import collections
import functools
import itertools
import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc

from recipes import record, recorded

BENCHMARK = "large_model"
# Vocabulary, width, blocks, heads.
SIZES = {
    "1M": (2_000, 128, 4, 4),
    "10M": (10_000, 256, 9, 8),
    "100M": (50_257, 768, 12, 12),
}
CLASSES = 1000
SPARSITIES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9)
MIB = 2**20


def network(keras, size, length):
    """Tokens in, one of the classes out for each of them."""
    layers = keras.layers
    vocabulary, width, blocks, heads = SIZES[size]
    tokens = layers.Input((length,), dtype="int32")
    places = keras.ops.cumsum(keras.ops.ones_like(tokens), axis=1) - 1
    x = layers.Embedding(vocabulary, width)(tokens)
    x = x + layers.Embedding(length, width)(places)
    for _ in range(blocks):
        y = layers.LayerNormalization()(x)
        attention = layers.MultiHeadAttention(heads, width // heads)
        x = x + attention(y, y, use_causal_mask=True)
        y = layers.LayerNormalization()(x)
        y = layers.Dense(4 * width, "gelu")(y)
        x = x + layers.Dense(width)(y)
    x = layers.LayerNormalization()(x)
    return keras.Model(tokens, layers.Dense(CLASSES)(x))


def timed(function):
    """What a function returns, and the seconds it took."""
    begin = time.perf_counter()
    result = function()
    return result, time.perf_counter() - begin


def growth_of(function):
    """The MiB by which the process grows at most while a function runs."""
    resident = _status("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget the highest
    function()
    return _status("VmHWM") - resident


def arrays_of(function):
    """The most MiB of NumPy arrays that a function holds at once."""
    tracemalloc.start()
    function()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / MIB


def _status(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if name in line) / 1024


def live(size, options):
    """Measures one model from its first step to its file."""
    import keras
    import numpy as np

    import keras_sparse as ks
    from keras_sparse.pruning import masked_weights, update_masks

    rng = np.random.default_rng(0)
    shape = (options.batch, options.length)
    x = rng.integers(0, SIZES[size][0], shape).astype("int32")
    y = rng.integers(0, CLASSES, shape)
    model = network(keras, size, options.length)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )

    def step():
        model.train_on_batch(x, y)
        times = [
            timed(lambda: model.train_on_batch(x, y))[1]
            for _ in range(options.steps)
        ]
        return statistics.median(times)

    row = {"size": size, "batch": options.batch, "length": options.length}
    row["dense_step_s"] = step()
    _, row["sparsify_s"] = timed(
        lambda: ks.sparsify(model, ks.Mask(), verbose=False)
    )
    row["masked_step_s"] = step()
    weights = masked_weights(model)
    row["weights"] = sum(math.prod(w.each.raw.shape) for w in weights.values())
    row["largest_weight"] = max(
        math.prod(w.each.raw.shape) for w in weights.values()
    )
    updates = {
        name: functools.partial(update_masks, model, weights, allocation=each)
        for name, each in (
            ("uniform", ks.allocations.uniform),
            ("global", ks.allocations.global_),
        )
    }
    seconds, ratios = (collections.defaultdict(list) for _ in range(2))
    # In turns, so that both meet weights that are not all zero yet.
    for sparsity, name in zip(
        SPARSITIES, itertools.cycle(updates), strict=False
    ):
        _, step_s = timed(lambda: model.train_on_batch(x, y))
        _, update_s = timed(functools.partial(updates[name], sparsity))
        seconds[name].append(update_s)
        ratios[name].append(update_s / step_s)
    for name, update in updates.items():
        row[f"{name}_update_s"] = statistics.median(seconds[name])
        row[f"{name}_update_ratio"] = statistics.median(ratios[name])
        row[f"{name}_growth_mib"] = growth_of(functools.partial(update, 0.95))
        row[f"{name}_arrays_mib"] = arrays_of(functools.partial(update, 0.95))
    row["training_peak_mib"] = peak()
    _, row["strip_s"] = timed(lambda: ks.strip(model))
    kernels = [w.each.raw for w in weights.values()]
    zeros = sum(int(np.sum(np.asarray(kernel) == 0)) for kernel in kernels)
    row["sparsity"] = zeros / row["weights"]
    if options.export:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.tflite"
            _, row["export_s"] = timed(
                lambda: ks.export_tflite(model, path, quantize=options.quantize)
            )
            row["file_mib"] = path.stat().st_size / MIB
            row["quantize"] = options.quantize
    row["peak_mib"] = peak()
    return row


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(row):
    """Prints how a row compares with what was asked for."""
    step = row["dense_step_s"]
    print(
        f"{row['size']:5} {row['weights']:12,} weights, dense step {step:.3f} s"
        f", masked {row['masked_step_s'] / step:.2f}x, update uniform"
        f" {row['uniform_update_ratio']:.2f}x"
        f" (+{row['uniform_growth_mib']:.0f} MiB), global"
        f" {row['global_update_ratio']:.2f}x"
        f" (+{row['global_growth_mib']:.0f} MiB), sparsify"
        f" {row['sparsify_s']:.2f} s, strip {row['strip_s']:.2f} s, export"
        f" {row.get('export_s', math.nan):.1f} s, peak {row['peak_mib']:.0f}"
        " MiB",
        flush=True,
    )


def table():
    """Prints the last row of each size as a table."""
    rows = {row["size"]: row for row in recorded(BENCHMARK)}
    print(
        "| weights | dense step s | masked step | update, uniform | update, "
        "global | its growth MiB | its arrays MiB | sparsify s | strip s | "
        "export s | peak MiB |\n" + "|---" * 11 + "|"
    )
    for row in sorted(rows.values(), key=lambda row: row["weights"]):
        step = row["dense_step_s"]
        cells = [
            f"{row['weights']:,}",
            f"{step:.3f}",
            f"{row['masked_step_s'] / step:.2f}x",
            f"{row['uniform_update_ratio']:.2f}x",
            f"{row['global_update_ratio']:.2f}x",
            f"{row['uniform_growth_mib']:.0f}, {row['global_growth_mib']:.0f}",
            f"{row['uniform_arrays_mib']:.0f}, {row['global_arrays_mib']:.0f}",
            f"{row['sparsify_s']:.2f}",
            f"{row['strip_s']:.2f}",
            f"{row['export_s']:.1f}" if "export_s" in row else "",
            f"{row['peak_mib']:.0f}",
        ]
        print("| " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", choices=SIZES, nargs="+", default=[*SIZES])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=64, help="tokens")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument(
        "--export", action=argparse.BooleanOptionalAction, default=True
    )
    parser.add_argument("--quantize", choices=["float16", "dynamic"])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--only", choices=SIZES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        table()
    elif options.only:
        print(json.dumps(live(options.only, options)))
    else:
        for size in options.sizes:
            command = [sys.executable, __file__, *sys.argv[1:], "--only", size]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, env=os.environ
            )
            if done.returncode:
                sys.exit(f"{size} failed, see above")
            row = json.loads(done.stdout.splitlines()[-1])
            report(record(BENCHMARK, row))


if __name__ == "__main__":
    main()
