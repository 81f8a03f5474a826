"""Run `.tflite` files on an ARM64 processor, a real or an emulated one.

`python -m keras_sparse.export.arm64.set_up` sets the emulated one up. The
outputs are those of LiteRT on ARM64; the times are the emulator's.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_sparse.export import _litert
from keras_sparse.export._quiet import captured
from keras_sparse.export._samples import Arrays, batches
from keras_sparse.export.arm64 import script
from keras_sparse.export.arm64.machine import Arm64Unavailable, python_of
from keras_sparse.export.timing.script import quantized

_FOLDER = "KERAS_SPARSE_ARM64"
_CPU = "cortex-a76"
_TIMEOUT = 1800  # seconds, for all jobs of a call


@dataclass(frozen=True)
class Arm64Result:
    """What a file gave on ARM64.

    Args:
        outputs: one array for each output that was asked for.
        milliseconds: median time of one call, by the emulator's clock.
    """

    outputs: Arrays
    milliseconds: float


@dataclass(frozen=True)
class Arm64Job:
    """A file to run on ARM64.

    Args:
        path: the file.
        setup: `"xnnpack"` or `"builtin"`.
        names: the names of its inputs.
        arrays: one array of samples for each name.
        outputs: the names of its outputs.
        batch_size: the batch size of the file.
    """

    path: str | os.PathLike
    setup: str
    names: Sequence[str]
    arrays: Arrays
    outputs: Sequence[str]
    batch_size: int = 1


def is_native() -> bool:
    """Tell whether this process runs on ARM64 itself."""
    return platform.machine().lower() in ("aarch64", "arm64")


def machine_folder() -> Path:
    """Return where the emulated machine is, or would be.

    That is the folder named in the environment variable
    `KERAS_SPARSE_ARM64`, or one in the user's cache.
    """
    named = os.environ.get(_FOLDER)
    if named:
        return Path(named).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "keras_sparse" / "arm64"


def is_available() -> bool:
    """Tell whether files can be run on ARM64 here."""
    return is_native() or (machine_folder() / "ready").exists()


def run_on_arm64(jobs: Sequence[Arm64Job]) -> list[Arm64Result]:
    """Run files on ARM64, all in one process.

    Args:
        jobs: what to run, in order.

    Returns:
        One result for each job.

    Raises:
        Arm64Unavailable: there is no such processor, nor an emulated one.
        RuntimeError: LiteRT refuses a file, or a file ends the process.
    """
    if is_native():
        return [_run_here(job) for job in jobs]
    if not is_available():
        raise Arm64Unavailable(
            "Expected an ARM64 processor or an emulated one in "
            f"{str(machine_folder())!r}, found neither. Set one up: "
            "python -m keras_sparse.export.arm64.set_up."
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        details = [_prepare(folder, *each) for each in enumerate(jobs)]
        log, ended = _emulate(folder)
        return [
            _collect(folder, number, job, details[number], log, ended)
            for number, job in enumerate(jobs)
        ]


def _prepare(folder: Path, number: int, job: Arm64Job) -> dict:
    """Write a job's inputs, as the file takes them; return its outputs."""
    with captured():
        runner = _litert.load(job.path, "builtin").get_signature_runner()
    fed = runner.get_input_details()
    inputs = {}
    for place, name in enumerate(job.names):
        turns = [
            quantized(batch[place], fed[name])
            for batch, _ in batches(job.arrays, job.batch_size)
        ]
        inputs[name] = f"{number}-{place}.npy"
        np.save(folder / inputs[name], np.stack(turns))
    listed = folder / "jobs.json"
    known = json.loads(listed.read_text()) if listed.exists() else []
    entry = {
        "path": os.path.abspath(job.path),
        "resolver": _litert.resolver(job.setup).name,
        "inputs": inputs,
        "outputs": list(job.outputs),
    }
    listed.write_text(json.dumps([*known, entry]))
    return runner.get_output_details()


def _emulate(folder: Path) -> tuple[str, int]:
    machine = machine_folder()
    root = machine / "root"
    settings = {
        "PYTHONHOME": root / "usr",
        "PYTHONPATH": machine / "site",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LD_LIBRARY_PATH": root / "usr/lib/aarch64-linux-gnu",
    }
    command = [str(machine / "qemu-aarch64"), "-cpu", _CPU, "-L", str(root)]
    for name, value in settings.items():
        command += ["-E", f"{name}={value}"]
    command += [str(python_of(machine)), script.__file__, str(folder)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_TIMEOUT} s", -1
    return done.stderr, done.returncode


def _collect(
    folder: Path,
    number: int,
    job: Arm64Job,
    details: dict,
    log: str,
    ended: int,
) -> Arm64Result:
    refusal = folder / f"{number}.error"
    if refusal.exists():
        raise RuntimeError(
            f"LiteRT on ARM64 ({job.setup}) expected a file it can run, "
            f"received {str(job.path)!r}: {refusal.read_text()}"
        )
    kept = folder / f"{number}.seconds"
    if not kept.exists():
        lines = log.strip().splitlines() or ["no message"]
        raise RuntimeError(
            f"Expected a file that LiteRT on ARM64 ({job.setup}) runs, "
            f"received {str(job.path)!r}: the process ended with {ended}: "
            f"{lines[-1]}"
        )
    count = len(job.arrays[0])
    outputs = []
    for place, name in enumerate(job.outputs):
        held = np.load(folder / f"{number}-out-{place}.npy")
        joined = np.concatenate(held)
        outputs.append(_litert.dequantized(joined, details[name]))
    seconds = json.loads(kept.read_text())
    return Arm64Result(
        [output[:count] for output in outputs],
        1e3 * float(np.median(seconds)),
    )


def _run_here(job: Arm64Job) -> Arm64Result:
    outputs = _litert.run(
        job.path,
        job.setup,
        tuple(job.names),
        job.arrays,
        list(job.outputs),
        job.batch_size,
    )
    return Arm64Result(outputs, float("nan"))
