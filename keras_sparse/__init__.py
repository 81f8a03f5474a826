"""keras_sparse: Keras 3 models that are sparse while they train."""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from keras_sparse import (
    allocations,
    callbacks,
    initializers,
    layers,
    lottery,
    patterns,
    priors,
    schedules,
    scores,
    sequential,
    structured,
)
from keras_sparse.bayesian import (
    bit_widths,
    choose_threshold,
    plot_log_alpha,
    predict_samples,
)
from keras_sparse.clustering import cluster
from keras_sparse.layers import register_adapter
from keras_sparse.parametrizations import (
    Clustered,
    EdgePopup,
    Feather,
    Gaussian,
    HardConcrete,
    LearnedThreshold,
    Mask,
    NofM,
    Parametrization,
    QuantizationAware,
    SoftThreshold,
    Supermask,
    WeightGate,
)
from keras_sparse.pruning import prune
from keras_sparse.recalibration import recalibrate
from keras_sparse.saving import save
from keras_sparse.sparse_gpt import sparse_gpt
from keras_sparse.sparsify import parametrized, sparsify, strip
from keras_sparse.summary import summary

if _TYPE_CHECKING:
    from keras_sparse.export import (
        benchmark_tflite,
        export_tflite,
        sparse_ready,
        xnnpack_report,
    )

__version__ = "0.1.0"

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
    "allocations",
    "benchmark_tflite",
    "bit_widths",
    "callbacks",
    "choose_threshold",
    "cluster",
    "export_tflite",
    "initializers",
    "layers",
    "lottery",
    "parametrized",
    "patterns",
    "plot_log_alpha",
    "predict_samples",
    "priors",
    "prune",
    "recalibrate",
    "register_adapter",
    "save",
    "schedules",
    "scores",
    "sequential",
    "sparse_gpt",
    "sparse_ready",
    "sparsify",
    "strip",
    "structured",
    "summary",
    "xnnpack_report",
]


def __getattr__(name: str) -> _Any:
    # Export and its runtime are a third of the time that the rest takes to
    # import, and a training needs neither.
    if name in {
        "benchmark_tflite",
        "export",
        "export_tflite",
        "sparse_ready",
        "xnnpack_report",
    }:
        import importlib

        export = importlib.import_module("keras_sparse.export")
        return export if name == "export" else getattr(export, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
