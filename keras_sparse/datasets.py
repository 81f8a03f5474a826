"""MNIST and CIFAR-10 through tensorflow_datasets, digits where both fail."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import urllib.error
import urllib.request
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery

_DATA_HOST = "https://storage.googleapis.com/tfds-data"


class Split(NamedTuple):
    """Images in [0, 1] of shape (n, height, width, channels), and labels."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


class Dataset(NamedTuple):
    """A data set in memory.

    Args:
        name: What was really loaded, such as `"mnist"`.
        train: Training images and labels.
        test: Test images and labels.
    """

    name: str
    train: Split
    test: Split


def load(name: str = "mnist", verbose: bool = True) -> Dataset:
    """Loads a data set, or scikit-learn's digits in its place.

    Args:
        name: `"mnist"` or `"cifar10"`, or another image classification set of
            `tensorflow_datasets`.
        verbose: Whether to say so when digits stand in.

    Returns:
        A `Dataset`; its `name` is `"digits"` where neither the data nor a
        network was there. Digits are 1,797 images of 8 x 8 pixels, of which
        360 are for testing.
    """
    try:
        return _load_tfds(name)
    except Exception as problem:
        if verbose:
            _surgery.say(
                f"{name} is not on this machine and could not be downloaded "
                f"({type(problem).__name__}): scikit-learn's digits stand in."
            )
        return _load_digits()


def _load_tfds(name: str) -> Dataset:
    with _quiet():
        import tensorflow_datasets as tfds

        def read(split: str, download: bool) -> Split:
            data = tfds.load(
                name,
                split=split,
                batch_size=-1,
                as_supervised=True,
                download=download,
            )
            return _scaled(*tfds.as_numpy(data))

        try:
            return Dataset(name, read("train", False), read("test", False))
        except Exception:
            _check_network()
            return Dataset(name, read("train", True), read("test", True))


def _check_network() -> None:
    """Fails in seconds where a download would retry for minutes."""
    try:
        urllib.request.urlopen(_DATA_HOST, timeout=5).close()
    except urllib.error.HTTPError:
        pass  # it answered


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        digits.images[..., None] * (255 / 16),
        digits.target,
        test_size=360,
        random_state=0,
        stratify=digits.target,
    )
    return Dataset("digits", _scaled(x_train, y_train), _scaled(x_test, y_test))


def _scaled(x: NDArray, y: NDArray) -> Split:
    return Split(x.astype(np.float32) / np.float32(255), y.astype(np.int64))


@contextlib.contextmanager
def _quiet():
    """Without the progress bars and warnings of a failing download."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
