"""What an export gave: sizes, counts and how far from Keras."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from keras_sparse.export.sparse.encoding import EncodedTensor


@dataclass(frozen=True)
class ExportReport:
    """The result of `export_tflite`.

    Args:
        path: the file that was written.
        quantize: `None`, `"float16"`, `"dynamic"` or `"int8"`.
        io_dtype: dtype of the file's inputs and outputs.
        batch_size: the fixed batch size of the file.
        raw_bytes: size of the file.
        gzip_bytes: its size after gzip at level 9, near what an app store
            transfers.
        parameters: weights of the Keras model, biases and all.
        nonzeros: how many of them are not zero.
        macs: multiply-accumulates of one sample, `None` where unknown.
        samples: how many samples the comparison with Keras ran.
        tolerance: the relative difference that was allowed.
        max_difference: largest absolute difference from Keras' outputs,
            by interpreter set-up: `"xnnpack"`, and `"builtin"` without it;
            with `verify="arm64"` these two on ARM64 as well.
        relative_difference: what the tolerance was compared with.
        top1_agreement: fraction of samples with Keras' class, by set-up;
            `None` where the first output gives no classes.
        accuracy: fraction of samples with the label's class, for
            `"keras"` and by set-up; `None` without labels.
        sparse: `"dense"`, `"storage"` or `"fast"`: what was written.
        dense_bytes: size of the dense file of the same kind.
        dense_gzip_bytes: its size after gzip at level 9.
        entropy_bytes: what an ideal coder needs for the zeros and values of
            the weights in this kind, each entry by itself, without the
            graph; `keras_sparse.export.entropy` says exactly how.
        encoded: the weights that are held sparse.
        refused: why some weights could not be held sparse, or `None`.
        candidates: with `sparse="auto"` the score of each file by the
            objective, smaller is better, the chosen one first.
        failed: with `sparse="auto"` what was wrong with the others.

    Example:

    >>> report = ExportReport(
    ...     "a.tflite", "int8", "float32", 1, 2048, 1024, 100, 10, 90, 4,
    ...     0.25, {"xnnpack": 0.01}, {"xnnpack": 0.02}, entropy_bytes=512,
    ... )
    >>> report.sparsity
    0.9
    >>> print(report)
    a.tflite: int8, batch of 1
      size                2.0 KiB, gzip 1.0 KiB
      parameters          100, of which 10 not zero (sparsity 90.00%)
      MACs                90
      entropy limit       0.5 KiB; size 4.00 times that, gzip 2.00
      from Keras, xnnpack largest 0.01, relative 0.02 of 0.25 allowed
      compared on         4 samples
    """

    path: str
    quantize: str | None
    io_dtype: str
    batch_size: int
    raw_bytes: int
    gzip_bytes: int
    parameters: int
    nonzeros: int
    macs: int | None
    samples: int
    tolerance: float
    max_difference: dict[str, float]
    relative_difference: dict[str, float]
    top1_agreement: dict[str, float] | None = None
    accuracy: dict[str, float] | None = None
    sparse: str = "dense"
    dense_bytes: int | None = None
    dense_gzip_bytes: int | None = None
    entropy_bytes: int | None = None
    encoded: tuple[EncodedTensor, ...] = ()
    refused: str | None = None
    candidates: dict[str, float] | None = None
    failed: dict[str, str] | None = None

    @property
    def sparsity(self) -> float:
        """The fraction of parameters that are zero."""
        return 1 - self.nonzeros / self.parameters if self.parameters else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**asdict(self), "sparsity": self.sparsity}

    def __str__(self) -> str:
        macs = "not known" if self.macs is None else f"{self.macs:,}"
        rows = [
            (
                "size",
                f"{_kib(self.raw_bytes)}, gzip {_kib(self.gzip_bytes)}",
            ),
            (
                "parameters",
                f"{self.parameters:,}, of which {self.nonzeros:,} not zero "
                f"(sparsity {self.sparsity:.2%})",
            ),
            ("MACs", macs),
        ]
        rows += self._sparse_rows() + self._limit_rows()
        for setup, largest in self.max_difference.items():
            relative = self.relative_difference[setup]
            rows.append(
                (
                    f"from Keras, {setup}",
                    f"largest {largest:.3g}, relative {relative:.3g} of "
                    f"{self.tolerance:.3g} allowed",
                )
            )
        rows.append(("compared on", f"{self.samples:,} samples"))
        for name, rates in (
            ("same class", self.top1_agreement),
            ("accuracy", self.accuracy),
        ):
            if rates:
                listed = (f"{key} {rate:.2%}" for key, rate in rates.items())
                rows.append((name, ", ".join(listed)))
        kind = self.quantize or "float32"
        if self.io_dtype != "float32":
            kind += f" with {self.io_dtype} inputs and outputs"
        lines = [f"{self.path}: {kind}, batch of {self.batch_size}"]
        lines += [f"  {name:<20}{value}" for name, value in rows]
        return "\n".join(lines)

    def _limit_rows(self) -> list[tuple[str, str]]:
        if not self.entropy_bytes:
            return []
        raw, packed = (
            size / self.entropy_bytes
            for size in (self.raw_bytes, self.gzip_bytes)
        )
        text = (
            f"{_kib(self.entropy_bytes)}; size {raw:.2f} times that, "
            f"gzip {packed:.2f}"
        )
        return [("entropy limit", text)]

    def _sparse_rows(self) -> list[tuple[str, str]]:
        rows = []
        if self.sparse != "dense" and self.dense_bytes:
            kinds = Counter(each.encoding for each in self.encoded)
            listed = ", ".join(f"{n} as {kind}" for kind, n in kinds.items())
            gzipped = ""
            if self.dense_gzip_bytes:
                gzipped = f", gzip {_kib(self.dense_gzip_bytes)}"
            rows.append(
                (
                    f"sparse, {self.sparse}",
                    f"{listed or 'no weight'}; "
                    f"{self.raw_bytes / self.dense_bytes:.0%} of the dense "
                    f"file's {_kib(self.dense_bytes)}{gzipped}",
                )
            )
        if self.refused:
            rows.append(("not unpacked", self.refused))
        if self.candidates:
            listed = ", ".join(
                f"{mode} {score:,.4g}"
                for mode, score in self.candidates.items()
            )
            rows.append(("chosen from", listed))
        for mode, reason in (self.failed or {}).items():
            rows.append((f"not {mode}", reason))
        return rows


def _kib(size: int) -> str:
    return f"{size / 1024:,.1f} KiB"
