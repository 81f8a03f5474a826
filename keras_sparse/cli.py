"""The command line: inspect, export, benchmark, demo."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: The command line without the program's name. Default: that
            of the process.

    Returns:
        0, or 1 after printing an error.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], Any] = options.command
    try:
        result = command(options)
    except (
        ValueError,
        TypeError,
        RuntimeError,
        OSError,
        LookupError,
        EOFError,
    ) as problem:
        print(f"keras-sparse: {problem}", file=sys.stderr)
        return 1
    if result is not None:
        print(json.dumps(result.to_dict()) if options.json else result)
    return 0


def _inspect(options: argparse.Namespace) -> Any:
    from keras_sparse.summary import summary

    return summary(options.file)


def _export(options: argparse.Namespace) -> Any:
    import keras
    import numpy as np

    import keras_sparse as ks

    model = keras.saving.load_model(options.model, compile=False)
    if any(True for _ in ks.parametrized(model)):
        ks.strip(model)
    data = None
    if options.quantize == "int8" and not options.representative_data:
        raise ValueError(
            "--quantize int8 expected inputs to calibrate on, received none. "
            "Save 100 or more typical ones with numpy.save, and pass "
            "--representative-data FILE."
        )
    if options.representative_data:
        data = np.load(options.representative_data)
    return ks.export_tflite(
        model,
        options.output,
        quantize=options.quantize,
        representative_data=data,
        sparse=options.sparse,
        objective=options.objective,
        verify=options.verify,
    )


def _benchmark(options: argparse.Namespace) -> Any:
    from keras_sparse.export import benchmark_tflite

    return benchmark_tflite(
        options.files, runs=options.runs, threads=options.threads
    )


def _demo(options: argparse.Namespace) -> Any:
    from keras_sparse.demo import demo

    return demo(options.output, sparsity=options.sparsity)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-sparse",
        description="Sparse Keras models, and their files for phones.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=command)
        added.add_argument(
            "--json", action="store_true", help="print JSON instead of a table"
        )
        return added

    inspect = add("inspect", _inspect, "show what a model file holds")
    inspect.add_argument("file", help="a .keras or .tflite file")

    export = add("export", _export, "convert a .keras file to .tflite")
    export.add_argument(
        "model",
        help="a .keras file, sparse or plain, without classes of your own",
    )
    export.add_argument("output", help="the .tflite file to write")
    export.add_argument(
        "--quantize", choices=("float16", "dynamic", "int8"), default=None
    )
    export.add_argument(
        "--sparse",
        choices=("storage", "fast", "auto"),
        default=None,
        help="hold zeros in a sparse encoding",
    )
    export.add_argument(
        "--objective",
        choices=("bytes", "gzip", "latency"),
        default="bytes",
        help="what --sparse auto keeps the best of",
    )
    export.add_argument(
        "--verify",
        choices=("arm64",),
        default=None,
        help="also run the file on an emulated ARM64 processor",
    )
    export.add_argument(
        "--representative-data",
        metavar="FILE",
        help="inputs to calibrate int8 with: .npy, or .npz with one by name",
    )

    benchmark = add("benchmark", _benchmark, "time .tflite files side by side")
    benchmark.add_argument("files", nargs="+", help=".tflite files")
    benchmark.add_argument("--runs", type=int, default=50)
    benchmark.add_argument("--threads", type=int, default=1)

    demo = add("demo", _demo, "train, prune and export LeNet-5 on MNIST")
    demo.add_argument("--output", default="keras-sparse-demo", help="a folder")
    demo.add_argument("--sparsity", type=float, default=0.95)
    return parser


if __name__ == "__main__":
    sys.exit(main())
