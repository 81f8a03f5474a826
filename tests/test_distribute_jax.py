"""keras.distribution on JAX: virtual devices, and processes that talk."""

import contextlib
import os
import signal
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_sparse as ks

pytest.importorskip("jax", reason="jax is not installed")


@pytest.fixture
def start():
    """Starts a script, which ends with the test at the latest."""
    with contextlib.ExitStack() as ends:

        def run(script, *arguments, devices=1):
            flags = f"--xla_force_host_platform_device_count={devices}"
            process = subprocess.Popen(
                [sys.executable, "-m", f"tests.{script}", *map(str, arguments)],
                env={
                    **os.environ,
                    "KERAS_BACKEND": "jax",
                    "JAX_PLATFORMS": "cpu",
                    # They compile a lot and compute little.
                    "XLA_FLAGS": f"{flags} --xla_backend_optimization_level=0",
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            ends.enter_context(process)
            ends.callback(process.kill)
            return process

        yield run


def finish(process):
    return process.communicate(timeout=200)[0]


def test_virtual_devices(start, tmp_path):
    text = finish(start("run_distributed_on_jax", tmp_path, devices=4))
    assert "held on 4 devices" in text, text[-3000:]


def test_gaussian_on_virtual_devices(start):
    text = finish(start("run_distributed_on_jax", "gaussian", devices=4))
    for line in text.splitlines():
        if line.startswith("gaussian: skipped, "):
            pytest.skip(line)
    assert "gaussian: held on 4 devices" in text, text[-3000:]


def two_processes(start, folder, kill):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [
        start("run_in_two_processes", folder, port, number, int(kill))
        for number in (0, 1)
    ]


def test_two_processes_of_which_one_is_killed(start, tmp_path):
    first, second = two_processes(start, tmp_path, kill=True)
    text = finish(second)
    assert second.returncode == -signal.SIGKILL, text
    first.kill()  # it would wait for the other, or fail
    text = finish(first)
    assert "held" not in text, text
    assert (tmp_path / "backup").exists()

    for number, process in enumerate(
        two_processes(start, tmp_path, kill=False)
    ):
        text = finish(process)
        assert f"held in process {number}" in text, text[-3000:]
    assert not (tmp_path / "backup").exists()

    # Both had the same masks, thresholds and weights.
    for kind in ("feather", "undisturbed"):
        with (
            np.load(tmp_path / f"{kind}0.npz") as one,
            np.load(tmp_path / f"{kind}1.npz") as other,
        ):
            weights = list(one.values())
            for mine, yours in zip(weights, other.values(), strict=True):
                np.testing.assert_array_equal(mine, yours)
    # Here: on one device, and on TensorFlow.
    model = keras.saving.load_model(tmp_path / "model.keras")
    for loaded, saved in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(loaded, saved)
    kernels = [w for w in ks.strip(model).get_weights() if w.ndim > 1]
    zeros = sum(int((w == 0).sum()) for w in kernels)
    assert zeros == round(0.8 * 192) + round(0.8 * 64)
