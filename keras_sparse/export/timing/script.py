"""Runs in a process of its own: loads files, calls them in turns, times them.

LiteRT does not verify a flatbuffer before it follows the offsets in it, so
a damaged file may end the process. Imports nothing of this package: LiteRT
alone loads in .15 s. Its one argument is a folder with `job.json`.
"""

import json
import sys
import time
from typing import Any

import numpy as np

LOADS = 3


def quantized(array: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Round floats to the integers that an input takes."""
    dtype = np.dtype(details["dtype"])
    scale, zero = details["quantization"]
    if array.dtype.kind != "f" or dtype.kind == "f" or not scale:
        return array.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    rounded = np.round(array / scale + zero)
    return np.clip(rounded, limits.min, limits.max).astype(dtype)


def main(folder: str) -> None:
    """Time the files of a job; write `result.json`."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with open(f"{folder}/job.json") as file:
        job = json.load(file)
    given = None
    if job["inputs"] is not None:
        given = {
            name: np.load(f"{folder}/{number}.npy")
            for number, name in enumerate(job["inputs"])
        }
    models, loads = [], []
    try:
        for number, path in enumerate(job["paths"]):
            print("file", number, flush=True)
            for _ in range(LOADS):
                start = time.perf_counter()
                model = Interpreter(
                    model_path=path,
                    num_threads=job["threads"],
                    experimental_op_resolver_type=OpResolverType[
                        job["resolver"]
                    ],
                )
                model.allocate_tensors()
                loads.append(time.perf_counter() - start)
            _feed(model, given, path)
            model.invoke()
            models.append(model)
    except _Unfit as reason:
        _write(folder, {"refused": str(reason)})
        return
    seconds = np.empty((job["warmup"] + job["runs"], len(models)))
    for turn in seconds:
        for number, model in enumerate(models):
            start = time.perf_counter()
            model.invoke()
            turn[number] = time.perf_counter() - start
    _write(
        folder,
        {
            "loads": np.reshape(loads, (-1, LOADS)).tolist(),
            "seconds": seconds[job["warmup"] :].tolist(),
        },
    )


def _write(folder: str, result: dict[str, Any]) -> None:
    with open(f"{folder}/result.json", "w") as file:
        json.dump(result, file)


class _Unfit(Exception):
    """The inputs do not fit a file."""


def _feed(model: Any, given: dict[str, np.ndarray] | None, path: str) -> None:
    """Set the inputs of an interpreter, named as in its signature."""
    details = {each["index"]: each for each in model.get_input_details()}
    chosen: dict[int, np.ndarray] = {}
    if given is not None and list(given) == [""]:
        if len(details) != 1:
            raise _Unfit(
                f"inputs: expected a dict by name for the {len(details)} "
                f"inputs of {path!r}, received one array."
            )
        chosen = dict.fromkeys(details, given[""])
    elif given is not None:
        chosen = _by_index(model, given, details, path)
    rng = np.random.default_rng(0)
    for index, each in details.items():
        if index not in chosen:
            model.set_tensor(index, _random(rng, each))
            continue
        array = chosen[index]
        if array.shape != tuple(each["shape"]):
            raise _Unfit(
                f"inputs: expected shape {tuple(map(int, each['shape']))} "
                f"for {each['name']!r} of {path!r}, received {array.shape}."
            )
        model.set_tensor(index, quantized(array, each))


def _by_index(
    model: Any, given: dict[str, np.ndarray], details: dict, path: str
) -> dict[int, np.ndarray]:
    if model.get_signature_list():
        named = model.get_signature_runner().get_input_details()
    else:
        named = {each["name"]: each for each in details.values()}
    if set(named) != set(given):
        raise _Unfit(
            f"inputs: expected the names {sorted(named)} of {path!r}, "
            f"received {sorted(given)}."
        )
    return {named[name]["index"]: array for name, array in given.items()}


def _random(rng: np.random.Generator, each: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(each["dtype"])
    if dtype.kind == "f":
        return rng.standard_normal(each["shape"]).astype(dtype)
    if dtype in (np.int8, np.uint8):
        limits = np.iinfo(dtype)
        return rng.integers(
            limits.min, limits.max + 1, each["shape"], dtype=dtype
        )
    return np.zeros(each["shape"], dtype)  # an index that is always valid


if __name__ == "__main__":
    main(sys.argv[1])
