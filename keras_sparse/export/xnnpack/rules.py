"""Will XNNPACK compute with the zeros of a model? Layer by layer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from keras_sparse.export.flatbuffer.graph import FlatbufferGraph, indices
from keras_sparse.export.flatbuffer.tflite_file import (
    damage_named,
    read_tflite,
)
from keras_sparse.export.xnnpack.operators import (
    IN_FLOATS,
    Finding,
    body_problem,
    is_pointwise,
    kernel_counts,
    sparsity_of,
    stem_problem,
)

THRESHOLD = 2 / 3
"""XNNPACK multiplies sparse above this fraction of zeros, measured."""

_UNPACKING = {"DENSIFY", "DEQUANTIZE"}


@dataclass(frozen=True)
class LayerFinding:
    """What the rules say of one operator.

    Args:
        operator: such as `"CONV_2D"`.
        output: the name of the tensor it writes.
        part: `"stem"`, `"body"`, or `""` outside the sparse region.
        problem: what is in the way, `None` where it fits.
        remedy: the change that mends it.
        sparsity: the fraction of zeros of a 1x1 kernel in the region.
    """

    operator: str
    output: str
    part: str
    problem: str | None = None
    remedy: str | None = None
    sparsity: float | None = None


@dataclass(frozen=True)
class XNNPACKReport:
    """Whether XNNPACK computes sparse on ARM64; prints as a list.

    Args:
        layers: what the rules say of each operator, in order.
        stem: whether a convolution opens a sparse region.
        ends_pooled: whether the region ends in a global average.
        sparsity: the fraction of zeros in the region's 1x1 kernels.
        most_sparse: the largest of these fractions of one kernel.
        encoded: whether the file asks for it, with DENSIFY.
    """

    layers: tuple[LayerFinding, ...]
    stem: bool
    ends_pooled: bool
    sparsity: float
    most_sparse: float
    encoded: bool

    @property
    def fits(self) -> bool:
        """Whether every operator keeps the rules."""
        return self.stem and self.ends_pooled and self.first_problem is None

    @property
    def ready(self) -> bool:
        """Whether a file of this graph, encoded sparse, computes sparse."""
        return self.fits and self.sparsity > THRESHOLD

    @property
    def engaged(self) -> bool:
        """Whether this file computes sparse on ARM64."""
        return self.ready and self.encoded

    @property
    def hazard(self) -> bool:
        """Whether DENSIFY may give wrong outputs on ARM64.

        That is so where a region opens and something in it breaks the
        rules, unless no 1x1 kernel in it has the zeros to set it off.
        """
        return (
            self.stem and not self.fits and self.most_sparse > THRESHOLD - 0.05
        )

    @property
    def first_problem(self) -> LayerFinding | None:
        """The first operator in the way; int8 arithmetic comes last."""
        found = [each for each in self.layers if each.problem]
        found.sort(key=lambda each: each.remedy == IN_FLOATS)
        return found[0] if found else None

    def __str__(self) -> str:
        lines = [
            f"  {each.part or '-':<5}{each.operator:<18}"
            + (
                f"IN THE WAY: {each.problem}. {each.remedy}"
                if each.problem
                else ""
                if each.sparsity is None
                else f"{each.sparsity:.1%} zeros"
            )
            for each in self.layers
            if each.operator not in _UNPACKING
        ]
        return "\n".join([self.verdict, *(line.rstrip() for line in lines)])

    @property
    def verdict(self) -> str:
        """One sentence on what happens on ARM64."""
        if self.engaged:
            return f"Computes sparse on ARM64: {self.sparsity:.1%} zeros."
        if self.hazard:
            return (
                "Not ready, and DENSIFY would give wrong outputs on ARM64: "
                f"{self._reason()}"
            )
        if self.ready:
            return (
                f"Ready, {self.sparsity:.1%} zeros; this file is dense. "
                'Export with sparse="fast".'
            )
        return f"Computes dense: {self._reason()}"

    def _reason(self) -> str:
        first = self.first_problem
        if first is not None and (
            first.remedy != IN_FLOATS
            or (self.ends_pooled and self.sparsity > THRESHOLD)
        ):
            return (
                f"{first.operator} {first.output!r}: {first.problem}. "
                f"{first.remedy}"
            )
        if not self.stem and first is None:
            return "it has no float convolution to begin with."
        if not self.ends_pooled:
            return (
                "the features do not end in a global average. Put "
                "GlobalAveragePooling2D before the head."
            )
        return (
            f"its 1x1 kernels have {self.sparsity:.1%} zeros, not more than "
            "two thirds. Prune further."
        )


def xnnpack_report(
    model_or_path: keras.Model | str | os.PathLike,
) -> XNNPACKReport:
    """Say whether XNNPACK's sparse inference engages, and what keeps it off.

    On ARM64, XNNPACK multiplies sparse 1x1 convolutions without their
    zeros, provided that the whole graph from the first convolution to the
    global average keeps its rules. On x86 with AVX it never does.

    Args:
        model_or_path: a plain Keras model, or the path of a `.tflite`
            file.

    Returns:
        An `XNNPACKReport`; print it.

    Example:

    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((8, 8, 3)),
    ...         keras.layers.Conv2D(4, 3, strides=2, padding="same"),
    ...         keras.layers.GlobalAveragePooling2D(),
    ...     ]
    ... )
    >>> report = xnnpack_report(model)
    >>> report.first_problem.problem
    'its padding is not 1 on each side, set apart from it'
    """
    if isinstance(model_or_path, keras.Model):
        from keras_sparse.export._checks import check_model
        from keras_sparse.export._convert import convert
        from keras_sparse.export._signature import model_signature

        check_model(model_or_path)
        signature = model_signature(model_or_path).resolved(None)
        content, _ = convert(model_or_path, signature)
        return check_graph(FlatbufferGraph(content))
    read_tflite(model_or_path)
    with open(model_or_path, "rb") as file:
        content = file.read()
    with damage_named(os.fspath(model_or_path)):
        return check_graph(FlatbufferGraph(content))


def check_graph(graph: FlatbufferGraph) -> XNNPACKReport:
    """Return what the rules say of a graph."""
    walk = _Walk(graph)
    layers = tuple(walk.findings())
    pointwise = [each for each in walk.body if is_pointwise(graph, each)]
    return XNNPACKReport(
        layers=layers,
        stem=walk.opened,
        ends_pooled=walk.pooled and not walk.leaves(),
        sparsity=sparsity_of(graph, pointwise),
        most_sparse=max(
            (sparsity_of(graph, [x]) for x in pointwise), default=0
        ),
        encoded=any(graph.name(op) == "DENSIFY" for op in graph.operators),
    )


class _Walk:
    """Follows the features from the stem to where the region ends."""

    def __init__(self, graph: FlatbufferGraph) -> None:
        self.graph = graph
        self.region: set[int] = set()
        self.body: list[Any] = []
        self.opened = self.pooled = False
        self.stems = [
            operator
            for operator in graph.operators
            if graph.name(operator) == "CONV_2D"
            and stem_problem(graph, operator) is None
        ]

    def findings(self) -> Iterator[LayerFinding]:
        """Yield one finding for each operator."""
        self.opened = bool(self.stems)
        stems = self.stems or self._likely_stems()
        for operator in self.graph.operators:
            read = self.region.intersection(indices(operator.inputs))
            if any(operator is stem for stem in stems) and not read:
                yield self._of(
                    operator, "stem", stem_problem(self.graph, operator)
                )
                self.region.update(indices(operator.outputs))
            elif read:
                yield self._step(operator)
            else:
                yield self._of(operator, "", None)

    def leaves(self) -> bool:
        """Tell whether features are an output of the model."""
        return bool(self.region.intersection(self.graph.outputs))

    def _step(self, operator: Any) -> LayerFinding:
        problem = body_problem(self.graph, operator, self.region)
        self.body.append(operator)
        (target,) = indices(operator.outputs)[:1]
        shape = indices(self.graph.tensors[target].shape)
        self.pooled |= self.graph.name(operator) == "MEAN" and (
            problem is None or problem[1] == IN_FLOATS
        )
        if len(shape) == 4:
            self.region.add(target)
        return self._of(operator, "body", problem)

    def _of(self, operator: Any, part: str, found: Finding) -> LayerFinding:
        graph = self.graph
        name = graph.tensors[int(operator.outputs[0])].name or b""
        zeros = None
        if part == "body" and is_pointwise(graph, operator):
            entries, nonzeros = kernel_counts(graph, int(operator.inputs[1]))
            zeros = 1 - nonzeros / entries
        return LayerFinding(
            graph.name(operator),
            name.decode("utf-8", "replace"),
            part,
            problem=found[0] if found else None,
            remedy=found[1] if found else None,
            sparsity=zeros,
        )

    def _likely_stems(self) -> list[Any]:
        """Return the first convolution, which has to become a stem."""
        return [
            operator
            for operator in self.graph.operators
            if self.graph.name(operator) == "CONV_2D"
        ][:1]
