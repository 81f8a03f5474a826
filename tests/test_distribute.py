"""Two replicas, in a process of their own: devices are fixed at start."""

import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).with_name("run_on_two_devices.py")


def test_mirrored_strategy(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "held on two devices" in done.stdout
