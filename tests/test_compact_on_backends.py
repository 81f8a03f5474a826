"""What closes units trains on JAX and torch as on TensorFlow."""

import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).with_name("run_compact_on_backend.py")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backend(backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"held on {backend}" in done.stdout
