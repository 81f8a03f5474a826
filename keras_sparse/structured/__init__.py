"""Fewer channels for real: a new, smaller plain model."""

from keras_sparse.structured.groups import Group, Groups, Member, groups
from keras_sparse.structured.shrink import shrink

__all__ = ["Group", "Groups", "Member", "groups", "shrink"]
