"""Time files in another process: a bad one can kill the interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_sparse.export.timing import script

_TIMEOUT = 1800  # seconds, for all files together
SCRIPT = script.__file__


def time_files(
    paths: Sequence[str],
    resolver: str,
    *,
    threads: int,
    runs: int,
    warmup: int,
    inputs: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Load files and call them in turns, in another process.

    Args:
        paths: files that `read_tflite` accepts.
        resolver: a name of LiteRT's `OpResolverType`.
        threads: threads of one call.
        runs: calls of each file that are timed.
        warmup: calls of each file before those.
        inputs: an array, arrays by name, or `None` for random ones.

    Returns:
        Seconds of loads, of shape `(files, loads)`, and of calls, of shape
        `(runs, files)`.

    Raises:
        ValueError: the inputs do not fit a file.
        RuntimeError: a file cannot be run, or ends the process.
    """
    if inputs is not None and not isinstance(inputs, Mapping):
        inputs = {"": inputs}
    arrays = [np.asarray(array) for array in (inputs or {}).values()]
    job = {
        "paths": [os.path.abspath(path) for path in paths],
        "resolver": resolver,
        "threads": threads,
        "runs": runs,
        "warmup": warmup,
        "inputs": None if inputs is None else list(inputs),
    }
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/job.json", "w") as file:
            json.dump(job, file)
        for number, array in enumerate(arrays):
            np.save(f"{folder}/{number}.npy", array, allow_pickle=False)
        code, said, log = _call([sys.executable, SCRIPT, folder])
        result = f"{folder}/result.json"
        if code == 0 and os.path.exists(result):
            with open(result) as file:
                found = json.load(file)
            if "refused" in found:
                raise ValueError(found["refused"])
            return np.array(found["loads"]), np.array(found["seconds"])
    raise RuntimeError(_message(paths, code, said, log))


def _call(command: list[str]) -> tuple[int, str, str]:
    path = [entry for entry in sys.path if entry]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path))
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        return -1, str(error.stdout or ""), f"no answer within {_TIMEOUT} s"
    return done.returncode, done.stdout, done.stderr


def _message(paths: Sequence[str], code: int, said: str, log: str) -> str:
    started = [line for line in said.splitlines() if line.startswith("file ")]
    culprit = paths[int(started[-1].split()[1])] if started else paths[0]
    lines = log.strip().splitlines() or ["no message"]
    ended = f"ended the process (signal {-code})" if code < 0 else "failed"
    return (
        f"Expected a file that LiteRT runs, received {culprit!r}: a trial "
        f"{ended}: {lines[-1]}. Export it again; operators of TensorFlow "
        "(Flex) are not in LiteRT."
    )
