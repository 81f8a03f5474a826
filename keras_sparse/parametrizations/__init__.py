"""Parametrizations: what a raw weight is turned into while a layer runs."""

from keras_sparse.parametrizations.feather import Feather
from keras_sparse.parametrizations.gaussian import Gaussian
from keras_sparse.parametrizations.hard_concrete import HardConcrete
from keras_sparse.parametrizations.mask import Mask
from keras_sparse.parametrizations.parametrization import Parametrization

__all__ = ["Feather", "Gaussian", "HardConcrete", "Mask", "Parametrization"]
