"""Quiet TensorFlow, CPU only, one seed for each test."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _one_seed():
    keras.utils.set_random_seed(0)
    keras.utils.disable_interactive_logging()
    yield
    keras.backend.clear_session(free_memory=False)
