"""Sparse* layers that `sparsify` installs, and layers that close channels."""

from keras_sparse.layers.generalized_dropout import GeneralizedDropout
from keras_sparse.layers.information_bottleneck import InformationBottleneck
from keras_sparse.layers.log_normal_dropout import LogNormalDropout
from keras_sparse.layers.sparse import BUILT_IN as _BUILT_IN
from keras_sparse.layers.sparse import SparseLayer, register_adapter
from keras_sparse.layers.tri_state_relu import TriStateReLU

globals().update(_BUILT_IN)

__all__ = [
    *_BUILT_IN,
    "GeneralizedDropout",
    "InformationBottleneck",
    "LogNormalDropout",
    "SparseLayer",
    "TriStateReLU",
    "register_adapter",
]
