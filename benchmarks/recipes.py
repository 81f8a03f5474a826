"""Networks and settings that several benchmarks share.

Recipe A: 784-300-100-10, ReLU, Glorot uniform, pixels / 255, Adam 1e-3 with
cosine to 0, batch 128, 20 epochs of MNIST, cubic schedule from 10% to 60% of
the steps, masks updated every 100 steps.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

RESULTS = pathlib.Path(
    os.environ.get("KERAS_SPARSE_RESULTS")
    or pathlib.Path(__file__).parent / "results"
)
BATCH = 128
PACKAGES = (
    *("tensorflow", "keras", "numpy", "tensorflow-probability", "jax"),
    "torch",
    *("tf_keras", "tensorflow-model-optimization", "pquant-ml"),
)
EPOCHS = {"lenet300": 20, "lenet5": 8, "resnet20": 4}


def lenet300(keras):
    """LeNet-300-100; works with keras and with tf_keras."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(300, "relu"),
            layers.Dense(100, "relu"),
            layers.Dense(10),
        ]
    )


def lenet5(keras):
    """LeNet-5 in Caffe's form, 20-50-500-10."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(20, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(50, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(500, "relu"),
            layers.Dense(10),
        ]
    )


def resnet20(keras):
    """ResNet-20 of widths 16, 32, 64 with pre-activation, on CIFAR-10."""
    layers = keras.layers
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        for block in range(3):
            strides = stride if block == 0 else 1
            y = layers.ReLU()(layers.BatchNormalization()(x))
            shortcut = x
            if strides == 2:
                shortcut = layers.Conv2D(width, 1, strides, use_bias=False)(y)
            y = layers.Conv2D(
                width, 3, strides, padding="same", use_bias=False
            )(y)
            y = layers.ReLU()(layers.BatchNormalization()(y))
            y = layers.Conv2D(width, 3, padding="same", use_bias=False)(y)
            x = layers.Add()([shortcut, y])
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x))


# Those for MNIST.
NETS = {"lenet300": lenet300, "lenet5": lenet5}


def compile_for(keras, model, steps):
    """Adam 1e-3 with cosine to 0 over all steps."""
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def record(benchmark, row):
    """Appends a measured row with its circumstances; returns it."""
    row = {
        **row,
        "date": datetime.date.today().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "versions": versions(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    with open(RESULTS / f"{benchmark}.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")
    return row


def versions():
    """Of the packages that a benchmark measures or runs on."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def recorded(benchmark):
    """Every row recorded for a benchmark."""
    path = RESULTS / f"{benchmark}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def spread(values):
    """Mean of several runs with their deviation; of one run its value."""
    mean = f"{statistics.mean(values):.2f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.2f}"


def processor():
    """The processor's name, without which a time means nothing."""
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
