"""Parametrizations: what a raw weight is turned into while a layer runs."""

from keras_sparse.parametrizations.clustered import Clustered
from keras_sparse.parametrizations.edge_popup import EdgePopup
from keras_sparse.parametrizations.feather import Feather
from keras_sparse.parametrizations.gaussian import Gaussian
from keras_sparse.parametrizations.hard_concrete import HardConcrete
from keras_sparse.parametrizations.learned_threshold import LearnedThreshold
from keras_sparse.parametrizations.mask import Mask
from keras_sparse.parametrizations.n_of_m import NofM
from keras_sparse.parametrizations.parametrization import Parametrization
from keras_sparse.parametrizations.quantization_aware import QuantizationAware
from keras_sparse.parametrizations.soft_threshold import SoftThreshold
from keras_sparse.parametrizations.supermask import Supermask
from keras_sparse.parametrizations.weight_gate import WeightGate

__all__ = [
    "Clustered",
    "EdgePopup",
    "Feather",
    "Gaussian",
    "HardConcrete",
    "LearnedThreshold",
    "Mask",
    "NofM",
    "Parametrization",
    "QuantizationAware",
    "SoftThreshold",
    "Supermask",
    "WeightGate",
]
