"""What goes into a model: names, shapes and dtypes of its inputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

Shape = tuple[int | None, ...]

_AUTOMATIC = re.compile(r"keras_tensor(_\d+)?$")


@dataclass(frozen=True)
class Signature:
    """The inputs of a model, flat, in the order of `keras.tree.flatten`.

    Args:
        structure: the nest of input shapes as the model takes it, with
            index numbers for leaves.
        keys: the names by which a user may pass data, one for each input.
        names: the names in the `.tflite` file, one for each input.
        shapes: shapes without the batch axis, `None` where not known.
        dtypes: names of dtypes.
    """

    structure: Any
    keys: tuple[str, ...]
    names: tuple[str, ...]
    shapes: tuple[Shape, ...]
    dtypes: tuple[str, ...]

    def pack(self, arrays: Sequence[Any]) -> Any:
        """Nest flat `arrays` the way the model's `call` takes them."""
        return keras.tree.map_structure(lambda i: arrays[i], self.structure)

    def resolved(self, arrays: Sequence[np.ndarray] | None) -> Signature:
        """Fill unknown dimensions, and a subclassed model's dtypes."""
        if arrays is not None:
            dtypes = tuple(
                str(array.dtype) if dtype == "?" else dtype
                for array, dtype in zip(arrays, self.dtypes, strict=True)
            )
            shapes: tuple[Shape, ...] = tuple(a.shape[1:] for a in arrays)
            return replace(self, shapes=shapes, dtypes=dtypes)
        for key, shape in zip(self.keys, self.shapes, strict=True):
            if None in shape:
                raise ValueError(
                    "A .tflite file has fixed shapes: expected every "
                    f"dimension of input {key!r} to be known, received "
                    f"{shape}. Pass inputs= with arrays of the shape you "
                    "want."
                )
        dtypes = tuple("float32" if d == "?" else d for d in self.dtypes)
        return replace(self, dtypes=dtypes)


def model_signature(model: keras.Model) -> Signature:
    """Read the signature of a built model.

    Args:
        model: a Functional, Sequential or subclassed model.

    Returns:
        A `Signature`. The dtypes of a subclassed model, which records
        shapes alone, are `"?"`.

    Raises:
        ValueError: the model is not built, or takes more than one
            positional argument.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> model_signature(model).shapes
    ((4,),)
    """
    if not model.built:
        raise ValueError(
            f"Expected a built model, received {model.name!r}, which has no "
            "weights yet. Call it once on a batch: model(x)."
        )
    symbolic = bool(getattr(model, "inputs", None))
    if isinstance(model, keras.Sequential):
        nest = model.inputs[0]
    elif symbolic:
        nest = model.input
    else:
        nest = keras.tree.map_shape_structure(
            keras.KerasTensor, _recorded_shapes(model)
        )
    leaves = keras.tree.flatten(nest)
    shapes = [tuple(leaf.shape) for leaf in leaves]
    structure = keras.tree.pack_sequence_as(nest, list(range(len(leaves))))
    keys = [
        str(path[-1])
        if path and isinstance(path[-1], str)
        else _input_name(leaves[index].name, index)
        for path, index in keras.tree.flatten_with_path(structure)
    ]
    return Signature(
        structure=structure,
        keys=tuple(keys),
        names=tuple(unique_names(keys)),
        shapes=tuple(shape[1:] for shape in shapes),
        dtypes=tuple(str(x.dtype) if symbolic else "?" for x in leaves),
    )


def unique_names(names: Sequence[str]) -> list[str]:
    """Make identifiers of names, each different from the others.

    Example:

    >>> unique_names(["a/b", "a b", "1"])
    ['a_b', 'a_b_1', 'x1']
    """
    result: list[str] = []
    for name in names:
        stem = re.sub(r"\W", "_", name, flags=re.ASCII)
        stem = stem if re.match("[A-Za-z]", stem) else f"x{stem}"
        unique, number = stem, 0
        while unique in result:
            number += 1
            unique = f"{stem}_{number}"
        result.append(unique)
    return result


def _input_name(name: str, index: int) -> str:
    return f"input_{index}" if _AUTOMATIC.match(name) else name


def _recorded_shapes(model: keras.Model) -> Any:
    config = model.get_build_config() or {}
    if "input_shape" not in config:
        raise ValueError(
            f"Expected a model whose call takes one argument (an array, a "
            f"list or a dict of arrays), received {model.name!r} with "
            f"{sorted(config.get('shapes_dict', {})) or 'no known inputs'}. "
            "Take the arrays in one list or dict, and call the model once."
        )
    return config["input_shape"]
