"""What a sequential run has finished, on disk."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_sparse._atomic import atomic_path, check_writable

_NAMED_DIFFERENCES = 3


class Progress:
    """A file with the weights after the last finished group.

    Args:
        path: Where the file is or will be; ends in `.npz`. `None` keeps
            nothing.
        plan: What identifies the run; a file of another run is refused.
            What JSON does not know is known by its class.
    """

    def __init__(
        self, path: str | os.PathLike | None, plan: dict[str, Any]
    ) -> None:
        if path is not None and not str(path).endswith(".npz"):
            raise ValueError(
                "Expected a checkpoint path that ends in '.npz'. "
                f"Received: {str(path)!r}."
            )
        self.path = None if path is None else check_writable(path)
        self.plan = json.loads(json.dumps(plan, default=_plain))

    def restore(self, model: keras.Model) -> list[dict[str, Any]]:
        """Loads the weights; returns the reports of the finished groups."""
        if self.path is None or not Path(self.path).exists():
            return []
        try:
            with np.load(self.path, allow_pickle=False) as file:
                state = json.loads(str(file["state"]))
                weights = [file[f"w{i}"] for i in range(state["weights"])]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"Expected a checkpoint at {str(self.path)!r}. Received a "
                f"file that cannot be read as one: {error}. Delete it to "
                "start over."
            ) from error
        differences = list(_differences(self.plan, state["plan"], ""))
        if differences:
            more = len(differences) - _NAMED_DIFFERENCES
            raise ValueError(
                "Expected a checkpoint of this run. Received one of another: "
                f"{'; '.join(differences[:_NAMED_DIFFERENCES])}"
                f"{f', and {more} more' if more > 0 else ''}. Delete "
                f"{str(self.path)!r}, or name another path."
            )
        now = model.get_weights()
        model.set_weights(
            [x.astype(y.dtype) for x, y in zip(weights, now, strict=True)]
        )
        return state["finished"]

    def save(self, model: keras.Model, finished: list[dict[str, Any]]) -> None:
        """Writes the weights of the plain model and what is finished."""
        if self.path is None:
            return
        weights = [_writable(weight) for weight in model.get_weights()]
        state = {
            "plan": self.plan,
            "finished": finished,
            "weights": len(weights),
        }
        arrays: dict[str, Any] = {f"w{i}": x for i, x in enumerate(weights)}
        needed = sum(weight.nbytes for weight in weights)
        with (
            atomic_path(self.path, needed) as temporary,
            open(temporary, "wb") as file,
        ):
            np.savez(file, state=np.array(json.dumps(state)), **arrays)


def _writable(weight: np.ndarray) -> np.ndarray:
    """The array in a dtype that NumPy's files know: bfloat16 is none."""
    return weight.astype("float32") if weight.dtype.kind == "V" else weight


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if keras.ops.is_tensor(value) or isinstance(value, keras.Variable):
        return keras.ops.convert_to_numpy(value).tolist()
    return type(value).__name__


def _differences(expected: Any, received: Any, path: str) -> Iterator[str]:
    """Where two plans differ, in words."""
    if isinstance(expected, list) and isinstance(received, list):
        if len(expected) == len(received):
            expected = dict(enumerate(expected))
            received = dict(enumerate(received))
    if isinstance(expected, dict) and isinstance(received, dict):
        for key in [*expected, *(k for k in received if k not in expected)]:
            yield from _differences(
                expected.get(key), received.get(key), f"{path}/{key}"
            )
    elif json.dumps(expected) != json.dumps(received):  # NaN equals itself
        yield (
            f"{path[1:]} should be {_short(expected)} and is {_short(received)}"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
