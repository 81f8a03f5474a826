"""The layers that `sparsify` installs: `SparseDense`, `SparseConv2D`, ..."""

from keras_sparse.layers.sparse import BUILT_IN as _BUILT_IN
from keras_sparse.layers.sparse import SparseLayer, register_adapter

globals().update(_BUILT_IN)

__all__ = [*_BUILT_IN, "SparseLayer", "register_adapter"]
