"""Time `.tflite` files side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keras_sparse.export import _litert
from keras_sparse.export.flatbuffer.tflite_file import read_tflite
from keras_sparse.export.timing.time_files import time_files


@dataclass(frozen=True)
class BenchmarkRow:
    """The figures of one file.

    Args:
        path: the file.
        raw_bytes: its size.
        gzip_bytes: its size after gzip at level 9.
        load_ms: median time to load it and allocate its tensors.
        latency_ms: median time of one call.
        ratio: median, over the rounds, of its time over the first file's
            in the same round: .5 is twice as fast.
    """

    path: str
    raw_bytes: int
    gzip_bytes: int
    load_ms: float
    latency_ms: float
    ratio: float


@dataclass(frozen=True)
class BenchmarkResult:
    """The figures of files that were timed together; prints as a table.

    Args:
        rows: one for each file.
        runs: calls of each file that were timed.
        warmup: calls of each file before those.
        threads: threads of one call.
        xnnpack: whether the XNNPACK delegate was on.
    """

    rows: tuple[BenchmarkRow, ...]
    runs: int
    warmup: int
    threads: int
    xnnpack: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        head = ("file", "KiB", "gzip KiB", "load ms", "call ms", "x first")
        cells = [
            (
                os.path.basename(row.path),
                f"{row.raw_bytes / 1024:,.1f}",
                f"{row.gzip_bytes / 1024:,.1f}",
                f"{row.load_ms:.3g}",
                f"{row.latency_ms:.4g}",
                f"{row.ratio:.2f}",
            )
            for row in self.rows
        ]
        widths = [
            max(map(len, column)) for column in zip(head, *cells, strict=True)
        ]
        lines = [
            "  ".join(
                cell.rjust(width) if place else cell.ljust(width)
                for place, (cell, width) in enumerate(
                    zip(line, widths, strict=True)
                )
            )
            for line in (head, *cells)
        ]
        delegate = "with XNNPACK" if self.xnnpack else "without delegate"
        return "\n".join(
            [
                *lines,
                f"median of {self.runs} interleaved calls after "
                f"{self.warmup}, {self.threads} thread(s), {delegate}",
            ]
        )


def benchmark_tflite(
    paths: str | os.PathLike | Sequence[str | os.PathLike],
    *,
    runs: int = 100,
    warmup: int = 10,
    threads: int = 1,
    xnnpack: bool = True,
    inputs: Any = None,
) -> BenchmarkResult:
    """Time `.tflite` files in turns: A B C, A B C, and so on.

    In turns, the same disturbances meet every file, and a ratio of two
    times of one round is worth more than two medians of separate runs.

    Args:
        paths: the files; ratios are against the first one.
        runs: calls of each file that are timed.
        warmup: calls of each file before those.
        threads: threads of one call.
        xnnpack: whether to use the XNNPACK delegate, as phones do.
        inputs: what to call with, batch axis included: an array for files
            with one input, or a dict by input name. Defaults to seeded
            random numbers.

    Returns:
        A `BenchmarkResult`; print it for a table.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file is damaged, or an argument does not fit.
        RuntimeError: LiteRT cannot run a file. All of it happens in
            another process, so a file that makes LiteRT crash does not end
            this one.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    _check_counts(len(paths), runs, warmup, threads)
    files = [read_tflite(path) for path in paths]
    setup = "xnnpack" if xnnpack else "builtin"
    loads, seconds = time_files(
        [os.fspath(path) for path in paths],
        _litert.resolver(setup).name,
        threads=threads,
        runs=runs,
        warmup=warmup,
        inputs=inputs,
    )
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    medians = np.median(seconds, axis=0)
    rows = tuple(
        BenchmarkRow(
            path=file.path,
            raw_bytes=file.raw_bytes,
            gzip_bytes=file.gzip_bytes,
            load_ms=1e3 * float(np.median(loads[index])),
            latency_ms=1e3 * float(medians[index]),
            ratio=float(ratios[index]),
        )
        for index, file in enumerate(files)
    )
    return BenchmarkResult(rows, runs, warmup, threads, xnnpack)


def _check_counts(files: int, runs: int, warmup: int, threads: int) -> None:
    for name, value, least in (
        ("paths", files, 1),
        ("runs", runs, 1),
        ("warmup", warmup, 0),
        ("threads", threads, 1),
    ):
        if value < least:
            raise ValueError(
                f"{name}: expected {least} or more, received {value}."
            )
