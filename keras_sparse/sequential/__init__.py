"""Sparsifying a deep net one group of residual blocks at a time."""

from keras_sparse.sequential.blocks import Block, find_blocks
from keras_sparse.sequential.sparsify_blocks import (
    TrainedGroup,
    sparsify_blocks,
)

__all__ = ["Block", "TrainedGroup", "find_blocks", "sparsify_blocks"]
