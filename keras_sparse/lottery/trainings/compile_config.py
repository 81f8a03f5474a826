"""What a model was compiled with, to tell one search from another."""

from __future__ import annotations

import warnings
from typing import Any

import keras


def describe_compiling(model: keras.Model) -> dict[str, Any]:
    """The optimizer, then loss, metrics and the rest, as far as is known.

    An optimizer whose schedule has no config is its class; what cannot be
    serialized otherwise is `None`.
    """
    return {
        "optimizer": _optimizer_config(model.optimizer),
        "compile": _compile_config(model),
    }


def _optimizer_config(optimizer: keras.optimizers.Optimizer) -> Any:
    try:
        return keras.optimizers.serialize(optimizer)
    except NotImplementedError:
        return type(optimizer).__name__


def _compile_config(model: keras.Model) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lambdas, which stay here
            config = model.get_compile_config()
    except (NotImplementedError, TypeError, ValueError):
        return None
    config = {k: v for k, v in (config or {}).items() if k != "optimizer"}
    return without_code(config) or None


def without_code(config: Any) -> Any:
    """A config with lambdas as such, for their code tells of its file."""
    if isinstance(config, dict):
        if config.get("class_name") == "__lambda__":
            return "lambda"
        return {k: without_code(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [without_code(each) for each in config]
    return config
