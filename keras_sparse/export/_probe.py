"""Try files in a process of their own: a bad one can kill the interpreter.

LiteRT does not verify a flatbuffer before it follows the offsets in it, so
a damaged file may end the process. Loading LiteRT alone takes .15 s.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

_TIMEOUT = 300  # seconds, for all files together

_SCRIPT = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
resolver, threads, *paths = sys.argv[1:]
for number, path in enumerate(paths):
    print("file", number, flush=True)
    model = Interpreter(
        model_path=path,
        num_threads=int(threads),
        experimental_op_resolver_type=OpResolverType[resolver],
    )
    model.allocate_tensors()
    for each in model.get_input_details():
        model.set_tensor(each["index"], np.zeros(each["shape"], each["dtype"]))
    model.invoke()
"""


def probe(
    paths: Sequence[str | os.PathLike], resolver: str, threads: int = 1
) -> None:
    """Load each file and call it once on zeros, in another process.

    Args:
        paths: files that `read_tflite` accepts.
        resolver: a name of LiteRT's `OpResolverType`.
        threads: threads of one call.

    Raises:
        RuntimeError: a file cannot be run, or ends the process.
    """
    command = [sys.executable, "-c", _SCRIPT, resolver, str(threads)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    try:
        done = subprocess.run(
            [*command, *(os.fspath(path) for path in paths)],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
        )
        code, said, log = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as error:
        code, log = -1, f"no answer within {_TIMEOUT} s"
        said = str(error.stdout or "")
    if code == 0:
        return
    started = [line for line in said.splitlines() if line.startswith("file ")]
    culprit = paths[int(started[-1].split()[1])] if started else paths[0]
    lines = log.strip().splitlines() or ["no message"]
    ended = f"ended the process (signal {-code})" if code < 0 else "failed"
    raise RuntimeError(
        f"Expected a file that LiteRT runs, received {os.fspath(culprit)!r}: "
        f"a trial {ended}: {lines[-1]}. Export it again; operators of "
        "TensorFlow (Flex) are not in LiteRT."
    )
