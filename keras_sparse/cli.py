"""The command line: inspect, export, benchmark, demo."""

from __future__ import annotations

import argparse
import json
import os
import sys
import zipfile
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

    import keras_sparse as ks

    if options.quantize == "int8" and not options.representative_data:
        raise ValueError(
            "--quantize int8 expected inputs to calibrate on, received none. "
            "Save 100 or more typical ones with numpy.save, and pass "
            "--representative-data FILE."
        )
    if options.io_dtype == "int8" and options.quantize != "int8":
        raise ValueError(
            "--io-dtype int8 expected --quantize int8, received "
            f"{options.quantize or 'none'}. Pass both."
        )
    if options.labels and not options.inputs:
        raise ValueError(
            "--labels expected the inputs they belong to, received none. "
            "Pass --inputs FILE as well."
        )
    data = {
        name: _arrays(name, getattr(options, name)) for name in _DATA_OPTIONS
    }
    if isinstance(data["labels"], dict):
        raise ValueError(
            "--labels expected one array, received several: "
            f"{list(data['labels'])}. Save it alone with numpy.save."
        )
    model = keras.saving.load_model(options.model, compile=False)
    if any(True for _ in ks.parametrized(model)):
        ks.strip(model)
    try:
        return ks.export_tflite(
            model,
            options.output,
            quantize=options.quantize,
            batch_size=options.batch_size,
            tolerance=options.tolerance,
            io_dtype=options.io_dtype,
            sparse=options.sparse,
            objective=options.objective,
            verify=options.verify,
            **data,
        )
    except ValueError as problem:
        raise ValueError(_as_option(str(problem))) from problem


_DATA_OPTIONS = ("representative_data", "inputs", "labels")
_OPTIONS = (*_DATA_OPTIONS, "batch_size", "tolerance", "objective")


def _arrays(option: str, path: str | None) -> Any:
    """The array of a file, or those of an archive by name.

    Args:
        option: The option that the file belongs to, for errors.
        path: A .npy file, or a .npz archive, in which one array stands for
            itself.
    """
    import numpy as np

    if path is None:
        return None
    try:
        held = np.load(path)
        if isinstance(held, np.ndarray):
            return held
        with held:
            arrays = {name: held[name] for name in held.files}
        if not arrays:
            raise ValueError("it holds no array")
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as problem:
        raise ValueError(
            f"{_as_option(option)} expected a .npy or .npz file of numbers, "
            f"received {path!r}: {problem}"
        ) from problem
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def _as_option(text: str) -> str:
    """A text that begins with an argument's name, as a shell spells it."""
    name = next((each for each in _OPTIONS if text.startswith(each)), "")
    dashed = "--" + name.replace("_", "-") if name else ""
    return dashed + text[len(name) :]


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
        "--quantize",
        choices=("float16", "dynamic", "int8"),
        help="dynamic: int8 weights; int8: computes in int8 as well",
    )
    export.add_argument(
        "--representative-data",
        metavar="FILE",
        help="inputs to calibrate int8 with: .npy, or .npz with one by name",
    )
    export.add_argument(
        "--inputs",
        metavar="FILE",
        help="inputs to compare the file with Keras on, in the same forms",
    )
    export.add_argument(
        "--labels",
        metavar="FILE",
        help="classes of --inputs, to report accuracy: .npy",
    )
    export.add_argument(
        "--io-dtype",
        choices=("float32", "int8"),
        default="float32",
        help="inputs and outputs of the file; int8 with --quantize int8",
    )
    export.add_argument(
        "--batch-size", type=int, default=1, help="the file's; default: 1"
    )
    export.add_argument(
        "--tolerance",
        type=float,
        help="largest relative difference from Keras; default: 1e-4 for "
        "float32, 0.01 for float16, 0.15 for dynamic, 0.25 for int8",
    )
    export.add_argument(
        "--sparse",
        choices=("storage", "fast", "auto"),
        help="hold zeros in a sparse encoding: storage, where it saves "
        "bytes; fast, where it costs no time; auto, the best by --objective",
    )
    export.add_argument(
        "--objective",
        choices=("bytes", "gzip", "latency"),
        default="bytes",
        help="what --sparse auto makes smallest",
    )
    export.add_argument(
        "--verify",
        choices=("arm64",),
        help="also run the file on an emulated ARM64 processor",
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
