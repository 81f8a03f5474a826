"""Which weights of a file to hold sparse, and how: storage or speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_sparse.export.flatbuffer.graph import FlatbufferGraph
from keras_sparse.export.sparse.encoding import (
    EncodedTensor,
    Weight,
    dequantize,
    encode_csr,
    encode_direct,
    weights,
)
from keras_sparse.export.xnnpack.rules import check_graph

_FAST_BLOCKS = 0.75  # the fraction of zero 1x4 blocks from which they pay


@dataclass(frozen=True)
class SparseFile:
    """A file with some of its weights held sparse.

    Args:
        mode: `"dense"`, `"storage"` or `"fast"`.
        content: its bytes.
        encoded: the weights that are held sparse.
        refused: why DENSIFY was not used, `None` where it could be.
    """

    mode: str
    content: bytes
    encoded: tuple[EncodedTensor, ...] = ()
    refused: str | None = None


def encode(content: bytes, mode: str) -> SparseFile:
    """Hold the weights of a dense file sparse, where that is of use.

    `"storage"` holds each weight as compressed rows if that saves bytes.
    `"fast"` does so only where it does not slow the file down, and takes
    blocks of 1 x 4 for float32 weights of FULLY_CONNECTED with zeros in
    such blocks: LiteRT multiplies those without unpacking them.

    Args:
        content: the bytes of a file as the converter writes it.
        mode: `"storage"` or `"fast"`.

    Returns:
        A `SparseFile`, never larger than `content`: where nothing is
        saved it holds `content` itself, with nothing encoded.
    """
    graph = _opened(content)
    encoded = _encode_all(graph, mode, densify=True)
    report, refused = check_graph(graph), None
    if report.encoded and report.hazard:
        refused = report.verdict
        graph = FlatbufferGraph(content)
        encoded = _encode_all(graph, mode, densify=False)
    packed = graph.pack() if encoded else content
    if len(packed) >= len(content):
        return SparseFile(mode, content, refused=refused)
    return SparseFile(mode, packed, tuple(encoded), refused)


def _opened(content: bytes) -> FlatbufferGraph:
    """Return the graph, in floats throughout if that makes XNNPACK's rules.

    A converter that rounds only the larger kernels leaves a mixture of
    float and int8 operators, which no sparse region may hold.
    """
    graph = FlatbufferGraph(content)
    mixed = [weight for weight in weights(graph) if weight.hybrid]
    for weight in mixed:
        dequantize(graph, weight.stored, weight.consumers)
    if mixed and check_graph(graph).ready:
        return graph
    return FlatbufferGraph(content)


def _encode_all(
    graph: FlatbufferGraph, mode: str, densify: bool
) -> list[EncodedTensor]:
    encoded = []
    for weight in weights(graph):
        found = None
        if mode == "fast" and _in_blocks(weight):
            found = encode_direct(graph, weight, block=4)
        if not found and densify and not (mode == "fast" and weight.hybrid):
            found = encode_csr(graph, weight)
        if not found and not densify and mode == "storage":
            found = encode_direct(graph, weight)
        if found:
            encoded.append(found)
    return encoded


def _in_blocks(weight: Weight) -> bool:
    array = weight.array
    if array.ndim != 2 or array.shape[1] % 4:
        return False
    held = array.reshape(array.shape[0], -1, 4).any(axis=2)
    return 1 - float(np.mean(held)) >= _FAST_BLOCKS
