"""`python -m keras_sparse.export.arm64.set_up`: an emulated ARM64 machine."""

from __future__ import annotations

import sys

from keras_sparse.export.arm64.machine import Arm64Unavailable, set_up
from keras_sparse.export.arm64.run import is_native, machine_folder


def main() -> int:
    """Set the emulated machine up; 0 if it is there afterwards."""
    if is_native():
        print("This is an ARM64 processor: nothing to set up.")
        return 0
    try:
        print(f"An emulated ARM64 machine is in {set_up(machine_folder())}.")
    except Arm64Unavailable as reason:
        print(f"NO EMULATED ARM64 MACHINE: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
