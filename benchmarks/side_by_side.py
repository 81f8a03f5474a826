"""Question: what do the pruners for Keras cost, and what do they leave?

    python benchmarks/side_by_side.py --sparsities 0.9 0.98
    python benchmarks/side_by_side.py --table

LeNet-300-100 by Recipe A, seed 0: plain Keras, keras_sparse,
tensorflow-model-optimization (on tf_keras) and PQuantML (see
`other_pruners.py`), each in a process of its own, whose peak memory it is.
Trained in full once for the accuracy and the `.tflite` file (float32, as the
converter makes it; keras_sparse also with `sparse="storage"`). Step times are
of short trainings in turns: the median over rounds of tool / plain Keras.
Files are timed in turns as well, on one thread.
"""

from __future__ import annotations

import argparse
import gzip
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from other_pruners import keras_of, wrap, zeros
from recipes import BATCH, EPOCHS, compile_for, lenet300, record, recorded

BENCHMARK = "side_by_side"
TOOLS = ("plain Keras", "keras_sparse", "tfmot, tf_keras", "pquant")
STORAGE = "keras_sparse, sparse='storage'"


def train(tool, sparsity, epochs, images, folder):
    """One training; returns what is measured of it."""
    keras = keras_of(tool)
    from keras_sparse import datasets

    data = datasets.load("mnist")
    x, y = (each[:images] for each in data.train)
    keras.utils.set_random_seed(0)
    steps = -(-len(x) // BATCH)
    model, callbacks, finish = lenet300(keras), [], lambda model: model
    if tool != "plain Keras":
        model, callbacks, finish = wrap(
            tool, model, sparsity, epochs, epochs * steps
        )
    compile_for(keras, model, epochs * steps)
    ends = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            ends.append(time.perf_counter())

    model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=epochs,
        verbose=0,
        callbacks=[*callbacks, Clock()],
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = (ends[-1] - ends[0]) / max(epochs - 1, 1)  # the first one traces
    model = finish(model)
    guess = model.predict(data.test.x, 1000, verbose=0).argmax(1)
    counts, sizes = zip(*zeros(model), strict=True)
    return {
        "tool": tool,
        "sparsity": sparsity,
        "epochs": epochs,
        "zeros": round(sum(counts) / sum(sizes), 4),
        "accuracy": round(100 * float((guess == data.test.y).mean()), 2),
        "ms": round(1e3 * seconds / steps, 3),
        "peak_mib": round(peak),
        "files": convert(tool, model, folder) if folder else {},
    }


def convert(tool, model, folder):
    """Writes `.tflite` files; returns their names by what made them."""
    path = pathlib.Path(folder) / "m.tflite"
    if tool == "tfmot, tf_keras":
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        path.write_bytes(converter.convert())
        return {tool: str(path)}
    import keras_sparse as ks

    ks.export_tflite(model, path)
    if tool != "keras_sparse":
        return {tool: str(path)}
    smaller = path.with_name("s.tflite")
    ks.export_tflite(model, smaller, sparse="storage")
    return {tool: str(path), STORAGE: str(smaller)}


def in_process(*job):
    """`train` in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--job", json.dumps(job)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{job}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def step_ratios(tools, sparsity, options):
    """Milliseconds of a step, and the ratio to plain Keras, in turns."""
    times = {tool: [] for tool in tools}
    for _ in range(options.rounds):
        for tool in tools:
            row = in_process(
                tool, sparsity, options.step_epochs, options.images, None
            )
            times[tool].append(row["ms"])
    plain = times[tools[0]]
    return {
        tool: (
            statistics.median(each),
            statistics.median(a / b for a, b in zip(each, plain, strict=True)),
        )
        for tool, each in times.items()
    }


def compare(tools, sparsity, options):
    """Measures all tools at one sparsity and records a row for each."""
    from keras_sparse import benchmark_tflite

    steps = step_ratios(tools, sparsity, options)
    with tempfile.TemporaryDirectory() as folder:
        rows, files = {}, {}
        for number, tool in enumerate(tools):
            own = pathlib.Path(folder) / str(number)
            own.mkdir()
            row = in_process(
                tool, sparsity, options.epochs, options.images, str(own)
            )
            files |= row.pop("files")
            row["step_ms"], row["step_ratio"] = steps[tool]
            rows[tool] = row
        timing = benchmark_tflite(list(files.values()), runs=options.runs)
        for (name, path), timed in zip(files.items(), timing.rows, strict=True):
            content = pathlib.Path(path).read_bytes()
            row = rows.get(name, {**rows["keras_sparse"], "tool": name})
            row["bytes"] = len(content)
            row["gzip_bytes"] = len(gzip.compress(content, 9))
            row["latency_ratio"] = round(timed.ratio, 3)
            print(record(BENCHMARK, row), flush=True)


def table(rows):
    """The last row of each tool at each sparsity."""
    lines = [
        "| asked for | tool | zeros | accuracy % | ms a step | x plain Keras "
        "| peak MiB | raw bytes | gzip bytes | latency |",
        "|---" * 10 + "|",
    ]
    last = {(r["sparsity"], r["tool"]): r for r in rows}
    for (sparsity, tool), row in sorted(last.items(), key=lambda e: e[0][0]):
        lines.append(
            f"| {sparsity:.0%} | {tool} | {row['zeros']:.1%} | "
            f"{row['accuracy']:.2f} | {row['step_ms']:.2f} | "
            f"{row['step_ratio']:.2f} | {row['peak_mib']} | {row['bytes']:,} | "
            f"{row['gzip_bytes']:,} | {row['latency_ratio']:.2f}x |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=TOOLS)
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.9])
    parser.add_argument("--epochs", type=int, default=EPOCHS["lenet300"])
    parser.add_argument("--rounds", type=int, default=5, help="of step times")
    parser.add_argument("--step-epochs", type=int, default=3, help="of those")
    parser.add_argument("--runs", type=int, default=500, help="of each file")
    parser.add_argument("--images", type=int, help="of the training set")
    parser.add_argument("--table", action="store_true", help="only print it")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(train(*json.loads(options.job))))
        return
    if not options.table:
        for sparsity in options.sparsities:
            compare(list(options.tools), sparsity, options)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
