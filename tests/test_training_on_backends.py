"""What trains on TensorFlow trains on JAX and torch, each in a process."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
SCRIPTS = ("run_sparse_training_on_backend.py", "run_compact_on_backend.py")


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_backend(script, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, str(HERE / script)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"held on {backend}" in done.stdout
