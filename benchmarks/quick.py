"""Runs a benchmark on a few made-up images: to see that it still runs.

    python benchmarks/quick.py mnist_pruning.py --epochs 1

What it measures means nothing. `run_all.py --quick` runs all of them so, and
keeps no results.
"""

from __future__ import annotations

import os
import pathlib
import runpy
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # for tfmot, before TensorFlow

import numpy as np

from keras_sparse import datasets

SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
TRAINED, TESTED = 6000, 500


def load(name, verbose=True):
    """Ten patterns in noise, in place of `keras_sparse.datasets.load`."""
    rng = np.random.default_rng(0)
    patterns = rng.uniform(size=(10, *SHAPES[name]))

    def split(count):
        y = np.arange(count) % 10
        noise = rng.uniform(size=(count, *SHAPES[name]))
        x = (patterns[y] + noise) / 2
        return datasets.Split(x.astype("float32"), y)

    return datasets.Dataset(name, split(TRAINED), split(TESTED))


def main():
    script = pathlib.Path(__file__).with_name(sys.argv[1])
    sys.argv[:2] = [str(script)]
    datasets.load = load
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
