"""Question: how small and how fast does a net become on a phone's runtime?

    python benchmarks/phone_nets.py --part mobilenet   # 1x1 kernels at 90%
    python benchmarks/phone_nets.py --part blocks      # 1x4 blocks at 90%
    python benchmarks/phone_nets.py --part vgg         # fewer channels, int8
    python benchmarks/phone_nets.py --table

`mobilenet` and `vgg` are trained on CIFAR-10, `blocks` on MNIST. Files of a
part are timed in turns in one process with one thread; a ratio is the median
over rounds. "ARM64" times are those of an emulated processor, where one is set
up (`make test-arm64`). Accuracy is that of the file on 2,000 test images.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile

from recipes import BATCH, record, recorded

import keras_sparse as ks

BENCHMARK = "phone_nets"
EPOCHS = {"mobilenet": (8, 8), "blocks": (3, 3), "vgg": (5, 3)}
DATA = {"mobilenet": "cifar10", "blocks": "mnist", "vgg": "cifar10"}
TESTED = 2000


def mobilenet(keras):
    """MobileNetV1's blocks on 32x32 images, padded as XNNPACK wants it."""
    layers = keras.layers

    def convolution(x, filters, kernel, strides=1, depthwise=False):
        if kernel > 1:
            x = layers.ZeroPadding2D(kernel // 2)(x)
        options = {"strides": strides, "use_bias": False}
        if depthwise:
            x = layers.DepthwiseConv2D(kernel, **options)(x)
        else:
            x = layers.Conv2D(filters, kernel, **options)(x)
        return layers.ReLU(6.0)(layers.BatchNormalization()(x))

    inputs = keras.Input((32, 32, 3))
    x = convolution(inputs, 32, 3, strides=2)
    for filters, strides in (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 1),
        (512, 1),
    ):
        x = convolution(x, None, 3, strides, depthwise=True)
        x = convolution(x, filters, 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x))


def dense_layers(keras, width):
    """784-width-width-10."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(width, "relu"),
            layers.Dense(width, "relu"),
            layers.Dense(10),
        ]
    )


def vgg(keras):
    """Two convolutions each of 32, 64 and 128 filters, and 128 units."""
    layers = keras.layers
    x = inputs = keras.Input((32, 32, 3))
    for filters in (32, 64, 128):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(128, "relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def is_pointwise(layer):
    """A 1x1 convolution."""
    return getattr(layer, "kernel_size", None) == (1, 1) and hasattr(
        layer, "filters"
    )


def train(model, data, epochs, rate=1e-3, prune=None):
    """Adam with cosine to 0; `prune` makes callbacks from the steps."""
    import keras

    steps = epochs * -(-len(data.train.x) // BATCH)
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(rate, steps)
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=1 if prune else 10,
    )
    model.fit(
        data.train.x,
        data.train.y,
        batch_size=BATCH,
        epochs=epochs,
        verbose=2,
        callbacks=[prune(steps)] if prune else [],
    )
    return model


def pruned(model, data, epochs, where=None, **options):
    """The same model at 90%, trained further."""
    ks.sparsify(model, ks.Mask(), where=where)
    train(
        model,
        data,
        epochs,
        prune=lambda steps: ks.callbacks.Prune(
            ks.schedules.Polynomial(0.9, 0, steps // 2), **options
        ),
    )
    return ks.strip(model)


def files_of(part, data, epochs, options):
    """Yields (label, model, arguments of `export_tflite`)."""
    import keras

    first, second = epochs
    if part == "mobilenet":
        model = train(mobilenet(keras), data, first)
        yield "dense", model, {}
        pruned(model, data, second, is_pointwise)
        yield "90%, float32", model, {"sparse": "fast"}
        yield (
            "90%, int8 weights",
            model,
            {
                "quantize": "dynamic",
                "sparse": "storage",
            },
        )
    elif part == "blocks":
        model = train(dense_layers(keras, options.width), data, first)
        yield "dense", model, {}
        # A fully connected kernel is transposed in the file: 1x4 there.
        pattern = ks.patterns.block((4, 1))
        pruned(model, data, second, r"dense(_1)?$", pattern=pattern)
        yield "90% in 1x4 blocks", model, {"sparse": "fast"}
    else:
        model = train(vgg(keras), data, first)
        yield "dense", model, {}
        for share in options.shares:
            small = ks.structured.shrink(
                model, share, of="macs", scope="global", round_to=8
            )
            train(small, data, second, rate=5e-4)
            for kind in (None, "int8"):
                label = f"{share:.0%} fewer MACs, {kind or 'float32'}"
                yield label, small, {"quantize": kind}


def times_on_arm64(paths, image):
    """Milliseconds by the emulator's clock, or nothing without one."""
    from ai_edge_litert.interpreter import Interpreter

    from keras_sparse.export.arm64.run import (
        Arm64Job,
        is_available,
        run_on_arm64,
    )

    if not is_available():
        return [None] * len(paths)
    jobs = []
    for path in paths:
        runner = Interpreter(path).get_signature_runner()
        names, outputs = runner.get_input_details(), runner.get_output_details()
        jobs.append(Arm64Job(path, "xnnpack", [*names], [image], [*outputs]))
    return [result.milliseconds for result in run_on_arm64(jobs)]


def measure(part, options):
    """Trains, exports and times the files of a part; records a row each."""
    import keras

    from keras_sparse import datasets

    data = datasets.load(DATA[part])
    keras.utils.set_random_seed(options.seed)
    epochs = tuple(options.epochs or EPOCHS[part])
    rows, paths = [], []
    with tempfile.TemporaryDirectory() as folder:
        for label, model, arguments in files_of(part, data, epochs, options):
            path = str(pathlib.Path(folder) / f"{len(paths)}.tflite")
            report = ks.export_tflite(
                model,
                path,
                representative_data=data.train.x[:300],
                inputs=data.test.x[:TESTED],
                labels=data.test.y[:TESTED],
                **arguments,
            )
            paths.append(path)
            rows.append(
                {
                    "part": f"{part} {options.width}"
                    if part == "blocks"
                    else part,
                    "data": data.name,
                    "epochs": list(epochs),
                    "seed": options.seed,
                    "file": label,
                    "raw": report.raw_bytes,
                    "gzip": report.gzip_bytes,
                    "accuracy": round(100 * report.accuracy["xnnpack"], 2),
                    "sparse on ARM64": ks.xnnpack_report(path).engaged,
                }
            )
        timed = ks.benchmark_tflite(paths, runs=options.runs)
        emulated = times_on_arm64(paths, data.test.x[:1])
    for row, times, on_arm64 in zip(rows, timed.rows, emulated, strict=True):
        row["ms"], row["ratio"] = round(times.latency_ms, 4), times.ratio
        row["smaller"] = round(rows[0]["raw"] / row["raw"], 2)
        if on_arm64 is not None:
            row["ARM64 ratio"] = round(on_arm64 / emulated[0], 3)
        print(record(BENCHMARK, row), flush=True)


def table(rows):
    """One line for each file, from the last run of its part."""
    rows = {(row["part"], row["file"]): row for row in rows}.values()
    lines = [
        "| net | file | raw KiB | smaller | gzip KiB | accuracy % | ms "
        "| faster | emulated ARM64 time / dense | sparse there |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        emulated = row.get("ARM64 ratio", "")
        engaged = "yes" if row["sparse on ARM64"] else "no"
        lines.append(
            f"| {row['part']} | {row['file']} | {row['raw'] / 1024:.1f} "
            f"| {row['smaller']:.1f}x | {row['gzip'] / 1024:.1f} "
            f"| {row['accuracy']:.2f} | {row['ms']:.3f} "
            f"| {1 / row['ratio']:.1f}x | {emulated} | {engaged} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=EPOCHS)
    parser.add_argument("--epochs", type=int, nargs=2, help="before, after")
    parser.add_argument("--width", type=int, default=1024, help="of `blocks`")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.75])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    if options.part and not options.table:
        measure(options.part, options)
    print(table(recorded(BENCHMARK)))


if __name__ == "__main__":
    main()
