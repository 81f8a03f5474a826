"""A constraint on variables."""

from __future__ import annotations

from typing import Any

import keras


class Between(keras.constraints.Constraint):
    """Sets what is below or above the limits to them, after each step."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, value: Any) -> Any:
        return keras.ops.clip(value, self.low, self.high)

    def get_config(self) -> dict[str, float]:
        return {"low": self.low, "high": self.high}
