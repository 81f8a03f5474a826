"""Rows of weights, and the table that they print as."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import rich.box
import rich.console
import rich.table


@dataclasses.dataclass(frozen=True)
class WeightRow:
    """One weight of a model or file.

    Args:
        name: Path of the layer and name of the weight.
        kind: Class of the layer, or type of the tensor.
        shape: Shape of the weight.
        parameters: Number of entries.
        nonzeros: Number of entries that are not zero.
        macs: Multiply-accumulates per example, `None` where not known.
        size: Bytes it takes as stored.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    nonzeros: int
    macs: int | None
    size: int

    @property
    def sparsity(self) -> float:
        """Fraction of zeros."""
        return 1 - self.nonzeros / max(self.parameters, 1)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Rows of a model or file; prints as a table.

    Args:
        title: What was summarised.
        rows: One for each weight.
    """

    title: str
    rows: tuple[WeightRow, ...]

    @property
    def total(self) -> WeightRow:
        """The sum of all rows; `macs` of those that are known."""
        macs = [row.macs for row in self.rows if row.macs is not None]
        return WeightRow(
            name="total",
            kind="",
            shape=(),
            parameters=sum(row.parameters for row in self.rows),
            nonzeros=sum(row.nonzeros for row in self.rows),
            macs=sum(macs) if macs else None,
            size=sum(row.size for row in self.rows),
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, for JSON."""
        return {
            "title": self.title,
            "rows": [_row_as_dict(row) for row in self.rows],
            "total": _row_as_dict(self.total),
        }

    def __str__(self) -> str:
        table = rich.table.Table(title=self.title, box=rich.box.SIMPLE)
        for column in ("weight", "kind", "shape"):
            table.add_column(column, overflow="fold")
        for column in ("sparsity", "nonzeros", "parameters", "MACs", "bytes"):
            table.add_column(column, justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*_cells(row))
        table.add_section()
        table.add_row(*_cells(self.total))
        console = rich.console.Console(file=io.StringIO(), width=118)
        console.print(table)
        return console.file.getvalue().rstrip()  # type: ignore[attr-defined]

    __repr__ = __str__


def _row_as_dict(row: WeightRow) -> dict[str, Any]:
    return {**dataclasses.asdict(row), "sparsity": row.sparsity}


def _cells(row: WeightRow) -> list[str]:
    return [
        row.name,
        row.kind,
        " x ".join(str(size) for size in row.shape),
        f"{row.sparsity:.2%}",
        f"{row.nonzeros:,}",
        f"{row.parameters:,}",
        "" if row.macs is None else f"{row.macs:,}",
        f"{row.size:,}",
    ]
