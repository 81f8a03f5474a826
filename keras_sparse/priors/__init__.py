"""Priors of Bayesian weights."""

from keras_sparse.priors.ard import ARD, GroupARD
from keras_sparse.priors.given import get
from keras_sparse.priors.group_scale import HalfCauchy, NormalJeffreys
from keras_sparse.priors.log_uniform import LogUniform
from keras_sparse.priors.normal import Normal
from keras_sparse.priors.prior import Prior

__all__ = [
    "ARD",
    "GroupARD",
    "HalfCauchy",
    "LogUniform",
    "Normal",
    "NormalJeffreys",
    "Prior",
    "get",
]
