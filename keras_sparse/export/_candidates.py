"""The files an export may end in, and the choice among them."""

from __future__ import annotations

import dataclasses
import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_sparse.export.sparse.sparse_file import SparseFile, encode

_MARGIN = 0.95  # a larger file has to be this much faster to be chosen


def candidates(content: bytes, sparse: str | None) -> list[SparseFile]:
    """Return the files to choose from, without those that are the same."""
    dense = SparseFile("dense", content)
    if sparse is None:
        return [dense]
    if sparse != "auto":
        return [encode(content, sparse)]
    found, refused = {content: dense}, None
    for mode in ("storage", "fast"):
        file = encode(content, mode)
        refused = refused or file.refused
        found.setdefault(file.content, file)
    return [
        dataclasses.replace(each, refused=each.refused or refused)
        for each in found.values()
    ]


def sound(
    files: list[SparseFile], test: Callable[[SparseFile], Any]
) -> tuple[list[tuple[SparseFile, Any]], dict[str, str]]:
    """Keep the files that pass a test.

    Args:
        files: one or more files.
        test: raises RuntimeError for a file that is wrong.

    Returns:
        The files that pass with what the test returns, and, by mode, why
        the others do not.

    Raises:
        RuntimeError: none passes; what the last one said.
    """
    passed, failed = [], {}
    for file in files:
        try:
            passed.append((file, test(file)))
        except RuntimeError as error:
            failed[file.mode] = str(error)
            reason = error
    if not passed:
        raise reason
    return passed, failed


def choose(files: list[SparseFile], objective: str) -> dict[str, float]:
    """Return the score of each file by mode, the best one first.

    Args:
        files: one or more files.
        objective: `"bytes"`, `"gzip"` (both in bytes), or `"latency"`
            (time of a call over that of the first file, in this process,
            with XNNPACK). A file that is not 5% faster than a smaller one
            stands behind it.
    """
    if objective == "latency" and len(files) > 1:
        scores = _latencies(files)
        order = sorted(files, key=lambda file: len(file.content))
        best = order[0]
        for file in order[1:]:
            if scores[file.mode] < _MARGIN * scores[best.mode]:
                best = file
        rest = sorted(
            (file for file in files if file is not best),
            key=lambda file: scores[file.mode],
        )
        return {file.mode: scores[file.mode] for file in [best, *rest]}
    sizes = {
        file.mode: float(
            len(gzip.compress(file.content, 9, mtime=0))
            if objective == "gzip"
            else len(file.content)
        )
        for file in files
    }
    return dict(sorted(sizes.items(), key=lambda item: item[1]))


def _latencies(files: list[SparseFile]) -> dict[str, float]:
    from keras_sparse.export.timing.benchmark import benchmark_tflite

    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for file in files:
            paths.append(Path(folder) / f"{file.mode}.tflite")
            paths[-1].write_bytes(file.content)
        rows = benchmark_tflite(paths).rows
    return {file.mode: row.ratio for file, row in zip(files, rows, strict=True)}
