"""Real data where it is, digits where it is not."""

import numpy as np
import pytest

from keras_sparse import datasets


def test_digits_stand_in_and_say_so(monkeypatch, capsys):
    def fail(name):
        raise ConnectionError

    monkeypatch.setattr(datasets, "_load_tfds", fail)
    data = datasets.load("mnist")
    assert data.name == "digits"
    assert data.train.x.shape == (1437, 8, 8, 1)
    assert data.test.x.shape == (360, 8, 8, 1)
    assert 0 <= data.train.x.min() and data.train.x.max() == 1
    assert np.bincount(data.test.y).min() >= 30


def test_no_network_fails_before_a_download(monkeypatch):
    def fail(*args, **kwargs):
        raise datasets.urllib.error.URLError("no network")

    monkeypatch.setattr(datasets.urllib.request, "urlopen", fail)
    with pytest.raises(datasets.urllib.error.URLError):
        datasets._check_network()


def test_mnist_is_the_original():
    data = datasets.load("mnist", verbose=False)
    if data.name == "digits":
        pytest.skip("MNIST is neither on this machine nor to be downloaded")
    assert data.train.x.shape == (60000, 28, 28, 1)
    assert abs(data.train.x.mean() - 0.1307) < 1e-4
