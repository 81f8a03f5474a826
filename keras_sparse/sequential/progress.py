"""What a sequential run has finished, on disk."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_sparse._atomic import atomic_path, check_writable


class Progress:
    """A file with the weights after the last finished group.

    Args:
        path: Where the file is or will be; ends in `.npz`. `None` keeps
            nothing.
        plan: What identifies the run; a file of another run is refused.
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
        self.plan = plan

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
        if state["plan"] != self.plan:
            raise ValueError(
                f"Expected a checkpoint of this run, {self.plan}. Received "
                f"one of {state['plan']}. Delete {str(self.path)!r}, or name "
                "another path."
            )
        model.set_weights(weights)
        return state["finished"]

    def save(self, model: keras.Model, finished: list[dict[str, Any]]) -> None:
        """Writes the weights of the plain model and what is finished."""
        if self.path is None:
            return
        weights = model.get_weights()
        state = {
            "plan": self.plan,
            "finished": finished,
            "weights": len(weights),
        }
        arrays = {f"w{i}": weight for i, weight in enumerate(weights)}
        needed = sum(weight.nbytes for weight in weights)
        with (
            atomic_path(self.path, needed) as temporary,
            open(temporary, "wb") as file,
        ):
            np.savez(file, state=np.array(json.dumps(state)), **arrays)
