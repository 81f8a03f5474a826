"""What tells one search from another, as JSON can hold it."""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_sparse import _surgery
from keras_sparse.lottery.trainings.compile_config import without_code

# Where the config of a graph names its layers.
_REFERENCES = ("keras_history", "input_layers", "output_layers")


def describe_data(given: Any) -> Any:
    """Data or arguments: arrays by checksum, other objects by their class."""
    if given is None or isinstance(given, (bool, int, float, str)):
        return given
    if isinstance(given, np.generic):
        return given.item()
    if isinstance(given, Mapping):
        return {str(key): describe_data(each) for key, each in given.items()}
    if isinstance(given, (list, tuple)):
        return [describe_data(each) for each in given]
    if keras.ops.is_tensor(given):
        return _describe_array(keras.ops.convert_to_numpy(given))
    if hasattr(given, "__array__"):
        return _describe_array(np.asarray(given))
    return getattr(given, "__qualname__", type(given).__name__)


def _describe_array(array: NDArray) -> dict[str, Any]:
    held = array.astype(str) if array.dtype.hasobject else array
    flat = np.ascontiguousarray(held).reshape(-1)
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "crc32": zlib.crc32(flat.view(np.uint8).data),
    }


def describe_layers(model: keras.Model) -> int:
    """A checksum of the layers' configs, whatever their names are."""
    described = [
        [type(layer).__name__, layer.dtype_policy.name, _config(layer)]
        for layer in _surgery.all_layers(model)
    ]
    text = json.dumps(described, sort_keys=True, default=describe_data)
    return zlib.crc32(text.encode())


def _config(layer: keras.layers.Layer) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what cannot be read again
            config = layer.get_config()
    except Exception:  # a layer's own code, which need not know configs
        return None
    return _numbered(without_code(config), {})


def _numbered(config: Any, numbers: Mapping[str, int]) -> Any:
    """A config without names, layers of a graph by their place in it."""
    if isinstance(config, Mapping):
        layers = config.get("layers")
        if isinstance(layers, list):
            found = [each.get("config", each) for each in layers]
            numbers = {each.get("name"): i for i, each in enumerate(found)}
        return {
            str(key): _referring(each, numbers)
            if key in _REFERENCES
            else _numbered(each, numbers)
            for key, each in config.items()
            if key != "name"
        }
    if isinstance(config, (list, tuple)):
        return [_numbered(each, numbers) for each in config]
    return config


def _referring(names: Any, numbers: Mapping[str, int]) -> Any:
    if isinstance(names, str):
        return numbers.get(names, names)
    if isinstance(names, Mapping):
        return {k: _referring(each, numbers) for k, each in names.items()}
    if isinstance(names, (list, tuple)):
        return [_referring(each, numbers) for each in names]
    return names
