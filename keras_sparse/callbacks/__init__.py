"""Callbacks for `model.fit`: sparsity that changes while a model trains."""

from keras_sparse.callbacks.anneal import Anneal
from keras_sparse.callbacks.budget import Budget
from keras_sparse.callbacks.drop_and_grow import DropAndGrow
from keras_sparse.callbacks.group_lasso import GroupLasso
from keras_sparse.callbacks.network_slimming import NetworkSlimming
from keras_sparse.callbacks.prune import Prune
from keras_sparse.callbacks.seed_each_epoch import SeedEachEpoch
from keras_sparse.callbacks.sparsity_logger import SparsityLogger
from keras_sparse.callbacks.threshold import Threshold

__all__ = [
    "Anneal",
    "Budget",
    "DropAndGrow",
    "GroupLasso",
    "NetworkSlimming",
    "Prune",
    "SeedEachEpoch",
    "SparsityLogger",
    "Threshold",
]
