"""Seeds that depend on several numbers."""

from __future__ import annotations

import numpy as np


def derive_seed(*numbers: int) -> int:
    """A seed that depends on every one of the numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
