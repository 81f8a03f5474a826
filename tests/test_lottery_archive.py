"""Files of tickets that are damaged, or of somebody else's making."""

import contextlib
import json

import numpy as np
import pytest

from keras_sparse.lottery import Ticket


def test_files_whose_parts_do_not_belong_together(tmp_path):
    path = tmp_path / "a.npz"
    state = {"paths": ["a"], "masked": [0], "provenance": {}}
    header = {
        "format": "keras_sparse.lottery/1",
        "kind": "ticket",
        "state": state,
        "groups": {"weights": [None], "masks": [[4]]},
    }

    def load(**changed):
        text = json.dumps({**header, **changed})
        arrays = {"weights.0": np.ones(4), "masks.0": np.array([240], "u1")}
        np.savez(path, header=np.array(text), **arrays)
        return Ticket.load(path)

    assert load().density == 1
    for changed in (
        {"kind": "search"},
        {"kind": None},
        {"groups": {"weights": [None]}},
        {"groups": {"weights": [None], "masks": [[5]]}},
        *(
            {"state": {**state, key: value}}
            for key, value in {
                "paths": ["a", "b"],
                "masked": [99],
                "provenance": 3,
            }.items()
        ),
        {"state": {**state, "masked": [0, 1]}},
        {"state": {}},
    ):
        with pytest.raises(ValueError, match="cannot be read as one"):
            load(**changed)


def test_damaged_files_raise_nothing_else(tmp_path):
    weights = (np.ones((4, 3)), np.zeros(3))
    masks = {0: np.eye(4, 3, dtype=bool)}
    ticket = Ticket(("kernel", "bias"), weights, masks, {"seed": 1})
    ticket.save(tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    entry, rng = whole.index(b"PK\x01\x02"), np.random.default_rng(0)
    for version in (entry + 6, entry + 8):  # zip version, encryption
        damaged = bytearray(whole)
        damaged[version] = 255
        (tmp_path / "b.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match="cannot be read as one"):
            Ticket.load(tmp_path / "b.npz")
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 20):
            damaged[place] = rng.integers(256)
        (tmp_path / "b.npz").write_bytes(damaged)
        with contextlib.suppress(ValueError):
            Ticket.load(tmp_path / "b.npz")
