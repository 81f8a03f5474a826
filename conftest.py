"""Quiet TensorFlow, CPU only, one seed for each test and doctest."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras  # noqa: E402
import pytest  # noqa: E402

# Before pytest collects doctests: it would import `keras_sparse.sparsify` by
# file, and put the module where the package has the function.
import keras_sparse  # noqa: E402, F401


@pytest.fixture(autouse=True)
def _one_seed():
    keras.utils.set_random_seed(0)
    keras.utils.disable_interactive_logging()
    yield
    keras.backend.clear_session(free_memory=False)
