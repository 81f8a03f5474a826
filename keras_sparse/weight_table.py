"""Rows of weights, and the table that they print as."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Sequence
from typing import Any

import rich.box
import rich.console
import rich.table

_GAP = 2  # between columns
_NARROW, _USUAL, _WIDE = 80, 100, 120  # columns of a terminal
_KIND, _NAME = 11, 16  # what a kind is cut to, and a name at most


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

    The table is as wide as the terminal, within 80 to 120 columns, and 100
    where there is none: names that do not fit lose their middle. Vectors
    that multiply nothing, such as biases, share a row. `rows` and `to_dict`
    hold everything.

    Args:
        title: What was summarised.
        rows: One for each weight.
        note: What to know about it; printed below the table.
    """

    title: str
    rows: tuple[WeightRow, ...]
    note: str | None = None

    @property
    def total(self) -> WeightRow:
        """The sum of all rows; `macs` of those that are known."""
        return _sum("total", self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, for JSON."""
        return {
            "title": self.title,
            "rows": [_row_as_dict(row) for row in self.rows],
            "total": _row_as_dict(self.total),
            "note": self.note,
        }

    def __str__(self) -> str:
        lines = [_cells(row) for row in [*_folded(self.rows), self.total]]
        table = rich.table.Table(
            box=rich.box.SIMPLE,
            show_edge=False,
            pad_edge=False,
            padding=(0, _GAP - 1, 0, 0),  # and a separator
        )
        for column in _LEFT:
            table.add_column(column, no_wrap=True)
        for column in _RIGHT:
            table.add_column(column, justify="right", no_wrap=True)
        for line in _fitted(lines[:-1], lines[-1]):
            table.add_row(*line)
        table.add_section()
        table.add_row(*lines[-1])
        console = rich.console.Console(
            file=io.StringIO(), width=1000, color_system=None, markup=False
        )
        console.print(table)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        total = self.total
        return "\n".join(
            [
                self.title,
                *(line.rstrip() for line in text.splitlines()),
                f"{total.nonzeros:,} of {total.parameters:,} parameters are "
                "not zero.",
                *([self.note] if self.note else []),
            ]
        )

    __repr__ = __str__


_LEFT = ("weight", "kind", "shape")
_RIGHT = ("sparsity", "params", "MACs", "bytes")


def _sum(name: str, rows: Sequence[WeightRow]) -> WeightRow:
    macs = [row.macs for row in rows if row.macs is not None]
    return WeightRow(
        name=name,
        kind="",
        shape=(),
        parameters=sum(row.parameters for row in rows),
        nonzeros=sum(row.nonzeros for row in rows),
        macs=sum(macs) if macs else None,
        size=sum(row.size for row in rows),
    )


def _folded(rows: Sequence[WeightRow]) -> list[WeightRow]:
    """The rows, those of vectors that multiply nothing made one."""
    small = [row for row in rows if _is_small(row)]
    if len(small) < 2:
        return list(rows)
    return [
        *(row for row in rows if not _is_small(row)),
        _sum(f"{len(small)} biases etc.", small),
    ]


def _is_small(row: WeightRow) -> bool:
    return row.macs is None and len(row.shape) < 2


def _fitted(lines: list[list[str]], total: list[str]) -> list[list[str]]:
    """The lines with names and kinds that fit beside the numbers."""
    columns = shutil.get_terminal_size((_USUAL, 24)).columns
    room = min(max(columns, _NARROW), _WIDE)
    heads = [*_LEFT, *_RIGHT]
    _, kind, *others = (
        max(map(len, column))
        for column in zip(heads, total, *lines, strict=True)
    )
    room -= sum(others) + _GAP * (len(heads) - 1)
    longest = max((len(line[0]) for line in lines), default=0)
    if longest + kind > room:
        kind = min(kind, max(_KIND, room - longest))
    room = max(room - kind, _NAME)
    names = [line[0] for line in lines]
    if longest > room:
        names = _without_shared_start(names)
    return [
        [shortened(name, room), shortened(line[1], kind), *line[2:]]
        for name, line in zip(names, lines, strict=True)
    ]


def _without_shared_start(names: list[str]) -> list[str]:
    """The names without the model's, and of joined ones the last.

    A converter joins the names of operations that it fuses with semicolons.
    """
    last = [name.rsplit(";", 1)[-1] for name in names]
    starts = {name.split("/")[0] for name in last if "/" in name}
    if len(starts) != 1 or any(name.count("/") == 1 for name in last):
        return last
    return [name.split("/", 1)[-1] for name in last]


def shortened(text: str, width: int) -> str:
    """A text without its middle where it is longer than `width`.

    Example:

    >>> shortened("block_12/depthwise", 11)
    'block_…wise'
    """
    if len(text) <= width:
        return text
    end = (width - 1) * 2 // 5
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def _row_as_dict(row: WeightRow) -> dict[str, Any]:
    return {**dataclasses.asdict(row), "sparsity": row.sparsity}


def _cells(row: WeightRow) -> list[str]:
    return [
        row.name,
        row.kind,
        "x".join(str(size) for size in row.shape),
        f"{row.sparsity:.2%}",
        f"{row.parameters:,}",
        "" if row.macs is None else f"{row.macs:,}",
        f"{row.size:,}",
    ]
