"""Parametrizations: what a raw weight is turned into while a layer runs."""

from keras_sparse.parametrizations.mask import Mask
from keras_sparse.parametrizations.parametrization import Parametrization

__all__ = ["Mask", "Parametrization"]
