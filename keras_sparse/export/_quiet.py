"""Capture what Python and C++ code write while a block runs."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator

_LOGGERS = ("absl", "tensorflow")


@contextlib.contextmanager
def captured() -> Iterator[Callable[[], str]]:
    """Capture stdout and stderr, down to their file descriptors.

    TensorFlow's converter logs from C++, past `sys.stderr`. The capture
    holds for the whole process: what other threads print meanwhile is
    captured with it.

    Yields:
        A function that returns the text captured so far.

    Example:

    >>> with captured() as text:
    ...     print("noise")
    >>> text()
    'noise\\n'
    """
    held: list[str] = []
    with tempfile.TemporaryFile() as file:

        def text() -> str:
            if held:
                return held[0]
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), size, 0).decode("utf-8", "replace")

        with contextlib.ExitStack() as stack:
            stack.callback(lambda: held.append(text()))
            for descriptor in (1, 2):
                stack.enter_context(_redirected(descriptor, file.fileno()))
            stream = io.TextIOWrapper(
                io.FileIO(os.dup(file.fileno()), "w"), write_through=True
            )
            stack.enter_context(stream)
            stack.enter_context(contextlib.redirect_stdout(stream))
            stack.enter_context(contextlib.redirect_stderr(stream))
            stack.enter_context(_root_logger_kept())
            for name in _LOGGERS:
                stack.enter_context(_only_errors(name))
            yield text


@contextlib.contextmanager
def known_warnings_ignored() -> Iterator[None]:
    """Ignore the one Python warning of TensorFlow's int8 calibrator."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated"
        )
        yield


@contextlib.contextmanager
def _redirected(descriptor: int, target: int) -> Iterator[None]:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    try:
        saved = os.dup(descriptor)
    except OSError:  # closed, as in some services: nothing to capture
        yield
        return
    try:
        os.dup2(target, descriptor)
        yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)


@contextlib.contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Keeps absl from giving the root logger a handler to the capture."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


@contextlib.contextmanager
def _only_errors(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
