"""Sparse* layers that `sparsify` installs, and layers that close channels."""

from keras_sparse.layers.information_bottleneck import InformationBottleneck
from keras_sparse.layers.log_normal_dropout import LogNormalDropout
from keras_sparse.layers.sparse import BUILT_IN as _BUILT_IN
from keras_sparse.layers.sparse import SparseLayer, register_adapter

globals().update(_BUILT_IN)

__all__ = [
    *_BUILT_IN,
    "InformationBottleneck",
    "LogNormalDropout",
    "SparseLayer",
    "register_adapter",
]
