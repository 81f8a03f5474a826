"""keras_sparse: Keras 3 models that are sparse while they train."""

from keras_sparse import layers
from keras_sparse.layers import register_adapter
from keras_sparse.parametrizations import Mask, Parametrization
from keras_sparse.sparsify import parametrized, sparsify, strip

__version__ = "0.1.0"

__all__ = [
    "Mask",
    "Parametrization",
    "layers",
    "parametrized",
    "register_adapter",
    "sparsify",
    "strip",
]
