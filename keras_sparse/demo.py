"""The main job on real digits: train, prune, strip, export, compare."""

from __future__ import annotations

import dataclasses
import io
import os
import pathlib
from typing import Any

import keras
import numpy as np
import rich.box
import rich.console
import rich.table

from keras_sparse import _surgery, allocations, datasets, schedules
from keras_sparse._atomic import atomic_path
from keras_sparse.callbacks import Prune, SparsityLogger
from keras_sparse.export import (
    BenchmarkResult,
    ExportReport,
    benchmark_tflite,
    export_tflite,
)
from keras_sparse.parametrizations import Mask
from keras_sparse.sparsify import sparsify, strip
from keras_sparse.summary import summary


@dataclasses.dataclass(frozen=True)
class DemoResult:
    """What the demo made; prints as one table.

    Args:
        data: Name of the data set that was really used.
        reports: One `ExportReport` for each file, the dense one first.
        times: Latency of the same files, measured side by side.
        plot: Path of the plot.
    """

    data: str
    reports: tuple[ExportReport, ...]
    times: BenchmarkResult
    plot: str

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, for JSON."""
        return {
            "data": self.data,
            "reports": [report.to_dict() for report in self.reports],
            "times": self.times.to_dict(),
            "plot": self.plot,
        }

    def __str__(self) -> str:
        table = rich.table.Table(
            title=f"LeNet-5 on {self.data}", box=rich.box.SIMPLE
        )
        table.add_column("file")
        for column in ("accuracy", "nonzeros", "bytes", "gzip", "latency"):
            table.add_column(column, justify="right")
        dense = self.reports[0]
        for report, time in zip(self.reports, self.times.rows, strict=True):
            table.add_row(
                os.path.basename(report.path),
                f"{_accuracy(report):.2%} ({_points(report, dense)})",
                _beside(report.nonzeros, dense.nonzeros),
                _beside(report.raw_bytes, dense.raw_bytes),
                _beside(report.gzip_bytes, dense.gzip_bytes),
                f"{1e3 * time.latency_ms:,.0f} µs ({time.ratio:.2f}x)",
            )
        console = rich.console.Console(file=io.StringIO(), width=118)
        console.print(table)
        return (
            console.file.getvalue()  # type: ignore[attr-defined]
            + "Numbers in parentheses are against the dense file. Zeros make "
            "a file smaller once it is\ncompressed; they make it no faster.\n"
            f"Plot: {self.plot}"
        )


def demo(
    folder: str | os.PathLike = "keras-sparse-demo",
    sparsity: float = 0.95,
    dense_epochs: int = 2,
    sparse_epochs: int = 4,
) -> DemoResult:
    """Trains LeNet-5, prunes it while it trains, and exports it three times.

    Args:
        folder: Where the files and the plot go; made where it is missing.
        sparsity: Fraction of zeros over all kernels.
        dense_epochs: Epochs before pruning.
        sparse_epochs: Epochs of pruning, on a cubic schedule over the first
            two thirds.

    Returns:
        A `DemoResult`; print it for the table.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = datasets.load("mnist")
    if data.name == "digits":
        dense_epochs, sparse_epochs = 10 * dense_epochs, 10 * sparse_epochs
    keras.utils.set_random_seed(0)

    _surgery.say(f"1/3  training LeNet-5 on {data.name}")
    model = _lenet5(data.train.x.shape[1:])
    _compile(model, 1e-3, dense_epochs, data)
    _fit(model, data, dense_epochs, [])
    reports = [_export(model, folder / "dense.tflite", None, data)]

    _surgery.say(f"2/3  pruning to {sparsity:.0%} while it trains on")
    sparsify(model, Mask())
    _compile(model, 1e-3, sparse_epochs, data)
    steps = _steps(data, sparse_epochs)
    prune = Prune(
        schedules.Polynomial(sparsity, begin=0, end=2 * steps // 3),
        allocation=allocations.global_,
    )
    history = _fit(model, data, sparse_epochs, [prune, SparsityLogger()])
    strip(model)

    _surgery.say("3/3  exporting, and timing the files side by side")
    for quantize, name in ((None, "sparse.tflite"), ("int8", "int8.tflite")):
        reports.append(_export(model, folder / name, quantize, data))
    times = benchmark_tflite([report.path for report in reports])
    plot = _plot(model, history, prune.schedule, steps, folder)
    return DemoResult(data.name, tuple(reports), times, str(plot))


def _batch_size(data: datasets.Dataset) -> int:
    """Smaller for the few digits, so that there are steps to learn in."""
    return 16 if data.name == "digits" else 128


def _steps(data: datasets.Dataset, epochs: int) -> int:
    return epochs * -(-len(data.train.x) // _batch_size(data))


def _lenet5(shape: tuple[int, ...]) -> keras.Model:
    window = 5 if shape[0] >= 28 else 2
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Conv2D(20, window, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(50, window, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(500, activation="relu"),
            keras.layers.Dense(10),
        ],
        name="lenet5",
    )


def _compile(
    model: keras.Model, rate: float, epochs: int, data: datasets.Dataset
) -> None:
    decay = keras.optimizers.schedules.CosineDecay(rate, _steps(data, epochs))
    model.compile(
        keras.optimizers.Adam(decay),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def _fit(
    model: keras.Model,
    data: datasets.Dataset,
    epochs: int,
    callbacks: list[keras.callbacks.Callback],
) -> dict[str, list[float]]:
    return model.fit(
        _batches(data.train, _batch_size(data), shuffle=True),
        shuffle=False,  # again
        epochs=epochs,
        validation_data=_batches(data.test, 1000, shuffle=False),
        callbacks=callbacks,
        verbose=1 if keras.config.is_interactive_logging_enabled() else 0,
    ).history


def _batches(split: datasets.Split, size: int, *, shuffle: bool) -> Any:
    """A `tf.data.Dataset` that ends at once: tuning itself, it ends late."""
    import tensorflow as tf

    examples = tf.data.Dataset.from_tensor_slices((split.x, split.y))
    if shuffle:
        examples = examples.shuffle(len(split.x))
    options = tf.data.Options()
    options.autotune.enabled = False
    return examples.batch(size).prefetch(1).with_options(options)


def _export(
    model: keras.Model,
    path: pathlib.Path,
    quantize: str | None,
    data: datasets.Dataset,
) -> ExportReport:
    return export_tflite(
        model,
        path,
        quantize=quantize,
        representative_data=data.train.x[:200],
        inputs=data.test.x,
        labels=data.test.y,
    )


def _plot(
    model: keras.Model,
    history: dict[str, list[float]],
    schedule: schedules.Schedule,
    steps: int,
    folder: pathlib.Path,
) -> pathlib.Path:
    """Sparsity and accuracy over steps, and the density of each layer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    over_time, by_layer = figure.subplots(1, 2)
    asked = [schedule(step) for step in range(steps)]
    over_time.plot(asked, color="tab:blue", alpha=0.4, label="schedule")
    ends = np.linspace(0, steps, len(history["sparsity"]) + 1)[1:]
    over_time.plot(ends, history["sparsity"], "o", label="sparsity")
    over_time.plot(ends, history["val_accuracy"], "s-", label="test accuracy")
    over_time.set(xlabel="step of pruning", ylim=(0, 1.02))
    over_time.legend()
    rows = [row for row in summary(model).rows if len(row.shape) > 1]
    names = [row.name.removesuffix("/kernel") for row in rows]
    bars = by_layer.barh(names, [100 * (1 - row.sparsity) for row in rows])
    by_layer.bar_label(bars, fmt="%.1f%%", padding=2)
    by_layer.invert_yaxis()
    by_layer.set(xlabel="weights left, %", xlim=(0, 100))
    path = folder / "sparsity.png"
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return path


def _accuracy(report: ExportReport) -> float:
    return (report.accuracy or {})["xnnpack"]


def _points(report: ExportReport, dense: ExportReport) -> str:
    return f"{100 * (_accuracy(report) - _accuracy(dense)):+.2f}"


def _beside(count: int, dense: int) -> str:
    return f"{count:,} ({count / dense:.3f}x)"
