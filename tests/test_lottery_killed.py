"""A search whose process is killed for good goes on in another one."""

import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np

from keras_sparse import lottery
from tests.ticket_search import compiling, data, fit, net

KILLED_SEARCH = (
    "import sys; from {0} import *; search(sys.argv[1], [KillIn(3)])"
)


class KillIn(keras.callbacks.Callback):
    """Kills the process in the middle of one of the trainings."""

    def __init__(self, training):
        super().__init__()
        self.left = training

    def on_train_begin(self, logs=None):
        self.left -= 1

    def on_train_batch_begin(self, batch, logs=None):
        if self.left == 0 and batch == 3:
            os.kill(os.getpid(), signal.SIGKILL)


def search(path=None, callbacks=()):
    return lottery.find_ticket(
        lambda: net(dropout=0.3),
        fit(),
        rounds=2,
        rewind_step=4,
        compile=compiling(),
        callbacks=lambda: list(callbacks),
        test_data=data(),
        checkpoint=path,
        verbose=False,
    )


def test_a_search_killed_in_its_second_round_ends_at_the_same_bits(tmp_path):
    path = tmp_path / "search.npz"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_SEARCH.format(__name__), str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=pathlib.Path(__file__).parents[1],
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert path.exists()
    trained = []
    count = keras.callbacks.LambdaCallback(on_train_begin=trained.append)
    resumed, whole = search(path, [count]).ticket(), search().ticket()
    assert len(trained) == 1  # of three
    assert resumed.masks.keys() == whole.masks.keys()
    for a, b in [
        (resumed.masks.values(), whole.masks.values()),
        (resumed.weights, whole.weights),
    ]:
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
