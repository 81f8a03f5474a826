"""Callbacks for `model.fit`: they only assign non-trainable state."""

from keras_sparse.callbacks.prune import Prune
from keras_sparse.callbacks.seed_each_epoch import SeedEachEpoch
from keras_sparse.callbacks.sparsity_logger import SparsityLogger

__all__ = ["Prune", "SeedEachEpoch", "SparsityLogger"]
