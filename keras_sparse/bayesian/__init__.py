"""What to do with a model whose weights have posteriors."""

from keras_sparse.bayesian.bit_widths import BitWidth, bit_widths
from keras_sparse.bayesian.plot_log_alpha import plot_log_alpha
from keras_sparse.bayesian.predict_samples import predict_samples
from keras_sparse.bayesian.threshold import ThresholdSweep, choose_threshold

__all__ = [
    "BitWidth",
    "ThresholdSweep",
    "bit_widths",
    "choose_threshold",
    "plot_log_alpha",
    "predict_samples",
]
