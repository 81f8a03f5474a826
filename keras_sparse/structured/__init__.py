"""Fewer channels for real: a new, smaller plain model."""

from keras_sparse.structured.groups import Group, Groups, Member, groups
from keras_sparse.structured.merge_linear import merge_linear
from keras_sparse.structured.merge_neurons import merge_neurons
from keras_sparse.structured.shrink import shrink

__all__ = [
    "Group",
    "Groups",
    "Member",
    "groups",
    "merge_linear",
    "merge_neurons",
    "shrink",
]
