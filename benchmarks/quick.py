"""Runs benchmarks on a few made-up images: to see that they still run.

    python benchmarks/quick.py "file_sizes.py --epochs 1" "soak.py --table"

What they measure means nothing. `run_all.py --quick` runs all of them so, and
keeps no results. One process for many: importing takes longer than they do. A
number before a script is that of the training images.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pathlib
import runpy
import shlex
import sys
import time
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # for tfmot, before TensorFlow

import keras
import numpy as np

from keras_sparse import datasets

SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
TRAINED, TESTED = 6000, 500


def load(name, verbose=True, trained=TRAINED):
    """Ten patterns in noise, in place of `keras_sparse.datasets.load`."""
    rng = np.random.default_rng(0)
    patterns = rng.uniform(size=(10, *SHAPES[name]))

    def split(count):
        y = np.arange(count) % 10
        noise = rng.uniform(size=(count, *SHAPES[name]))
        x = (patterns[y] + noise) / 2
        return datasets.Split(x.astype("float32"), y)

    return datasets.Dataset(name, split(trained), split(TESTED))


def run(line):
    """Runs a script with arguments; whether it ended well."""
    script, *arguments = shlex.split(line)
    datasets.load = load
    if script.isdecimal():
        datasets.load = functools.partial(load, trained=int(script))
        script, *arguments = arguments
    path = str(pathlib.Path(__file__).with_name(script))
    sys.argv = [path, *arguments]
    begin, before = time.perf_counter(), sum(os.times()[:4])
    said, failed = io.StringIO(), False
    with contextlib.redirect_stdout(said):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            failed = bool(end.code)
            print(end.code)
        except Exception:
            failed = True
            traceback.print_exc(file=said)
    seconds = time.perf_counter() - begin
    busy = sum(os.times()[:4]) - before
    print(f"{seconds:5.0f} s, {busy:4.0f} s of CPU: {line}", flush=True)
    if failed:
        print(f"FAILED:\n{said.getvalue()[-4000:]}", flush=True)
    keras.backend.clear_session()
    return not failed


def main():
    failed = [line for line in sys.argv[1:] if not run(line)]
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
