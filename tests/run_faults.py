"""Kills processes that write; run by test_faults.py in one of its own."""

import io
import os
import pathlib
import signal
import sys
import time
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

import keras_sparse as ks
from keras_sparse import _atomic
from keras_sparse.sequential.progress import Progress

SHAPE = (300, 200)
KILLS = 2  # of each kind, in the middle of a write


def net(value):
    """A net of one kernel, whose entries are all the same."""
    model = keras.Sequential(
        [keras.Input(SHAPE[:1]), keras.layers.Dense(SHAPE[1], use_bias=False)]
    )
    model.layers[0].kernel.assign(np.full(SHAPE, value, np.float32))
    return model


def write_keras(path, value):
    ks.save(net(value), path)


def write_tflite(path, value):
    ks.export_tflite(net(value), path)


def write_storage(path, value):
    model = net(value)
    a_third = np.arange(SHAPE[0]) < SHAPE[0] // 3
    model.layers[0].kernel.assign(model.layers[0].kernel * a_third[:, None])
    ks.export_tflite(model, path, sparse="storage")


def write_ticket(path, value):
    kernel = np.full(SHAPE, value, np.float32)
    masks = {0: np.ones(SHAPE, bool)}
    ks.lottery.Ticket(("kernel",), (kernel,), masks, {}).save(path)


def write_progress(path, value):
    Progress(path, {}).save(net(value), [])


def read_keras(path):
    with zipfile.ZipFile(path) as archive:
        content = archive.read("model.weights.h5")  # checks its sum
    with h5py.File(io.BytesIO(content)) as file:
        return file["layers/dense/vars/0"][:]


def run_tflite(path):
    file = Interpreter(str(path), num_threads=1)
    file.allocate_tensors()
    ones = np.ones((1, SHAPE[0]), np.float32)
    file.set_tensor(file.get_input_details()[0]["index"], ones)
    file.invoke()
    return file.get_tensor(file.get_output_details()[0]["index"])


def read_npz(name):
    def read(path):
        with np.load(path) as file:
            return file[name]

    return read


KINDS = {
    "m.keras": (write_keras, read_keras),
    "m.tflite": (write_tflite, run_tflite),
    "s.tflite": (write_storage, run_tflite),
    "t.npz": (write_ticket, read_npz("weights.0")),
    "p.npz": (write_progress, read_npz("w0")),
}


def left(folder):
    """What processes that were killed left."""
    return sorted(folder.glob(f"{_atomic._PREFIX}*"))


def is_writing(folder):
    """Whether a file stands in a folder that is not yet in place."""
    try:
        return any(any(working.iterdir()) for working in left(folder))
    except FileNotFoundError:  # put in place meanwhile
        return False


def write_on(folder, name, parent):
    value = 1.0
    while os.getppid() == parent:  # or nobody would end it
        KINDS[name][0](folder / name, value)
        value += 1
    os._exit(1)


def kill_in_the_middle(folder, name):
    """Starts a writer, and ends it once its second file has begun."""
    parent = os.getpid()
    writer = os.fork()
    if not writer:
        write_on(folder, name, parent)
    try:
        while not (folder / name).exists():
            time.sleep(0.001)
        while not is_writing(folder):
            time.sleep(0)
        time.sleep(np.random.uniform(0, 0.002))
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)


def main(folder):
    killed = 0
    for name, (_, read) in KINDS.items():
        for _ in range(KILLS):
            kill_in_the_middle(folder, name)
            values = np.unique(read(folder / name))
            assert len(values) == 1, (name, values)
            killed += len(left(folder))
            assert len(left(folder)) < 2, "those before were not removed"
    print(killed)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
