"""Which families of keras.applications can be shrunk, and how far.

    python benchmarks/applications_shrink.py              # one of each family
    python benchmarks/applications_shrink.py ResNet50 VGG19
    python benchmarks/applications_shrink.py --quick      # no training, files
    python benchmarks/applications_shrink.py --memory ResNet50
    python benchmarks/applications_shrink.py --table

Weights are random, inputs small. For each model: the groups that are found;
the largest change of predictions when nothing is cut and when 30% of the units
of every group are zero and go; and for 30% and 50% of the parameters whether
the result runs, trains a step, is the same after saving and loading, and
converts to a checked .tflite file. `--memory`: how far the peak of the process
rises while 50% of the parameters go, in sizes of the model.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from recipes import record, recorded

# isort: split
import keras
import numpy as np

import keras_sparse as ks
from keras_sparse.structured import groups, shrink
from keras_sparse.structured.budget import Cost

FAMILIES = {
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "MobileNetV3Large": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "DenseNet121": 64,
    "NASNetMobile": 96,
    "Xception": 96,
    "InceptionV3": 96,
    "ConvNeXtTiny": 64,
    "VGG16": 64,
    "VGG19": 64,
    "InceptionResNetV2": 96,
}
DEFAULT = list(FAMILIES)
SHARES = (0.3, 0.5)
BENCHMARK = "applications_shrink"


def build(name):
    """The model with random weights, and the processor time it took."""
    keras.utils.set_random_seed(0)
    size = FAMILIES.get(name, 96)
    start = time.process_time()
    model = getattr(keras.applications, name)(
        weights=None,
        input_shape=(size, size, 3),
        classes=10,
        classifier_activation=None,
    )
    return model, time.process_time() - start


def stir(model, rng):
    """Biases, offsets and statistics away from 0 and 1."""
    # Normalization would take new statistics only where it is loaded anew.
    skipped = {
        id(weight)
        for layer in model.layers
        if isinstance(layer, keras.layers.Normalization)
        for weight in layer.weights
    }
    for weight in model.weights:
        if id(weight) in skipped or "variance" in weight.path:
            continue
        if len(weight.shape) == 1:
            noise = rng.normal(0, 0.05, weight.shape)
            weight.assign(keras.ops.convert_to_numpy(weight) + noise)


def zero(model, rng, share=0.3):
    """Zeroes what makes a share of the units of every group."""
    for group in groups(model):
        gone = rng.random(group.size) < share
        for member in group.members:
            if member.role in ("in", "other"):
                continue
            inside = (member.units >= 0) & gone[member.units]
            value = keras.ops.convert_to_numpy(member.variable).copy()
            np.moveaxis(value, member.axis, 0)[inside] = 0
            member.variable.assign(value)


def predict(model, x):
    return keras.ops.convert_to_numpy(keras.ops.softmax(model(x)))


def change(model, small, x):
    """Largest change of a probability, and of a logit relative to all."""
    before, after = np.asarray(model(x)), np.asarray(small(x))
    relative = np.abs(after - before).max() / np.abs(before).max()
    step = np.abs(predict(model, x) - predict(small, x)).max()
    return {"probability": float(step), "logit": float(relative)}


def attempt(row, what, action):
    """Runs a check; keeps its result, or why it fails."""
    start = time.process_time()
    try:
        result = action()
        row[what] = True if result is None else result
    except Exception as error:
        row[what] = f"{type(error).__name__}: {error}"[:300]
    row[f"{what}_cpu_s"] = round(time.process_time() - start, 2)


def check(row, small, x):
    """Run, train, save, load, convert."""

    def train():
        small.compile("sgd", "mse", run_eagerly=True)
        loss = small.train_on_batch(x, np.zeros((len(x), 10), "float32"))
        return bool(np.isfinite(loss))

    def reload():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "small.keras"
            small.save(path)
            loaded = keras.models.load_model(path)
        return bool((np.asarray(loaded(x)) == np.asarray(small(x))).all())

    def convert():
        with tempfile.TemporaryDirectory() as folder:
            ks.export_tflite(small, Path(folder) / "small.tflite", inputs=x)

    attempt(row, "runs", lambda: bool(np.isfinite(np.asarray(small(x))).all()))
    attempt(row, "reloads", reload)
    attempt(row, "converts", convert)
    attempt(row, "trains", train)


def measure(name, quick=False):
    """All rows of one model."""
    keras.backend.clear_session()
    rng = np.random.default_rng(0)
    model, built_s = build(name)
    stir(model, rng)
    size = model.input_shape[1]
    x = rng.normal(size=(2, size, size, 3)).astype("float32")
    found = groups(model)
    common = {
        "model": name,
        "input": size,
        "layers": len(model.layers),
        "parameters": model.count_params(),
        "groups": len(found),
        "fixed": len(found.fixed),
        "build_cpu_s": round(built_s, 2),
    }
    kept = np.ones(found.trace.count, bool)
    macs = Cost(model, found.trace, "macs")(kept)
    row = dict(common, share=0)
    attempt(row, "nothing_cut", lambda: change(model, shrink(model), x))
    yield row
    for share in SHARES:
        row = dict(common, share=share)
        start = time.process_time()
        small = shrink(model, share)
        row["shrink_cpu_s"] = round(time.process_time() - start, 2)
        row["left"] = round(small.count_params() / model.count_params(), 4)
        own = groups(small)
        left = Cost(small, own.trace, "macs")(np.ones(own.trace.count, bool))
        row["macs_left"] = round(left / macs, 4)
        if quick:
            finite = bool(np.isfinite(np.asarray(small(x))).all())
            row["runs"] = finite
        else:
            check(row, small, x)
        yield row
    zero(model, rng)
    row = dict(common, share="zeros")
    small = shrink(model)
    row["left"] = round(small.count_params() / model.count_params(), 4)
    attempt(row, "zeros_cut", lambda: change(model, small, x))
    yield row


def memory(name):
    """What a shrink takes beyond the model, in sizes of the model."""
    model, built_s = build(name)
    size = sum(4 * np.prod(w.shape) for w in model.weights)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    small = shrink(model, 0.5)
    seconds = time.perf_counter() - start
    risen = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "model": name,
        "memory": round(float(1024 * risen / size), 2),
        "shrink_wall_s": round(seconds, 2),
        "build_cpu_s": round(built_s, 2),
        "left": round(small.count_params() / model.count_params(), 4),
    }


def table(rows):
    """One line for each model, from its last run."""
    latest = {(r["model"], r["share"]): r for r in rows if "share" in r}
    lines = [
        "| model | groups | change, nothing cut | change, zeros cut "
        "| at 30% less | at 50% less | build s | shrink s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(name for name, _ in latest):
        nothing, zeros = latest[name, 0], latest[name, "zeros"]
        cells = [
            _change(nothing["nothing_cut"]),
            _change(zeros["zeros_cut"]),
            *(_checks(latest[name, share]) for share in SHARES),
            f"{nothing['build_cpu_s']:.1f}",
            f"{latest[name, SHARES[-1]]['shrink_cpu_s']:.1f}",
        ]
        lines.append(f"| {name} | {nothing['groups']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _change(found):
    return found if isinstance(found, str) else f"{found['probability']:.1e}"


def _checks(row):
    checks = ("runs", "trains", "reloads", "converts")
    failed = [
        f"{each}: {row[each]}" for each in checks if row[each] is not True
    ]
    return "; ".join(failed) or "all four"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=DEFAULT)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--memory", metavar="MODEL")
    parser.add_argument("--table", action="store_true", help="only print it")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(recorded(BENCHMARK)))
        return
    if arguments.memory:
        print(record(BENCHMARK, memory(arguments.memory)))
        return
    for name in arguments.models:
        for row in measure(name, arguments.quick):
            if not arguments.quick:
                row = record(BENCHMARK, row)
            print(row, flush=True)


if __name__ == "__main__":
    main()
